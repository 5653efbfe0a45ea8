"""Moonshine tiny (English) on onnxruntime: the speech recogniser inside the engine process."""

from __future__ import annotations

import math
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.local.catalogue import MOONSHINE
from antiphon.engines.local.models import require
from antiphon.engines.local.ort import session
from antiphon.engines.ports import PCM

__all__ = ["Moonshine", "cut_at_pauses", "plausible", "read_tokenizer"]

_RATE = 16_000
_SHORTEST = _RATE // 4
"""Samples below which nothing is recognised: the model invents words for less."""
_LONGEST = 15 * _RATE
"""Samples of one piece; longer audio is cut, as cost grows faster than length and quality falls."""
_SEARCH = 6 * _RATE
"""Samples before the longest piece's end among which the quietest place is sought."""
_QUIET = _RATE // 50
_SMOOTH = 10

_BOS, _EOS = 1, 2
_LAYERS = 6
_TOKENS_PER_SECOND = 6.5

_INVENTED = frozenset({"you", "thank you", "thank you very much", "thanks for watching", "bye", "the", "so", "."})
_SURE = -0.3
"""Mean log-probability of the tokens of a stock word that was really said; made up, it stays below -0.4."""
_LOST = -0.9
"""Mean log-probability below which nothing like speech was there."""


def read_tokenizer(data: bytes) -> list[bytes]:
    """The token table: each entry a length (one byte, or two from 128 on) and its bytes."""
    tokens, at = [], 0
    while at < len(data):
        length = data[at]
        at += 1
        if length >= 128:
            length = (length - 128) | data[at] << 7
            at += 1
        tokens.append(data[at : at + length])
        at += length
    return tokens


def cut_at_pauses(audio: PCM) -> list[PCM]:
    """Pieces of at most 15 s, cut where it is quietest; together they are the whole."""
    pieces = []
    while len(audio) > _LONGEST:
        low = _LONGEST - _SEARCH
        blocks = audio[low:_LONGEST].reshape(-1, _QUIET).astype(np.float32)
        energy = np.convolve((blocks**2).mean(axis=1), np.ones(_SMOOTH), "valid")
        cut = low + (int(energy.argmin()) + _SMOOTH // 2) * _QUIET
        pieces.append(audio[:cut])
        audio = audio[cut:]
    pieces.append(audio)
    return pieces


def plausible(text: str, confidence: float) -> bool:
    """Whether a text was said rather than made up.

    Noise and silence become a few stock words, or music notes; people do say "Thank you", but then the model is sure.

    Args:
        text: What was recognised.
        confidence: Mean log-probability of its tokens, 0 at best.
    """
    words = " ".join(re.findall(r"[\w']+", text.lower()))
    if not words or confidence < _LOST:
        return False
    return words not in _INVENTED or confidence >= _SURE


class Moonshine:
    """The loaded model; its methods may run on several threads at once.

    Raises:
        ModelFileError: A file is missing or damaged.
    """

    def __init__(self, models_dir: Path) -> None:
        directory = require(models_dir, MOONSHINE)
        self._encoder = session(directory / "encoder_model.ort")
        self._decoder = session(directory / "decoder_model_merged.ort")
        self._tokens = read_tokenizer((directory / "tokenizer.bin").read_bytes())
        self._outputs = [output.name for output in self._decoder.get_outputs()]

    def transcribe(self, audio: PCM) -> Generator[None, None, str]:
        """Recognise speech, pausing after each step so that others may run and a cancel is noticed.

        Args:
            audio: 16 kHz, any length.

        Returns:
            The text; empty when nothing was said.
        """
        texts = []
        for piece in cut_at_pauses(audio):
            if len(piece) < _SHORTEST:
                continue
            ids, confidence = yield from self._decode(piece)
            text = self._text(ids)
            if plausible(text, confidence):
                texts.append(text)
        return " ".join(texts)

    def _decode(self, piece: PCM) -> Generator[None, None, tuple[list[int], float]]:
        """Greedy search; the token ids and their mean log-probability."""
        mask = np.ones((1, len(piece)), np.int64)
        samples = piece[None].astype(np.float32) * np.float32(1 / 32768)
        (hidden,) = self._encoder.run(None, {"input_values": samples, "attention_mask": mask})
        yield
        # The mask is as long as the audio, not as the encoder's output: shorter ones fail from 9 s on.
        feed: dict[str, Any] = {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}
        for layer in range(_LAYERS):
            for side in ("decoder", "encoder"):
                for part in ("key", "value"):
                    feed[f"past_key_values.{layer}.{side}.{part}"] = np.zeros((1, 8, 0, 36), np.float32)
        ids, last, total = [], _BOS, 0.0
        for step in range(math.ceil(len(piece) / _RATE * _TOKENS_PER_SECOND) + 2):
            feed["input_ids"] = np.array([[last]], np.int64)
            feed["use_cache_branch"] = np.array([step > 0])
            logits, *present = self._decoder.run(self._outputs, feed)
            for name, value in zip(self._outputs[1:], present, strict=True):
                # After the first step the encoder's are placeholders.
                if step == 0 or ".decoder." in name:
                    feed[name.replace("present", "past_key_values")] = value
            last, probability = _best(logits[0, -1])
            total += probability
            if last == _EOS:
                break
            ids.append(last)
            yield
        return ids, total / (len(ids) + 1)

    def _text(self, ids: list[int]) -> str:
        joined = b"".join(self._piece(token) for token in ids)
        return joined.decode("utf-8", "ignore").replace("\u2581", " ").strip()

    def _piece(self, token: int) -> bytes:
        if 3 <= token <= 258:
            return bytes([token - 3])
        return self._tokens[token] if token < len(self._tokens) else b""


def _best(logits: NDArray[np.float32]) -> tuple[int, float]:
    """The likeliest token and its log-probability."""
    best = int(logits.argmax())
    return best, -float(np.log(np.exp(logits - logits[best]).sum()))
