"""Audio between the wire and the session: nothing lost, nothing doubled, whatever the pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.audio.formats import FormatName
from antiphon.protocols.openai.codec import Ear, Voice, clip_samples, encoded
from antiphon.protocols.openai.errors import WireError

FORMATS: list[tuple[FormatName, int, int]] = [("pcm16", 24_000, 2), ("g711_ulaw", 8_000, 1), ("g711_alaw", 8_000, 1)]


def sound(samples: int, rate: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    t = np.arange(samples) / rate
    return (np.sin(2 * np.pi * 300 * t) * 8000).astype(np.int16)


@pytest.mark.parametrize(("name", "rate", "width"), FORMATS)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 900), min_size=1, max_size=12))
def test_ear_gives_every_sample_once(name: FormatName, rate: int, width: int, sizes: list[int]) -> None:
    ear = Ear(name, 1_000_000)
    data = encoded(sound(sum(sizes), rate), rate, name)
    got, at = 0, 0
    for size in sizes:
        got += len(ear.push(data[at * width : (at + size) * width]))
        at += size
    got += len(ear.flush())
    assert abs(got - sum(sizes) * 16_000 / rate) <= 1


@pytest.mark.parametrize(("name", "rate", "width"), FORMATS)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=8))
def test_voice_gives_every_sample_once_in_whole_pieces(
    name: FormatName, rate: int, width: int, sizes: list[int]
) -> None:
    voice = Voice(name, 500)
    pieces = [piece for size in sizes for piece in voice.push(sound(size, 24_000))]
    pieces += list(voice.flush())
    assert all(0 < len(piece) <= 500 and len(piece) % width == 0 for piece in pieces)
    assert abs(sum(map(len, pieces)) / width - sum(sizes) * rate / 24_000) <= 1


def test_pcm_is_passed_through_untouched() -> None:
    samples = sound(1000, 24_000)
    assert b"".join(Voice("pcm16", 100).push(samples)) == samples.tobytes()
    assert list(Voice("pcm16", 100).flush()) == []


@pytest.mark.parametrize(("name", "rate", "width"), FORMATS)
def test_clips_are_resampled_whole(name: FormatName, rate: int, width: int) -> None:
    samples = clip_samples(encoded(sound(rate, rate), rate, name), name, 10**6, "audio")
    assert abs(len(samples) - 16_000) <= 1
    assert np.abs(samples).max() == pytest.approx(8000, rel=0.06)


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "got none"), (b"\0" * 3, "even number"), (b"\0" * 102, "at most 100")]
)
def test_clips_that_cannot_be(data: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words) as error:
        clip_samples(data, "pcm16", 100, "item.content[0].audio")
    assert error.value.param == "item.content[0].audio"
