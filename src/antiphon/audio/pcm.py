"""16-bit PCM: bytes and arrays, float and integer, channels, gain, fades and levels.

Levels are in dBFS of the RMS, where 0 dBFS is a square wave at full scale (a full-scale sine is -3 dBFS).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from antiphon.errors import AntiphonError

PCM = NDArray[np.int16]
"""Mono samples, native byte order, shape [n]."""

Floats = NDArray[np.float32]
"""Mono samples in -1 to 1, shape [n]."""

FLOOR = -100.0
"""The level, in dBFS, of digital silence and of nothing at all."""

_FULL_SCALE = 32768.0
_EMPTY: PCM = np.zeros(0, np.int16)
_EMPTY.flags.writeable = False


class AudioDataError(AntiphonError):
    """Bytes or arrays are not the audio they were said to be."""


def empty() -> PCM:
    """Return no samples: one shared, read-only array of shape [0]."""
    return _EMPTY


def from_bytes(data: bytes | bytearray | memoryview) -> PCM:
    """Read little-endian 16-bit samples, as every protocol sends them.

    Returns:
        A read-only view of `data` where it is immutable; no copy on little-endian machines.

    Raises:
        AudioDataError: `data` ends in half a sample.
    """
    size = len(data) if isinstance(data, bytes | bytearray) else data.nbytes
    if size % 2:
        raise AudioDataError(f"16-bit audio takes an even number of bytes, got {size}")
    return np.frombuffer(data, "<i2").astype(np.int16, copy=False)


def to_bytes(pcm: PCM) -> bytes:
    """Write samples as little-endian 16-bit, two bytes each."""
    return pcm.astype("<i2", copy=False).tobytes()


def to_float(pcm: PCM) -> Floats:
    """Scale to -1 (inclusive) to 1 (exclusive)."""
    return np.multiply(pcm, np.float32(1 / _FULL_SCALE), dtype=np.float32)


def from_float(samples: NDArray[np.floating]) -> PCM:
    """Round to 16 bits; what is beyond -1 to 1 is clipped.

    Raises:
        AudioDataError: a sample is not a finite number.
    """
    if not np.isfinite(samples).all():
        raise AudioDataError("audio samples must be finite numbers, got NaN or infinity")
    return _round(samples * np.float32(_FULL_SCALE))


def mix_to_mono(samples: PCM) -> PCM:
    """Average the channels of `samples`, shape [n, channels] (or [n], which is mono already)."""
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2 or samples.shape[1] == 0:
        raise AudioDataError(f"audio has shape [samples, channels] with at least one channel, got {samples.shape}")
    if samples.shape[1] == 1:
        return samples[:, 0]
    return _round(samples.mean(axis=1, dtype=np.float32))


def interleave(left: PCM, right: PCM) -> PCM:
    """Join two channels into shape [n, 2]; the shorter is padded with silence."""
    out = np.zeros((max(len(left), len(right)), 2), np.int16)
    out[: len(left), 0] = left
    out[: len(right), 1] = right
    return out


def gain(pcm: PCM, factor: float) -> PCM:
    """Multiply by `factor` (1 is unchanged, returned as it is), clipping at full scale."""
    if factor == 1.0:
        return pcm
    return _round(pcm * np.float32(factor))


def ramp(pcm: PCM, start: float, end: float) -> PCM:
    """Glide the gain from `start` to `end` over the whole of `pcm`, along half a cosine (no click, no corner)."""
    if start == end or not len(pcm):
        return gain(pcm, end)
    phase = (np.arange(len(pcm), dtype=np.float32) + np.float32(0.5)) * np.float32(math.pi / len(pcm))
    curve = np.float32(start) + np.float32(end - start) * (np.float32(0.5) - np.float32(0.5) * np.cos(phase))
    return _round(pcm * curve)


def fade_in(pcm: PCM, samples: int) -> PCM:
    """Raise the first `samples` (at most all) from silence, raised-cosine; returns a new array."""
    samples = max(0, min(samples, len(pcm)))
    return np.concatenate((ramp(pcm[:samples], 0.0, 1.0), pcm[samples:]))


def fade_out(pcm: PCM, samples: int) -> PCM:
    """Lower the last `samples` (at most all) to silence, raised-cosine; returns a new array."""
    samples = max(0, min(samples, len(pcm)))
    cut = len(pcm) - samples
    return np.concatenate((pcm[:cut], ramp(pcm[cut:], 1.0, 0.0)))


def level(pcm: PCM) -> float:
    """The RMS level in dBFS, `FLOOR` (-100) to 0; `FLOOR` when there are no samples."""
    if not len(pcm):
        return FLOOR
    samples = pcm.astype(np.float64)
    power = float(np.dot(samples, samples)) / len(samples)
    if power == 0.0:
        return FLOOR
    return max(FLOOR, 10 * math.log10(power / _FULL_SCALE**2))


def _round(samples: NDArray[np.floating]) -> PCM:
    """Clip to the 16-bit range and round to nearest."""
    scaled: Floats = np.rint(samples, dtype=np.float32, casting="same_kind")
    np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1, out=scaled)
    return scaled.astype(np.int16)
