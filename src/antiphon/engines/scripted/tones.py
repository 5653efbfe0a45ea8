"""Speech made of tones: every word of a small vocabulary is a burst of its own frequency.

So test audio carries its own transcript: wherever a turn cuts it, what was heard is what the audio still holds. It
survives resampling and telephone codecs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from antiphon.core.items import INPUT_RATE
from antiphon.engines.ports import PCM

_LOWEST, _HIGHEST = 300.0, 3300.0
_STEP = 25.0
_WORD, _GAP = 0.2, 0.016
_AMPLITUDE = 8000.0
_FLOOR = 400
"""Absolute sample values below this are silence."""
_BLOCK = 0.004


class Tones:
    """A vocabulary that can be spoken and heard.

    Args:
        words: up to 120 different ones; case and punctuation do not count.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(dict.fromkeys(_plain(w) for w in words))
        most = int((_HIGHEST - _LOWEST) / _STEP)
        if not 0 < len(self.words) <= most:
            raise ValueError(f"a tone vocabulary has 1 to {most} words, not {len(self.words)}")
        self._frequencies = {w: _LOWEST + _STEP * i for i, w in enumerate(self.words)}

    def speak(self, text: str, rate: int = INPUT_RATE) -> PCM:
        """The words one after the other: 0.2 s each, 16 ms apart (too short a gap for a VAD to notice).

        Raises:
            ValueError: a word is not in the vocabulary.
        """
        words = [_plain(w) for w in text.split()]
        unknown = [w for w in words if w not in self._frequencies]
        if unknown:
            raise ValueError(f"not in the vocabulary: {', '.join(unknown)}")
        gap = np.zeros(round(_GAP * rate), np.int16)
        return np.concatenate([np.zeros(0, np.int16), *(p for w in words for p in (self._burst(w, rate), gap))])

    def hear(self, audio: PCM, rate: int = INPUT_RATE) -> str:
        """The words in the audio; one that was cut to less than half its length is not heard."""
        block = round(_BLOCK * rate)
        loud = np.abs(audio[: audio.size // block * block].reshape(-1, block).astype(np.int32)).max(axis=1) > _FLOOR
        edges = np.flatnonzero(np.diff(np.concatenate(([0], loud.view(np.int8), [0]))))
        bursts = ((int(on) * block, int(off) * block) for on, off in edges.reshape(-1, 2))
        heard = (self._word(audio[on:off], rate) for on, off in bursts if off - on >= _WORD * rate / 2)
        return " ".join(w for w in heard if w)

    def _burst(self, word: str, rate: int) -> PCM:
        t = np.arange(round(_WORD * rate)) / rate
        wave = np.sin(2 * np.pi * self._frequencies[word] * t)
        fade = np.minimum(1.0, np.minimum(t, t[::-1]) / 0.002)
        return (wave * fade * _AMPLITUDE).astype(np.int16)

    def _word(self, burst: PCM, rate: int) -> str:
        size = max(1 << 13, 1 << (burst.size - 1).bit_length())
        spectrum = np.abs(np.fft.rfft(burst * np.hanning(burst.size), size))
        index = round((float(np.argmax(spectrum)) * rate / size - _LOWEST) / _STEP)
        return self.words[index] if 0 <= index < len(self.words) else ""


def _plain(word: str) -> str:
    return re.sub(r"[^\w'-]", "", word.casefold())
