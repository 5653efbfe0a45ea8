"""A streaming resampler whose delay is two milliseconds at 16 kHz, where soxr's look-ahead is twenty or more.

A polyphase Kaiser-windowed sinc. The stream is cut into blocks in which a whole number of samples goes in and comes
out, so that each block is one row of a matrix product with a fixed matrix, and a push of 20 ms is one small product.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from antiphon.audio.pcm import PCM, empty

_Matrix = NDArray[np.float32]

# Of the lower of the two rates: the pass band ends at 0.43, the stop band begins at 0.51, 80 dB down.
_CENTRE = 0.47
_TRANSITION = 0.08
_ATTENUATION = 80.0
_BETA = 0.1102 * (_ATTENUATION - 8.7)

_SHORTEST_BLOCK = 0.001
_LONGEST_BLOCK = 0.02


def block_sizes(from_rate: int, to_rate: int) -> tuple[int, int] | None:
    """Samples in and out of one block of 1 to 20 ms; None when the rates share too little for so short a block."""
    unit = math.gcd(from_rate, to_rate)
    blocks = max(1, math.ceil(_SHORTEST_BLOCK * unit))
    if blocks / unit > _LONGEST_BLOCK:
        return None
    return blocks * from_rate // unit, blocks * to_rate // unit


@lru_cache(maxsize=32)
def _design(from_rate: int, to_rate: int, taken: int, given: int) -> tuple[_Matrix, int]:
    """The matrix [taken + 2 * reach, given] of one block, and the samples it reaches to either side of it."""
    low = min(from_rate, to_rate)
    half = (_ATTENUATION - 7.95) / (14.36 * _TRANSITION * low) / 2
    reach = math.ceil(half * from_rate)
    at = (np.arange(taken + 2 * reach) - reach) / from_rate
    away = at[:, None] - np.arange(given) / to_rate
    inside = np.maximum(0.0, 1.0 - (away / half) ** 2)
    taps = np.where(inside > 0, np.sinc(2 * _CENTRE * low * away) * np.i0(_BETA * np.sqrt(inside)), 0.0)
    matrix = (taps / taps.sum(axis=0)).astype(np.float32)  # unity gain at 0 Hz, in every phase
    return matrix, reach


class FirResampler:
    """One stream, in phase: output sample n is at time n / `to_rate`.

    Args:
        from_rate: Samples per second pushed.
        to_rate: Samples per second returned.
        sizes: What `block_sizes` says for the two.
    """

    __slots__ = ("_from", "_given", "_kept", "_matrix", "_reach", "_taken", "_to", "_total")

    def __init__(self, from_rate: int, to_rate: int, sizes: tuple[int, int]) -> None:
        self._from, self._to = from_rate, to_rate
        self._taken, self._given = sizes
        self._matrix, self._reach = _design(from_rate, to_rate, *sizes)
        self._kept: PCM = np.zeros(self._reach, np.int16)
        self._total = 0

    def push(self, pcm: PCM) -> PCM:
        """Take samples and return those that are ready, whole blocks of them."""
        self._total += len(pcm)
        samples = np.concatenate((self._kept, pcm))
        blocks = (len(samples) - 2 * self._reach) // self._taken
        if blocks <= 0:
            self._kept = samples
            return empty()
        used = blocks * self._taken
        self._kept = samples[used:]
        # one row a block, each with its neighbourhood; as_strided says the same, ten times slower
        windows: PCM = np.ndarray((blocks, len(self._matrix)), np.int16, samples, strides=(2 * self._taken, 2))
        out = windows.astype(np.float32) @ self._matrix
        np.rint(out, out=out)
        np.maximum(out, -32768, out=out)
        np.minimum(out, 32767, out=out)
        return out.astype(np.int16).reshape(-1)

    def flush(self) -> PCM:
        """Return what the stream still owes: in all, as many samples as its duration holds."""
        due = round(self._total * self._to / self._from)
        full_blocks = max(0, (self._total - self._reach) // self._taken)
        rest = self.push(np.zeros(self._reach + self._taken, np.int16))
        return rest[: due - full_blocks * self._given]
