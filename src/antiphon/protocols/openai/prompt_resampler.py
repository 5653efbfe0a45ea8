"""Resampling that does not keep a caller waiting: each chunk comes out two milliseconds late at most.

soxr works in blocks, which holds 20 ms chunks back for 21 ms on average and up to 36; every turn would be noticed that
much later. A polyphase FIR filter does the same work chunk by chunk. Passband to 7 kHz (24 to 16 kHz), 80 dB of
rejection beyond 8.4 kHz.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from antiphon.audio.pcm import PCM, empty

__all__ = ["PromptResampler"]

_BETA = 8.0
"""Kaiser window: 80 dB."""
_BLOCK = 24_000
"""Most samples at once: the windows of a block take a hundred times its memory for a moment."""
_SECONDS = 0.002
"""What the filter looks ahead."""


class PromptResampler:
    """One stream; sample n of the output is at time n / `to_rate`, as the input has it.

    Args:
        from_rate: Samples per second pushed.
        to_rate: Samples per second returned. Equal rates pass everything through.
    """

    __slots__ = ("_ahead", "_buffer", "_down", "_emitted", "_next", "_received", "_start", "_taps", "_up")

    def __init__(self, from_rate: int, to_rate: int) -> None:
        common = math.gcd(from_rate, to_rate)
        self._up, self._down = to_rate // common, from_rate // common
        self._ahead, self._taps = _filter(from_rate, to_rate)
        self.reset()

    def push(self, pcm: PCM) -> PCM:
        """Take samples (any number) and return those that are ready, maybe none."""
        if self._up == self._down:
            return pcm
        self._received += len(pcm)
        if len(pcm) <= _BLOCK:
            return self._take(pcm)
        return np.concatenate([self._take(pcm[start : start + _BLOCK]) for start in range(0, len(pcm), _BLOCK)])

    def flush(self) -> PCM:
        """End the stream and return its last samples; then it starts over."""
        if self._up == self._down:
            return empty()
        missing = round(self._received * self._up / self._down) - self._emitted
        rest = self._take(np.zeros(len(self._taps) + self._down, np.int16))[:missing]
        self.reset()
        return rest

    def reset(self) -> None:
        """Forget the stream and start over."""
        self._buffer = np.zeros(len(self._taps), np.float32)  # the silence before the first sample
        self._start = -len(self._taps)
        self._next = self._received = self._emitted = 0

    def _take(self, samples: PCM) -> PCM:
        # One product: a window of input for each group of outputs, times the taps of the group's phases.
        down, width = self._down, len(self._taps)
        buffer = np.concatenate((self._buffer, samples), dtype=np.float32, casting="safe")
        count = (self._start + len(buffer) - 1 - self._ahead) // down - self._next + 1
        if count <= 0:
            self._buffer = buffer
            return empty()
        first = down * self._next + self._ahead - width + 1 - self._start
        windows = np.ndarray((count, width), np.float32, buffer, 4 * first, (4 * down, 4))
        out = windows @ self._taps
        self._next += count
        first += down * count
        self._buffer, self._start = buffer[first:].copy(), self._start + first
        self._emitted += out.size
        return np.clip(np.rint(out, out=out), -32768, 32767, out=out).astype(np.int16).reshape(-1)


@lru_cache
def _filter(from_rate: int, to_rate: int) -> tuple[int, NDArray[np.float32]]:
    """How far ahead of a group of outputs the newest sample of its window lies, and the group's taps, oldest first, of
    shape [window, phases]."""
    common = math.gcd(from_rate, to_rate)
    up, down = to_rate // common, from_rate // common
    rate = from_rate * up
    half = round(_SECONDS * rate)
    edge = 0.96 * min(from_rate, to_rate) / rate
    n = np.arange(-half, half + 1)
    taps = edge * np.sinc(edge * n) * np.kaiser(2 * half + 1, _BETA)
    newest = [divmod(phase * down + half, up) for phase in range(up)]
    ahead = newest[-1][0]
    length = math.ceil((2 * half + 1) / up)
    table = np.zeros((length + ahead - newest[0][0], up))
    for phase, (place, first) in enumerate(newest):
        bank = taps[first::up] / taps[first::up].sum()
        late = ahead - place
        table[late : late + len(bank), phase] = bank
    return ahead, np.ascontiguousarray(table[::-1], np.float32)
