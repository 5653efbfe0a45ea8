"""Engines for virtual time: while one works, which it does in another process or machine, real time passes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TypeVar, cast

from antiphon.engines.ports import (
    PCM,
    Engine,
    Llm,
    LlmChunk,
    LlmRequest,
    Stt,
    SttRequest,
    Tts,
    TtsChunk,
    TtsRequest,
    TurnDetector,
)
from antiphon.runtime.clock import real_work
from antiphon.runtime.engines import Engines

T = TypeVar("T")


def in_real_time(engines: Engines) -> Engines:
    """The same engines, whose work a virtual clock does not overtake. (Scripted ones wait in virtual time instead.)"""
    return Engines(
        vad=engines.vad,
        turn=None if engines.turn is None else _Turn(engines.turn),
        stt=_Stt(engines.stt),
        llm=_Llm(engines.llm),
        tts=_Tts(engines.tts),
    )


async def _stepping(stream: AsyncIterator[T]) -> AsyncGenerator[T]:
    """The same items; between them nobody waits for the engine, so virtual time may go on."""
    async with aclosing(cast("AsyncGenerator[T]", stream)):
        while True:
            with real_work():
                try:
                    item = await anext(stream)
                except StopAsyncIteration:
                    return
            yield item


class _Wrapped:
    def __init__(self, engine: Engine) -> None:
        self.name = engine.name
        self._engine = engine

    async def warm_up(self) -> None:
        with real_work():
            await self._engine.warm_up()

    async def close(self) -> None:
        with real_work():
            await self._engine.close()


class _Turn(_Wrapped):
    def __init__(self, engine: TurnDetector) -> None:
        super().__init__(engine)
        self._turn = engine

    async def predict(self, audio: PCM) -> float:
        with real_work():
            return await self._turn.predict(audio)


class _Stt(_Wrapped):
    def __init__(self, engine: Stt) -> None:
        super().__init__(engine)
        self._stt = engine

    async def transcribe(self, request: SttRequest) -> str:
        with real_work():
            return await self._stt.transcribe(request)


class _Llm(_Wrapped):
    def __init__(self, engine: Llm) -> None:
        super().__init__(engine)
        self._llm = engine

    def generate(self, request: LlmRequest) -> AsyncIterator[LlmChunk]:
        return _stepping(self._llm.generate(request))


class _Tts(_Wrapped):
    def __init__(self, engine: Tts) -> None:
        super().__init__(engine)
        self.voices: Sequence[str] = engine.voices
        self._tts = engine

    def synthesize(self, request: TtsRequest) -> AsyncIterator[TtsChunk]:
        return _stepping(self._tts.synthesize(request))
