"""The local copy of the input audio, on the session's clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.client.realtime.input_buffer import InputAudioBuffer


def test_slices_are_on_the_clock_of_the_session_after_take() -> None:
    buffer = InputAudioBuffer()
    buffer.append(b"\x01\x00" * 24)
    assert buffer.take() == b"\x01\x00" * 24
    assert len(buffer) == 0
    buffer.append(b"\x02\x00" * 24)
    assert buffer.slice(0, 1) == b""
    assert buffer.slice(1, 2) == b"\x02\x00" * 24
    buffer.reset()
    buffer.append(b"\x03\x00" * 24)
    assert buffer.slice(0, 1) == b"\x03\x00" * 24


def test_g711_has_eight_bytes_a_millisecond() -> None:
    buffer = InputAudioBuffer("g711_ulaw")
    buffer.append(bytes(range(24)))
    assert buffer.slice(1, 2) == bytes(range(8, 16))


@given(st.lists(st.binary(min_size=0, max_size=96).map(lambda data: data[: len(data) // 2 * 2]), max_size=60))
def test_a_bounded_buffer_keeps_the_newest_in_its_place(chunks: list[bytes]) -> None:
    buffer = InputAudioBuffer(max_seconds=0.004)
    everything = b""
    for chunk in chunks:
        buffer.append(chunk)
        everything += chunk
    assert len(buffer) <= 240
    end_ms = len(everything) // 48
    for ms in range(max(0, end_ms - 4), end_ms):
        assert buffer.slice(ms, ms + 1) == everything[48 * ms : 48 * ms + 48]
