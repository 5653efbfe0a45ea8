"""What a session asked of its engines: one task per job, each ending in exactly one answer unless it is cancelled.

Engines are strangers: whatever they raise becomes a failure input with bounded words, and what they answer is checked
before it is believed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np

from antiphon.core import inputs as inp
from antiphon.engines.ports import (
    PCM,
    EngineError,
    Llm,
    LlmCall,
    LlmDone,
    LlmRequest,
    LlmText,
    Stt,
    SttRequest,
    Tts,
    TtsRequest,
    TurnDetector,
)
from antiphon.runtime.sound import Spoken

__all__ = ["TaskOwner", "Tell", "Work", "generate", "predict", "reason", "synthesize", "transcribe"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
Tell = Callable[..., None]
"""``tell(InputClass, **fields)``: the session stamps it and takes it."""
Work = Coroutine[Any, Any, None]

LONGEST_REASON = 300
"""Characters of an engine's message that are passed on."""


class TaskOwner:
    """A session's running tasks, by key. Each is joined: by its own end, or by :meth:`join`."""

    __slots__ = ("_ended_one", "_tasks")

    def __init__(self, ended_one: Callable[[], None] = lambda: None) -> None:
        self._ended_one = ended_one
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, key: str, work: Work) -> None:
        """Run ``work`` under ``key``, which must not be in use."""
        task = asyncio.get_running_loop().create_task(work, name=key)
        self._tasks[key] = task
        task.add_done_callback(self._ended)

    def cancel(self, key: str) -> None:
        """Cancel the task of ``key``, if it still runs."""
        task = self._tasks.get(key)
        if task is not None:
            task.cancel()

    def cancel_all(self) -> None:
        """Cancel everything."""
        for task in tuple(self._tasks.values()):
            task.cancel()

    async def join(self, seconds: float) -> None:
        """Wait for all tasks, at most ``seconds``; an engine that ignores being cancelled is logged and left."""
        me = asyncio.current_task()
        tasks = [task for task in self._tasks.values() if task is not me]
        if not tasks:
            return
        _, pending = await asyncio.wait(tasks, timeout=seconds)
        for task in pending:
            _log.error("%s did not end within %g s of being cancelled", task.get_name(), seconds)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task.get_name(), None)
        if not task.cancelled() and (problem := task.exception()) is not None:
            _log.error("%s ended by a defect of the runtime", task.get_name(), exc_info=problem)
        self._ended_one()


def reason(problem: Exception) -> str:
    """Bounded words for a client about what went wrong; nothing of a stranger's internals beyond its message."""
    words = str(problem) or type(problem).__name__
    return words if len(words) <= LONGEST_REASON else words[: LONGEST_REASON - 1] + "…"


def _unexpected(stage: str, problem: Exception) -> str:
    if not isinstance(problem, EngineError):
        _log.error("the %s engine raised %s, which no port allows", stage, type(problem).__name__, exc_info=problem)
        return f"{stage} failed: {reason(problem)}"
    return reason(problem)


async def transcribe(stt: Stt, request: SttRequest, job: str, tell: Tell) -> None:
    """Answer ``Transcribed`` or ``TranscriptionFailed``."""
    try:
        text = await stt.transcribe(request)
        if not isinstance(text, str):
            raise EngineError(stt.name, "bad_output", f"expected text, got {type(text).__name__}")
    except Exception as problem:
        tell(inp.TranscriptionFailed, job=job, message=_unexpected("stt", problem))
        return
    tell(inp.Transcribed, job=job, text=text.strip(), final=not request.partial)


async def predict(turn: TurnDetector | None, audio: PCM, job: str, tell: Tell) -> None:
    """Answer ``TurnPredicted``; with None where no detector could tell."""
    probability: float | None = None
    if turn is not None:
        try:
            probability = float(await turn.predict(audio))
            if not 0.0 <= probability <= 1.0:
                raise EngineError(turn.name, "bad_output", f"expected a probability 0 to 1, got {probability}")
        except Exception as problem:
            _log.warning("turn detection: %s", _unexpected("turn", problem))
            probability = None
    tell(inp.TurnPredicted, job=job, probability=probability)


async def generate(llm: Llm, request: LlmRequest, job: str, tell: Tell) -> None:
    """Answer text and calls as they come, then ``GenerationDone`` or ``GenerationFailed``."""
    try:
        async with _listening(llm.generate(request)) as chunks:
            async for chunk in chunks:
                match chunk:
                    case LlmText(delta) if isinstance(delta, str):
                        if delta:
                            tell(inp.TextGenerated, job=job, delta=delta)
                    case LlmCall(index, delta, call_id, name) if isinstance(delta, str):
                        tell(inp.CallGenerated, job=job, index=index, delta=delta, call_id=call_id, name=name)
                    case LlmDone(finish, usage):
                        tell(inp.GenerationDone, job=job, reason=finish, usage=usage)
                        return
                    case _:
                        raise EngineError(llm.name, "bad_output", f"expected a chunk of an answer, got {chunk!r:.80}")
        raise EngineError(llm.name, "bad_output", "the answer ended before it was complete")
    except Exception as problem:
        tell(inp.GenerationFailed, job=job, message=_unexpected("llm", problem))


async def synthesize(tts: Tts, request: TtsRequest, job: str, spoken: Spoken, tell: Tell) -> None:
    """Put audio into ``spoken`` and answer ``Synthesized`` for it, then ``SynthesisDone`` or ``SynthesisFailed``."""
    try:
        async with _listening(tts.synthesize(request)) as chunks:
            async for chunk in chunks:
                audio = chunk.audio
                if not isinstance(audio, np.ndarray) or audio.dtype != np.int16 or audio.ndim != 1:
                    shape = (audio.dtype, audio.shape) if isinstance(audio, np.ndarray) else type(audio).__name__
                    raise EngineError(tts.name, "bad_output", f"expected mono 16-bit samples, got {shape}")
                spoken.add(job, audio)
                tell(inp.Synthesized, job=job, samples=len(audio), words=chunk.words)
    except Exception as problem:
        spoken.ended(job)
        tell(inp.SynthesisFailed, job=job, message=_unexpected("tts", problem))
        return
    spoken.ended(job)
    tell(inp.SynthesisDone, job=job)


@asynccontextmanager
async def _listening(stream: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """The stream, closed at once however its reader leaves: an engine stops when nobody listens to it."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
