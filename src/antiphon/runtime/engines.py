"""The engines that every session of a process shares."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.engines.ports import Llm, Stt, Tts, TurnDetector, Vad


@dataclass(frozen=True, slots=True)
class Engines:
    """One of each kind; a chain with fallbacks is one engine. Without ``turn`` semantic turns end by silence."""

    vad: Vad
    turn: TurnDetector | None
    stt: Stt
    llm: Llm
    tts: Tts

    async def close(self) -> None:
        """Close those that have something to close; a failing one does not keep the others open."""
        failed: list[Exception] = []
        for engine in (self.turn, self.stt, self.llm, self.tts):
            try:
                if engine is not None:
                    await engine.close()
            except Exception as problem:
                failed.append(problem)
        if failed:
            raise ExceptionGroup("engines did not close", failed)
