"""The five engine ports. Implementations live in ``local/``, ``openai/`` and ``scripted/``, or come by entry point.

All audio is mono int16: the user's at 16 kHz (``core.items.INPUT_RATE``), the agent's at 24 kHz (``OUTPUT_RATE``).
Cancelling the awaiting task, or closing the iterator, stops the work. Every failure is an ``EngineError``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from antiphon.core.inputs import Word
from antiphon.core.items import Item, Tool, Usage
from antiphon.errors import AntiphonError

PCM = NDArray[np.int16]

ErrorKind = Literal["timeout", "unavailable", "crashed", "bad_output", "rejected"]


class EngineError(AntiphonError):
    """An engine could not do its work.

    Attributes:
        engine: the engine's name as configured.
        kind: timeout; unavailable (not reachable, not loaded); crashed (its process died); bad_output (it answered
            rubbish); rejected (it refused the request: key, quota, content).
    """

    def __init__(self, engine: str, kind: ErrorKind, message: str) -> None:
        super().__init__(f"{engine}: {message}")
        self.engine = engine
        self.kind = kind

    @property
    def retryable(self) -> bool:
        return self.kind in ("timeout", "unavailable", "crashed")


@dataclass(frozen=True, slots=True)
class SttRequest:
    audio: PCM
    """16 kHz; any length."""
    language: str | None = None
    prompt: str = ""
    partial: bool = False
    """The speech goes on; a busy engine may answer with the empty text instead of queueing."""


@dataclass(frozen=True, slots=True)
class LlmRequest:
    history: Sequence[Item]
    instructions: str = ""
    tools: Sequence[Tool] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    max_output_tokens: int | None = None
    temperature: float | None = None
    model: str = ""
    """The client's wish; an engine uses its own when it does not serve this one."""


@dataclass(frozen=True, slots=True)
class LlmText:
    delta: str


@dataclass(frozen=True, slots=True)
class LlmCall:
    """A piece of a tool call; the first of an ``index`` carries ``call_id`` and ``name``."""

    index: int
    delta: str = ""
    call_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class LlmDone:
    reason: Literal["stop", "length", "content_filter"] = "stop"
    usage: Usage = Usage()


LlmChunk = LlmText | LlmCall | LlmDone


@dataclass(frozen=True, slots=True)
class TtsRequest:
    text: str
    voice: str = ""
    """Engine's default when empty or unknown to it."""
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class TtsChunk:
    audio: PCM
    """24 kHz."""
    words: tuple[Word, ...] = ()
    """Words that end in or before this chunk, where the engine can tell; ends count from the request's first sample."""


class Engine(Protocol):
    name: str

    async def warm_up(self) -> None:
        """Load and run once, so that the first call is as fast as the rest. Idempotent."""

    async def close(self) -> None: ...


class Stt(Engine, Protocol):
    async def transcribe(self, request: SttRequest) -> str:
        """The text; empty when nothing was said."""
        ...


class Llm(Engine, Protocol):
    def generate(self, request: LlmRequest) -> AsyncIterator[LlmChunk]:
        """Stream an answer; the last chunk is ``LlmDone``."""
        ...


class Tts(Engine, Protocol):
    @property
    def voices(self) -> Sequence[str]:
        """Names a request may ask for."""
        ...

    def synthesize(self, request: TtsRequest) -> AsyncIterator[TtsChunk]: ...


class TurnDetector(Engine, Protocol):
    async def predict(self, audio: PCM) -> float:
        """Probability 0 to 1 that the turn is over, of its last 8 s (16 kHz) with 200-400 ms of trailing silence."""
        ...


class Vad(Protocol):
    """Voice activity, batched over sessions; synchronous, called on the event loop (0.1 ms a frame)."""

    frame: int
    """Samples (16 kHz) per frame: 512."""

    def probabilities(self, frames: NDArray[np.float32], states: Sequence[VadState]) -> NDArray[np.float32]:
        """One probability 0 to 1 per row of ``frames`` [B, 512] in -1..1; advances ``states`` (length B) in place."""
        ...


class VadState:
    """One stream's memory: 64 samples of context and the recurrent state [2, 1, 128]."""

    __slots__ = ("context", "state")

    def __init__(self) -> None:
        self.context = np.zeros(64, np.float32)
        self.state = np.zeros((2, 1, 128), np.float32)
