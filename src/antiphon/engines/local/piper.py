"""Piper voices on onnxruntime, spoken window by window: the synthesiser inside the engine process.

``piper-tts`` (GPL-3.0-or-later, with espeak-ng inside) is imported here, hence only in the engine process; it turns
text into phonemes. The graph itself runs on onnxruntime.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.local.graph import CONTEXT
from antiphon.engines.local.ort import session
from antiphon.errors import ModelFileError

__all__ = ["Piece", "Voice", "split_sentences", "word_ends"]

Floats = NDArray[np.float32]

_WINDOWS = (20, 40, 80)
"""Frames decoded at a time: a short one for an early start, then longer ones, which waste less; the last repeats."""
_GAIN = 1.3
"""What brings a voice's raw output (peaks near 0.5) to a usual level; fixed, so that all windows are equally loud."""
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some sound at the voice's own rate, -1..1, and the words that end in it; ends count from the text's start."""

    audio: Floats
    words: tuple[tuple[str, int], ...]


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, without the space around them."""
    return [sentence for part in _SENTENCE_END.split(text) if (sentence := part.strip())]


def word_ends(weights: Sequence[float], groups: Sequence[int], durations: NDArray[np.float64]) -> list[float]:
    """When words end, from how long each phoneme lasts.

    The phonemiser joins words ("of the" is one group) and splits others ("25" is two), so that groups match words only
    where their number is the same; elsewhere a word's end is where its share of all phonemes lies.

    Args:
        weights: How many phonemes each word has by itself.
        groups: The index of the last phoneme of each group, ascending.
        durations: How long each phoneme lasts, in any unit.

    Returns:
        One end a word in that unit, ascending, the last one that of the last group.
    """
    ends = np.cumsum(durations)
    if len(groups) == len(weights):
        return [float(ends[last]) for last in groups]
    share = np.cumsum(weights) / max(sum(weights), 1e-9) * len(durations) - 1
    near = np.asarray(groups)
    # A group's end nearby is where a word really ends.
    places = [near[d.argmin()] if (d := np.abs(near - place)).min() <= 2 else round(place) for place in share]
    places[-1] = groups[-1]
    return [float(end) for end in np.maximum.accumulate(ends[np.clip(places, 0, len(ends) - 1)])]


class Voice:
    """A loaded voice; `speak` may run on several threads at once.

    Args:
        path: The ``.onnx`` file; its configuration is beside it as ``.onnx.json``.
        parts: The front and the decoder cut from it; without, it speaks sentence by sentence.

    Raises:
        ModelFileError: A file is missing or not what it should be.
        ImportError: piper-tts is not installed.
    """

    def __init__(self, path: Path, parts: tuple[Path, Path] | None) -> None:
        from piper import PiperVoice
        from piper.config import PiperConfig

        try:
            config = PiperConfig.from_dict(json.loads(Path(f"{path}.json").read_bytes()))
        except (OSError, ValueError, KeyError) as error:
            raise ModelFileError(f"{path}.json is not the configuration of a Piper voice: {error}") from error
        self.rate: int = config.sample_rate
        self._config = config
        self._decoder = session(parts[1]) if parts else None
        self._front = session(parts[0] if parts else path)
        self._context = 0
        if self._decoder is not None:
            self._context = int(self._decoder.get_modelmeta().custom_metadata_map[CONTEXT])
            self._decoder_inputs = [tensor.name for tensor in self._decoder.get_inputs()]
        self._piper = PiperVoice(session=self._front, config=config)
        self._phonemes_of = lru_cache(4096)(self._count_phonemes)

    def speak(self, text: str, speed: float = 1.0) -> Iterator[Piece]:
        """Speak a text; each piece is made when it is asked for.

        Args:
            text: Any; sentences are thought out one by one.
            speed: 0.25 to 4, 1 is the voice's own.
        """
        start = 0
        for sentence in split_sentences(text):
            for phonemes, words, groups in self._phonemize(sentence):
                for piece in self._sentence(phonemes, words, groups, speed, start):
                    start += len(piece.audio)
                    yield piece

    def _count_phonemes(self, word: str) -> int:
        return sum(1 for sentence in self._piper.phonemize(word) for p in sentence if p not in " .,;:!?")

    def _phonemize(self, sentence: str) -> list[tuple[list[str], list[str], list[int]]]:
        """Phonemes, words and the last phoneme of each group, for each part that the phonemiser makes of a sentence."""
        spoken = [phonemes for phonemes in self._piper.phonemize(sentence) if phonemes]
        words = sentence.split()
        groups = [_groups(phonemes) for phonemes in spoken]
        parts = []
        taken, seen, total = 0, 0, sum(len(g) for g in groups)
        for phonemes, ends in zip(spoken, groups, strict=True):
            seen += len(ends)
            upto = round(len(words) * seen / max(total, 1))
            parts.append((phonemes, words[taken:upto], ends))
            taken = upto
        return parts

    def _sentence(
        self, phonemes: list[str], words: list[str], groups: list[int], speed: float, start: int
    ) -> Iterator[Piece]:
        latent, others, frames = self._think(phonemes, speed)
        if self._decoder is None:
            audio = latent.ravel()
            shares = self._proportional(words, len(audio))
            yield Piece(_loud(audio), tuple(zip(words, (start + end for end in shares), strict=True)))
            return
        total = latent.shape[2]
        ends = self._ends(phonemes, words, groups, frames, total)
        told = begin = position = 0
        for size in _sizes(total):
            audio = self.decode(latent, others, begin, begin + size)
            begin += size
            position += len(audio)
            hop = position / begin
            upto = len(words) if begin == total else sum(1 for end in ends if end <= begin)
            new = tuple((words[i], start + min(round(ends[i] * hop), position)) for i in range(told, upto))
            told = upto
            yield Piece(_loud(audio), new)

    def _think(self, phonemes: list[str], speed: float) -> tuple[Floats, list[Floats], Floats]:
        """Run the front (or the whole graph, where it is not cut): frames (or sound), the rest, frames per id."""
        ids = self._piper.phonemes_to_ids(phonemes)
        config = self._config
        scales = np.array([config.noise_scale, config.length_scale / speed, config.noise_w_scale], np.float32)
        feed: dict[str, Any] = {"input": np.array([ids], np.int64), "input_lengths": np.array([len(ids)], np.int64)}
        feed["scales"] = scales
        if config.num_speakers > 1:
            feed["sid"] = np.array([config.default_speaker_id or 0], np.int64)
        latent, *others = self._front.run(None, feed)
        return latent, others[:-1], others[-1].ravel() if others else np.zeros(0, np.float32)

    def decode(self, latent: Floats, others: Sequence[Floats], start: int, end: int) -> Floats:
        """The sound of frames `start` to `end`, exactly as it is in the whole; raw, without gain."""
        assert self._decoder is not None, "only a voice that was cut decodes in windows"
        low, high = max(0, start - self._context), min(latent.shape[2], end + self._context)
        feed = dict(zip(self._decoder_inputs, (latent[:, :, low:high], *others), strict=True))
        audio: Floats = self._decoder.run(None, feed)[0].ravel()
        hop = len(audio) // (high - low)
        return audio[(start - low) * hop : (end - low) * hop]

    def _ends(
        self, phonemes: list[str], words: list[str], groups: list[int], frames: Floats, total: int
    ) -> list[float]:
        """The frame that each word ends at."""
        if not words or not groups:
            return [float(total)] * len(words)
        durations = self._durations(phonemes, frames)
        if durations is None:
            return [float(end) for end in self._proportional(words, total)]
        return word_ends([max(1, self._phonemes_of(word)) for word in words], groups, durations)

    def _durations(self, phonemes: list[str], frames: Floats) -> NDArray[np.float64] | None:
        """Frames of each phoneme with the pad after it; None where the ids do not follow the usual pattern."""
        table = self._config.phoneme_id_map
        pads = len(table["_"])
        at = len(table["^"]) + pads
        lengths = []
        before = float(frames[:at].sum())
        for phoneme in phonemes:
            size = len(table[phoneme]) + pads if phoneme in table else 0
            lengths.append(float(frames[at : at + size].sum()))
            at += size
        if at + len(table["$"]) != len(frames) or not lengths:
            return None
        lengths[0] += before
        return np.array(lengths)

    @staticmethod
    def _proportional(words: list[str], total: int) -> list[int]:
        letters = np.cumsum([len(word) + 1 for word in words])
        return [int(total * n / letters[-1]) for n in letters]


def _groups(phonemes: list[str]) -> list[int]:
    """The index of the last phoneme of each run between spaces."""
    ends = [i - 1 for i, p in enumerate(phonemes) if p == " " and i and phonemes[i - 1] != " "]
    if phonemes[-1] != " ":
        ends.append(len(phonemes) - 1)
    return ends


def _sizes(total: int) -> Iterator[int]:
    """How many frames to decode at a time; a short rest joins the window before it."""
    windows = iter(_WINDOWS)
    size = next(windows)
    while total > size + _WINDOWS[0] // 2:
        yield size
        total -= size
        size = next(windows, size)
    if total:
        yield total


def _loud(audio: Floats) -> Floats:
    loud: Floats = np.clip(audio * np.float32(_GAIN), -1, 1)
    return loud
