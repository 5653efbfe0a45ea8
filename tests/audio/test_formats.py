from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.audio.formats import DEFAULT_RATES, Format, FormatName
from antiphon.audio.pcm import AudioDataError

names = st.sampled_from(sorted(DEFAULT_RATES))


@given(names, st.binary(max_size=400), st.lists(st.integers(0, 60), max_size=30))
def test_chunk_borders_do_not_matter(name: FormatName, data: bytes, cuts: list[int]) -> None:
    stream, at, parts = Format(name), 0, []
    for size in [*cuts, len(data)]:
        parts.append(stream.decode(data[at : at + size]))
        at += size
    whole = data[: len(data) // stream.sample_bytes * stream.sample_bytes]
    assert np.array_equal(np.concatenate(parts), Format(name).decode(whole))


@given(names, st.binary(max_size=200))
def test_what_was_decoded_encodes_to_the_same_sound(name: FormatName, data: bytes) -> None:
    once = Format(name).decode(data)
    assert np.array_equal(Format(name).decode(Format(name).encode(once)), once)


def test_half_a_sample_waits_for_the_other_half() -> None:
    stream = Format("pcm16")
    assert stream.decode(b"\x01").tolist() == []
    assert stream.decode(memoryview(b"\x00\x02")).tolist() == [1]
    assert stream.decode(bytearray(b"\x00")).tolist() == [2]
    stream.decode(b"\x05")
    stream.reset()
    assert stream.decode(b"\x03\x00").tolist() == [3]


def test_rates() -> None:
    assert (Format("pcm16").rate, Format("g711_ulaw").rate, Format("g711_alaw").rate) == (24_000, 8000, 8000)
    assert Format("pcm16", 16_000).rate == 16_000
    assert repr(Format("pcm16", 16_000)) == "Format('pcm16', 16000)"


def test_unknown_format() -> None:
    with pytest.raises(AudioDataError, match="one of pcm16, g711_ulaw, g711_alaw, got 'opus'"):
        Format("opus")  # type: ignore[arg-type]
