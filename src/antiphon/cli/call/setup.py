"""What a call on the command line runs on: engines and session configuration, from settings and options."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from antiphon.core.config import Config, Turn
from antiphon.engines.scripted import (
    ScriptedLlm,
    ScriptedStt,
    ScriptedTts,
    ScriptedTurn,
    ScriptedVad,
    load_script,
)
from antiphon.errors import UsageError
from antiphon.runtime.engines import Engines
from antiphon.server.settings import Settings, TurnSettings
from antiphon.server.settings_sources import load_settings

Role = Literal["stt", "llm", "tts"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What the flags that ``converse`` and ``talk`` share say."""

    config: Path | None = None
    engine: Sequence[str] = ()
    script: Path | None = None
    instructions: str = ""
    voice: str = ""
    greeting: str = ""
    turns: Literal["silence", "semantic"] | None = None


def read_settings(options: CallOptions) -> Settings:
    """The settings, with the engines that ``--engine`` names.

    Raises:
        UsageError: ``--engine`` is not NAME or ROLE=NAME.
        ConfigError: A setting is wrong.
    """
    chosen: dict[str, list[str]] = {}
    for wish in options.engine:
        role, equals, name = wish.rpartition("=")
        if not name or (equals and role not in ROLES):
            raise UsageError(f"--engine: expected NAME or one of stt=NAME, llm=NAME, tts=NAME, got {wish!r}")
        for each in (role,) if equals else ROLES:
            chosen.setdefault(each, []).append(name)
    return load_settings(options.config, {"engines": chosen})


def session_config(options: CallOptions, settings: Settings) -> Config:
    """The session's configuration: server-owned playout, so that what was heard is known."""
    return Config(
        instructions=options.instructions,
        voice=options.voice,
        playout="server",
        turn=_turn(settings.turn, options.turns),
        max_seconds=None,
    )


def _turn(settings: TurnSettings, mode: Literal["silence", "semantic"] | None) -> Turn:
    semantic = settings.detection == "semantic_vad" if mode is None else mode == "semantic"
    waits: dict[str, float] = {"low": 4.0, "high": 1.0}
    longest = waits.get(settings.eagerness, 2.0)
    return Turn(
        mode="semantic" if semantic else "silence",
        threshold=settings.threshold,
        prefix=settings.prefix_padding_ms / 1000,
        silence=settings.silence_duration_ms / 1000,
        speculate=settings.speculation_ms / 1000,
        wait_incomplete=longest,
        interrupt_response=settings.interrupt_response,
        over_agent=settings.speech_while_uninterruptible,
        captions=0.5,
    )


@asynccontextmanager
async def open_engines(options: CallOptions, settings: Settings) -> AsyncIterator[Engines]:
    """Build the engines, warm them up, and close them in the end.

    Raises:
        AntiphonError: A model file is missing, an engine is unknown or does not start.
    """
    engines = _scripted(options.script) if options.script else _configured(settings)
    try:
        for engine in (engines.stt, engines.llm, engines.tts, engines.turn):
            if engine is not None:
                await engine.warm_up()
        yield engines
    finally:
        await engines.close()


def engine_names(engines: Engines) -> dict[str, str]:
    """What answers in each role, for people."""
    return {role: getattr(engines, role).name for role in ROLES}


def _scripted(path: Path) -> Engines:
    script = load_script(path)
    return Engines(
        vad=ScriptedVad(script.vad),
        turn=ScriptedTurn(script.turn),
        stt=ScriptedStt(script.stt),
        llm=ScriptedLlm(script.llm),
        tts=ScriptedTts(script.tts),
    )


def _configured(settings: Settings) -> Engines:
    from antiphon.engines import registry  # here: it imports what the engines need

    parts: Any = registry.build(settings.engines, settings.data.models_dir)
    return Engines(vad=parts.vad, turn=parts.turn, stt=parts.stt, llm=parts.llm, tts=parts.tts)
