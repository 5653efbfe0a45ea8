"""Sample rate conversion by soxr: whole clips at once, or streams chunk by chunk."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import soxr

from antiphon.audio.pcm import PCM, AudioDataError, empty

Quality = Literal["QQ", "LQ", "MQ", "HQ", "VHQ"]
"""soxr's presets, from fastest to best. HQ is transparent for 16-bit audio; MQ and below shorten the look-ahead."""


def _check(from_rate: int, to_rate: int) -> None:
    for rate in (from_rate, to_rate):
        if not 1000 <= rate <= 384_000:
            raise AudioDataError(f"a sample rate lies between 1000 and 384000 Hz, got {rate}")


class Resampler:
    """Converts one endless stream. Output is in phase with the input: sample n is at time n / `to_rate`.

    The filter looks ahead, so the first output comes some milliseconds late and `flush` returns the rest. Equal rates
    pass everything through untouched and at once.

    Args:
        from_rate: Samples per second pushed, 1000 to 384000.
        to_rate: Samples per second returned.
        quality: A preset of soxr.

    Raises:
        AudioDataError: a rate is out of range.
    """

    __slots__ = ("_quality", "_stream", "from_rate", "to_rate")

    def __init__(self, from_rate: int, to_rate: int, quality: Quality = "HQ") -> None:
        _check(from_rate, to_rate)
        self.from_rate = from_rate
        self.to_rate = to_rate
        self._quality = quality
        self._stream: soxr.ResampleStream | None = None
        self.reset()

    def push(self, pcm: PCM) -> PCM:
        """Take samples (any number) and return those that are ready, maybe none."""
        if self._stream is None:
            return pcm
        if not len(pcm):
            return empty()
        return cast(PCM, self._stream.resample_chunk(pcm))

    def flush(self) -> PCM:
        """End the stream and return its last samples; the resampler then starts over with a new stream."""
        if self._stream is None:
            return empty()
        out = cast(PCM, self._stream.resample_chunk(empty(), last=True))
        self.reset()
        return out

    def reset(self) -> None:
        """Forget the stream, its last samples included, and start over."""
        if self.from_rate != self.to_rate:
            self._stream = soxr.ResampleStream(self.from_rate, self.to_rate, 1, dtype="int16", quality=self._quality)


def resample(pcm: PCM, from_rate: int, to_rate: int, quality: Quality = "HQ") -> PCM:
    """Convert a whole clip; n samples become ``round(n * to_rate / from_rate)``, give or take one.

    Raises:
        AudioDataError: a rate is out of range.
    """
    _check(from_rate, to_rate)
    if from_rate == to_rate or not len(pcm):
        return pcm
    return np.asarray(soxr.resample(pcm, from_rate, to_rate, quality=quality), np.int16)
