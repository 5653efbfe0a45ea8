"""Audio on its way in: every type that is taken, and what is said of those that are not."""

from __future__ import annotations

import array
import io
import math
import wave
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from antiphon.client.realtime.audio import (
    StreamResampler,
    g711_to_pcm16,
    level_dbfs,
    pcm16_array,
    pcm16_to_wav,
    read_wav,
    to_pcm16,
)
from antiphon.client.realtime.errors import AudioTypeError, AudioValueError

SAMPLES = np.array([0, 1, -1, 32767, -32768], dtype=np.int16)
RAW = SAMPLES.astype("<i2").tobytes()


@pytest.mark.parametrize(
    "audio",
    [
        RAW,
        bytearray(RAW),
        memoryview(RAW),
        SAMPLES.data,
        SAMPLES,
        SAMPLES.astype(">i2"),
        SAMPLES.reshape(-1, 1),
        SAMPLES.reshape(1, -1),
        array.array("h", SAMPLES.tolist()),
    ],
    ids=["bytes", "bytearray", "memoryview", "memoryview-h", "int16", "big-endian", "column", "row", "array-h"],
)
def test_int16_in_any_container_keeps_its_samples(audio: object) -> None:
    assert to_pcm16(audio) == RAW


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_are_scaled_and_clipped(kind: Any) -> None:
    audio: Any = np.array([0, 1, -1, 0.5, 7, -7], dtype=kind)
    assert np.frombuffer(to_pcm16(audio), "<i2").tolist() == [0, 32767, -32768, 16383, 32767, -32768]


@pytest.mark.parametrize("code", ["f", "d"])
def test_array_of_floats(code: str) -> None:
    assert to_pcm16(array.array(code, [0.0, -1.0])) == b"\x00\x00\x00\x80"
    assert to_pcm16(memoryview(array.array(code, [0.0, -1.0]))) == b"\x00\x00\x00\x80"


@pytest.mark.parametrize(
    "audio", [[0, 1], "AAAA", None, 3, np.array([1], dtype=np.int32), array.array("i", [1]), np.array([1j])]
)
@pytest.mark.parametrize("rate", [None, 16_000])
def test_other_types_are_told_what_is_expected(audio: object, rate: int | None) -> None:
    with pytest.raises(AudioTypeError, match=r"expected bytes, .* float array .*, got ") as caught:
        to_pcm16(audio, rate=rate)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (b"abc", "whole 16-bit samples"),
        (np.zeros((4, 2), np.int16), "one channel"),
        (np.array([math.nan]), "NaN"),
        (np.array([math.inf], np.float32), "infinity"),
    ],
)
def test_impossible_contents(audio: object, words: str) -> None:
    with pytest.raises(AudioValueError, match=words):
        to_pcm16(audio)


@pytest.mark.parametrize("rate", [0, -8000, 10, 16000.0, True, "16000"])
def test_impossible_rates(rate: object) -> None:
    with pytest.raises(AudioValueError, match="expected a rate"):
        to_pcm16(RAW, rate=rate)  # type: ignore[arg-type]


def tone(rate: int, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("as_int", [False, True])
def test_resampling_keeps_length_and_tone(rate: int, as_int: bool) -> None:
    audio = tone(rate)
    source: object = (audio * 32767).astype(np.int16).tobytes() if as_int else audio
    out = np.frombuffer(to_pcm16(source, rate=rate), "<i2").astype(float)
    assert abs(out.size - 12_000) <= 1
    spectrum = np.abs(np.fft.rfft(out))
    assert abs(np.argmax(spectrum) * 24_000 / out.size - 440) < 3
    assert math.isclose(np.sqrt(np.mean(out**2)), 0.5 / math.sqrt(2) * 32767, rel_tol=0.02)


def test_the_protocols_own_rate_is_not_touched() -> None:
    assert to_pcm16(RAW, rate=24_000) == RAW


def test_a_stream_resamples_without_borders() -> None:
    audio = tone(16_000, 1.0)
    stream = StreamResampler(16_000)
    chunks = [stream.feed(chunk) for chunk in np.array_split(audio, 50)]
    whole = np.frombuffer(b"".join([*chunks, stream.feed(b"", last=True)]), "<i2").astype(float)
    expected = 0.5 * 32767 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)
    assert abs(whole.size - 24_000) <= 2
    middle = slice(2_000, 22_000)
    assert np.max(np.abs(whole[: expected.size][middle] - expected[middle])) < 200


@given(arrays(np.int16, st.integers(0, 50)))
def test_bytes_and_arrays_round_trip(samples: np.ndarray) -> None:
    data = to_pcm16(samples)
    assert len(data) == 2 * samples.size
    assert np.array_equal(pcm16_array(data), samples)
    assert np.array_equal(read_wav(pcm16_to_wav(data, 16_000))[0], samples)


def test_pcm16_array_leaves_half_a_sample_out_and_is_read_only() -> None:
    view = pcm16_array(b"\x01\x00\x02")
    assert view.tolist() == [1]
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 3


def wav_file(channels: int, width: int, frames: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(8_000)
        out.writeframes(frames)
    return file.getvalue()


def test_stereo_is_mixed_down() -> None:
    samples, rate = read_wav(wav_file(2, 2, np.array([10, 20, -10, -30], "<i2").tobytes()))
    assert (samples.tolist(), rate) == ([15, -20], 8_000)


@pytest.mark.parametrize("data", [b"", b"no wav at all", wav_file(1, 1, b"abc")])
def test_what_is_no_wav_of_16_bits(data: bytes) -> None:
    with pytest.raises(AudioValueError, match="expected a WAV file"):
        read_wav(data)


def test_g711_expands_as_the_recommendation_says() -> None:
    # Values of ITU-T G.711's tables: the extremes and the smallest steps of both signs.
    ulaw = np.frombuffer(g711_to_pcm16(bytes([0x00, 0x80, 0xFF, 0x7F, 0xFE]), "ulaw"), "<i2")
    assert ulaw.tolist() == [-32124, 32124, 0, 0, 8]
    alaw = np.frombuffer(g711_to_pcm16(bytes([0xD5, 0x55, 0xAA, 0x2A]), "alaw"), "<i2")
    assert alaw.tolist() == [8, -8, 32256, -32256]
    with pytest.raises(AudioValueError, match="ulaw"):
        g711_to_pcm16(b"", "xlaw")


def test_levels() -> None:
    assert level_dbfs(b"") == -math.inf
    assert level_dbfs(bytes(100)) == -math.inf
    assert math.isclose(level_dbfs(np.full(10, -32768, "<i2").tobytes()), 0, abs_tol=1e-9)
    assert math.isclose(level_dbfs(np.full(10, 16384, "<i2").tobytes()), -6.02, abs_tol=0.01)
