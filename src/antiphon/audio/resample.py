"""Sample rate conversion: streams chunk by chunk with hardly any delay, whole clips by soxr."""

from __future__ import annotations

from typing import Literal, Protocol, cast

import numpy as np
import soxr

from antiphon.audio.fir import FirResampler, block_sizes
from antiphon.audio.pcm import PCM, AudioDataError, empty

Quality = Literal["speech", "LQ", "MQ", "HQ", "VHQ"]
"""``speech``: 2 ms of delay at 16 kHz (4 ms at 8 kHz), pass band to 0.43 of the lower rate, aliases 80 dB down.

The others are soxr's presets, steeper, with 20 ms (LQ) to 150 ms (VHQ) of delay.
"""


class _Stream(Protocol):
    def push(self, pcm: PCM) -> PCM: ...
    def flush(self) -> PCM: ...


class _SoxrStream:
    __slots__ = ("_stream",)

    def __init__(self, from_rate: int, to_rate: int, quality: str) -> None:
        self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="int16", quality=quality)

    def push(self, pcm: PCM) -> PCM:
        return cast(PCM, self._stream.resample_chunk(pcm))

    def flush(self) -> PCM:
        return cast(PCM, self._stream.resample_chunk(empty(), last=True))


def _check(from_rate: int, to_rate: int) -> None:
    for rate in (from_rate, to_rate):
        if not 1000 <= rate <= 384_000:
            raise AudioDataError(f"a sample rate lies between 1000 and 384000 Hz, got {rate}")


class Resampler:
    """Converts one endless stream. Output is in phase with the input: sample n is at time n / `to_rate`.

    The filter looks ahead, so the output trails the input by its delay, and `flush` returns the rest. Equal rates pass
    everything through untouched and at once. A push of 20 ms takes some 15 microseconds.

    Args:
        from_rate: Samples per second pushed, 1000 to 384000.
        to_rate: Samples per second returned.
        quality: See `Quality`. Rates without a usable common divisor fall back from ``speech`` to ``LQ``.

    Raises:
        AudioDataError: a rate is out of range.
    """

    __slots__ = ("_quality", "_stream", "from_rate", "to_rate")

    def __init__(self, from_rate: int, to_rate: int, quality: Quality = "speech") -> None:
        _check(from_rate, to_rate)
        self.from_rate = from_rate
        self.to_rate = to_rate
        self._quality = quality
        self._stream = self._open()

    def _open(self) -> _Stream | None:
        if self.from_rate == self.to_rate:
            return None
        if self._quality != "speech":
            return _SoxrStream(self.from_rate, self.to_rate, self._quality)
        sizes = block_sizes(self.from_rate, self.to_rate)
        if sizes is None:
            return _SoxrStream(self.from_rate, self.to_rate, "LQ")
        return FirResampler(self.from_rate, self.to_rate, sizes)

    def push(self, pcm: PCM) -> PCM:
        """Take samples (any number) and return those that are ready, maybe none."""
        if self._stream is None:
            return pcm
        if not len(pcm):
            return empty()
        return self._stream.push(pcm)

    def flush(self) -> PCM:
        """End the stream and return its last samples; the resampler then starts over with a new stream."""
        if self._stream is None:
            return empty()
        out = self._stream.flush()
        self._stream = self._open()
        return out

    def reset(self) -> None:
        """Forget the stream, its last samples included, and start over."""
        self._stream = self._open()


def resample(pcm: PCM, from_rate: int, to_rate: int, quality: Literal["LQ", "MQ", "HQ", "VHQ"] = "HQ") -> PCM:
    """Convert a whole clip; n samples become ``round(n * to_rate / from_rate)``, give or take one.

    Raises:
        AudioDataError: a rate is out of range.
    """
    _check(from_rate, to_rate)
    if from_rate == to_rate or not len(pcm):
        return pcm
    return np.asarray(soxr.resample(pcm, from_rate, to_rate, quality=quality), np.int16)
