"""What an engine answers is checked before anybody relies on it: engines are other people's code and servers."""

from __future__ import annotations

import numpy as np

from antiphon.core.inputs import Word
from antiphon.engines.ports import EngineError, LlmCall, LlmChunk, LlmDone, LlmText, TtsChunk


def checked_text(engine: str, text: object) -> str:
    """A transcript without space around it.

    Raises:
        EngineError: it is no text.
    """
    if not isinstance(text, str):
        raise EngineError(engine, "bad_output", f"expected a transcript, got {_kind(text)}")
    return text.strip()


class LlmCheck:
    """Judges one answer of a language model.

    Attributes:
        done: the last chunk was taken.
    """

    def __init__(self, engine: str) -> None:
        self.done = False
        self._engine = engine
        self._said = False
        self._calls: set[int] = set()

    def take(self, chunk: LlmChunk) -> LlmChunk | None:
        """The chunk, or None for one that adds nothing (as blanks do before the first word).

        Raises:
            EngineError: it is not what the port allows.
        """
        match chunk:
            case LlmText(delta=str(delta)):
                if not delta or not (self._said or delta.strip()):
                    return None
                self._said = True
                return chunk
            case LlmCall(index=int(index), delta=str(), call_id=str(call_id), name=str(name)):
                if index not in self._calls and not (call_id and name):
                    raise self._bad(f"tool call {index} began without its name and id")
                self._calls.add(index)
                return chunk
            case LlmDone():
                if chunk.reason == "stop" and not self._said and not self._calls:
                    raise self._bad("the answer is empty")
                self.done = True
                return chunk
        raise self._bad(f"expected text, a tool call or the end, got {_kind(getattr(chunk, 'delta', chunk))}")

    def finish(self) -> None:
        """The stream ended.

        Raises:
            EngineError: in the middle of the answer.
        """
        if not self.done:
            raise self._bad("the answer broke off" if self._said or self._calls else "the answer is empty")

    def _bad(self, message: str) -> EngineError:
        return EngineError(self._engine, "bad_output", message)


class TtsCheck:
    """Judges the speech made of one text.

    Attributes:
        done: never set; speech is over when its stream is.
    """

    def __init__(self, engine: str, text: str) -> None:
        self.done = False
        self._engine = engine
        self._speakable = any(c.isalnum() for c in text)
        self._samples = 0
        self._last_end = 0

    def take(self, chunk: TtsChunk) -> TtsChunk | None:
        """The chunk, its word ends in order and within the audio; None for an empty one.

        Raises:
            EngineError: it is not mono int16 audio.
        """
        audio = chunk.audio if isinstance(chunk, TtsChunk) else chunk
        if not isinstance(audio, np.ndarray) or audio.dtype != np.int16 or audio.ndim != 1:
            raise EngineError(self._engine, "bad_output", f"expected mono int16 audio, got {_kind(audio)}")
        self._samples += audio.size
        if not chunk.words:
            return chunk if audio.size else None
        words = []
        for word in chunk.words:
            self._last_end = min(max(word.end, self._last_end), self._samples)
            words.append(word if word.end == self._last_end else Word(word.text, self._last_end))
        return TtsChunk(audio, tuple(words))

    def finish(self) -> None:
        """The stream ended.

        Raises:
            EngineError: a text with letters or digits became no audio at all.
        """
        if self._speakable and not self._samples:
            raise EngineError(self._engine, "bad_output", "the text became no audio")


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return "nothing" if value is None else type(value).__name__
