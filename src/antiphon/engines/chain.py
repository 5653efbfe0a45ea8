"""Ordered fallbacks: several engines of a kind answer as one, with time-outs, retries and checks of what they say.

An engine that failed is asked again after a short back-off when the failure may pass, then the next one is asked. A
streamed answer (LLM, TTS) is begun anew only while none of it was given on; later the failure is the caller's to
handle. An engine that stayed unreachable is asked last for a while, so that not every turn waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from antiphon.core.items import INPUT_RATE
from antiphon.engines.checks import LlmCheck, TtsCheck, checked_text
from antiphon.engines.ports import (
    Engine,
    EngineError,
    Llm,
    LlmChunk,
    LlmRequest,
    Stt,
    SttRequest,
    Tts,
    TtsChunk,
    TtsRequest,
)

log = logging.getLogger(__name__)

T = TypeVar("T")
E = TypeVar("E", bound=Engine)
C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for an engine, in seconds, and how often to ask again."""

    first: float
    """To the whole text (STT), the first words or call (LLM), the first audio (TTS)."""
    between: float = 10.0
    """From one chunk to the next."""
    per_second: float = 0.0
    """Added to ``first`` for each second of audio in the request (STT)."""
    retries: int = 2
    """Times the same engine is asked again after a retryable failure; not after a time-out while another is left."""
    backoff: float = 0.2
    """Before the first retry; doubled for each further one."""
    rest: float = 15.0
    """How long an engine that stayed unreachable is asked last."""


STT_PATIENCE = Patience(first=10.0, per_second=0.5)
LLM_PATIENCE = Patience(first=20.0)
TTS_PATIENCE = Patience(first=10.0)


@dataclass(slots=True)
class _Link(Generic[E]):
    engine: E
    patience: Patience
    resting_until: float = 0.0
    state: str = "cold"

    def answered(self) -> None:
        """It works, whatever it did before."""
        self.resting_until = 0.0
        self.state = "warm"


class _Attempts(Generic[E]):
    """Whom to ask next, given how the earlier ones failed: an asynchronous iterator that backs off."""

    def __init__(self, links: Sequence[_Link[E]], *, single: bool = False) -> None:
        now = asyncio.get_running_loop().time()
        self._queue = deque(sorted(links, key=lambda link: link.resting_until > now))
        self._single = single
        self._tries = 0
        self._problems: list[EngineError] = []

    def __aiter__(self) -> _Attempts[E]:
        return self

    async def __anext__(self) -> _Link[E]:
        if not self._queue:
            raise StopAsyncIteration
        link = self._queue[0]
        if self._tries:
            await asyncio.sleep(link.patience.backoff * 2 ** (self._tries - 1))
        return link

    def failed(self, problem: EngineError) -> None:
        """Note a failure and decide who is next."""
        self._problems.append(problem)
        self._tries += 1
        link = self._queue[0]
        log.warning("engine %s failed: %s", link.engine.name, problem.kind)
        worth_it = problem.retryable and (problem.kind != "timeout" or len(self._queue) == 1)
        if self._single:
            self._queue.clear()
        elif not worth_it or self._tries > link.patience.retries:
            if problem.retryable:
                link.resting_until = asyncio.get_running_loop().time() + link.patience.rest
            self._queue.popleft()
            self._tries = 0

    def error(self, name: str) -> EngineError:
        """What to raise when nobody is left: the one engine's own error, or a list of each one's last."""
        last = {problem.engine: problem for problem in self._problems}
        final = self._problems[-1]
        if len(last) == 1:
            return final
        return EngineError(name, final.kind, "no engine answered: " + "; ".join(map(str, last.values())))


class _Check(Protocol[C]):
    """Judges one streamed answer; see :mod:`antiphon.engines.checks`."""

    done: bool

    def take(self, chunk: C) -> C | None: ...

    def finish(self) -> None: ...


class _Chain(Generic[E]):
    """What the three chains share.

    Args:
        engines: first choice first; at least one.
        patience: for all of them, or one each.
    """

    def __init__(self, engines: Sequence[E], patience: Patience | Sequence[Patience]) -> None:
        if not engines:
            raise ValueError("a chain needs at least one engine")
        each = [patience] * len(engines) if isinstance(patience, Patience) else patience
        self._links = [_Link(engine, wait) for engine, wait in zip(engines, each, strict=True)]
        self.name = " > ".join(engine.name for engine in engines)

    @property
    def engines(self) -> tuple[E, ...]:
        """The engines, first choice first."""
        return tuple(link.engine for link in self._links)

    def readiness(self) -> Mapping[str, str]:
        """Engine name to ``cold``, ``warming``, ``warm``, or ``failed: `` and why."""
        return {link.engine.name: link.state for link in self._links}

    async def warm_up(self) -> None:
        """Warm all engines up at once.

        Raises:
            EngineError: none of them could be.
        """
        problems = [p for p in await asyncio.gather(*map(self._warm_up, self._links)) if p is not None]
        if len(problems) == len(self._links):
            raise problems[0]

    async def close(self) -> None:
        """Close all engines, even when one of them fails to.

        Raises:
            ExceptionGroup: some did.
        """
        results = await asyncio.gather(*(link.engine.close() for link in self._links), return_exceptions=True)
        failures = [r for r in results if isinstance(r, Exception)]
        if failures:
            raise ExceptionGroup("engines did not close", failures)

    async def _warm_up(self, link: _Link[E]) -> EngineError | None:
        if link.state == "warm":
            return None
        link.state = "warming"
        try:
            await _call(link.engine.name, link.engine.warm_up())
        except EngineError as problem:
            link.state = f"failed: {problem}"
            return problem
        except asyncio.CancelledError:
            link.state = "cold"
            raise
        link.state = "warm"
        return None

    async def _relay(
        self, start: Callable[[E], AsyncIterator[C]], check_for: Callable[[str], _Check[C]], what: str
    ) -> AsyncGenerator[C, None]:
        """Stream the first answer that begins well."""
        loop = asyncio.get_running_loop()
        attempts = _Attempts(self._links)
        async for link in attempts:
            name, patience = link.engine.name, link.patience
            check = check_for(name)
            given = False
            deadline = loop.time() + patience.first
            stream: AsyncIterator[C] | None = None
            try:
                stream = _start(start, link.engine)
                while not check.done:
                    when = loop.time() + patience.between if given else deadline
                    waited = patience.between if given else patience.first
                    chunk = await _within(when, f"no {what} for {waited:g} s", name, anext(stream, None))
                    if chunk is None:
                        break
                    good = check.take(chunk)
                    if good is not None:
                        given = True
                        yield good
                check.finish()
                link.answered()
                return
            except EngineError as problem:
                if given:
                    raise _after_a_part(problem) from problem
                attempts.failed(problem)
            finally:
                close = getattr(stream, "aclose", None)
                if close is not None:
                    await close()
        raise attempts.error(self.name)


class SttChain(_Chain[Stt]):
    """Speech to text by the first engine that can."""

    def __init__(self, engines: Sequence[Stt], patience: Patience | Sequence[Patience] = STT_PATIENCE) -> None:
        super().__init__(engines, patience)

    async def transcribe(self, request: SttRequest) -> str:
        """The text, without space around it. A partial request is tried once, with one engine.

        Raises:
            EngineError: each engine failed, and how.
        """
        loop = asyncio.get_running_loop()
        attempts = _Attempts(self._links, single=request.partial)
        async for link in attempts:
            name, patience = link.engine.name, link.patience
            wait = patience.first + patience.per_second * request.audio.size / INPUT_RATE
            try:
                text = await _within(
                    loop.time() + wait, f"no transcript for {wait:g} s", name, link.engine.transcribe(request)
                )
                good = checked_text(name, text)
            except EngineError as problem:
                attempts.failed(problem)
            else:
                link.answered()
                return good
        raise attempts.error(self.name)


class LlmChain(_Chain[Llm]):
    """Answers by the first engine that begins one."""

    def __init__(self, engines: Sequence[Llm], patience: Patience | Sequence[Patience] = LLM_PATIENCE) -> None:
        super().__init__(engines, patience)

    def generate(self, request: LlmRequest) -> AsyncIterator[LlmChunk]:
        """Stream an answer; the last chunk is ``LlmDone``, and empty pieces are left out.

        Raises:
            EngineError: each engine failed, and how; or one failed after a part of the answer was given.
        """
        return self._relay(lambda llm: llm.generate(request), LlmCheck, "words")


class TtsChain(_Chain[Tts]):
    """A voice from the first engine that speaks."""

    def __init__(self, engines: Sequence[Tts], patience: Patience | Sequence[Patience] = TTS_PATIENCE) -> None:
        super().__init__(engines, patience)

    @property
    def voices(self) -> Sequence[str]:
        """All engines' voices, first choice first; each engine speaks unknown ones with its default."""
        return tuple(dict.fromkeys(voice for link in self._links for voice in link.engine.voices))

    def synthesize(self, request: TtsRequest) -> AsyncIterator[TtsChunk]:
        """Stream the speech; empty pieces are left out.

        Raises:
            EngineError: each engine failed, and how; or one failed after a part of the audio was given.
        """
        return self._relay(lambda tts: tts.synthesize(request), lambda name: TtsCheck(name, request.text), "audio")


async def _within(when: float, late: str, engine: str, answer: Awaitable[T]) -> T:
    """Await an engine until the loop's time ``when``; whatever goes wrong is an ``EngineError``."""
    scope = asyncio.timeout_at(when)
    try:
        async with scope:
            return await _call(engine, answer)
    except TimeoutError as error:
        raise EngineError(engine, "timeout", late) from error


async def _call(engine: str, answer: Awaitable[T]) -> T:
    try:
        return await answer
    except EngineError:
        raise
    except Exception as error:
        raise _raised(engine, error) from error


def _start(start: Callable[[E], AsyncIterator[C]], engine: E) -> AsyncIterator[C]:
    try:
        stream = start(engine)
    except EngineError:
        raise
    except Exception as error:
        raise _raised(engine.name, error) from error
    if not isinstance(stream, AsyncIterator):
        raise EngineError(engine.name, "bad_output", f"expected an async iterator, got {type(stream).__name__}")
    return stream


def _raised(engine: str, error: Exception) -> EngineError:
    """Engines of third parties may raise anything."""
    if isinstance(error, TimeoutError):
        return EngineError(engine, "timeout", "gave up waiting")
    return EngineError(engine, "crashed", f"raised {type(error).__name__}: {error}")


def _after_a_part(problem: EngineError) -> EngineError:
    why = str(problem).removeprefix(f"{problem.engine}: ")
    return EngineError(problem.engine, problem.kind, f"{why} (after a part of the answer)")
