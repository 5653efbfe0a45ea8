"""What a call on the command line runs on: engines and session configuration, from settings and options."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from antiphon.cli.call.fast import in_real_time
from antiphon.core.config import Config, Turn
from antiphon.engines.local.options import LocalOptions
from antiphon.engines.registry import build
from antiphon.errors import AntiphonError, UsageError
from antiphon.runtime.clock import real_work
from antiphon.runtime.engines import Engines
from antiphon.server.settings import Settings, TurnSettings
from antiphon.server.settings_sources import load_settings

Role = Literal["stt", "llm", "tts"]
ROLES: tuple[Role, ...] = get_args(Role)


class EnginesNotReadyError(AntiphonError):
    """No engine of a role is ready to work."""


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
    """The settings, with the engines that ``--engine`` and ``--script`` name.

    Raises:
        UsageError: ``--engine`` is not NAME or ROLE=NAME.
        ConfigError: A setting is wrong.
    """
    chosen: dict[str, Any] = {}
    for wish in options.engine:
        role, equals, name = wish.rpartition("=")
        if not name or (equals and role not in ROLES):
            raise UsageError(f"--engine: expected NAME or one of stt=NAME, llm=NAME, tts=NAME, got {wish!r}")
        for each in (role,) if equals else ROLES:
            chosen.setdefault(each, []).append(name)
    if options.script is not None:
        for each in ROLES:
            chosen.setdefault(each, ["scripted"])
        chosen["scripted"] = {"file": str(options.script)}
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
        confirm=settings.interrupt_min_ms / 1000,
        resume=settings.resume_ms / 1000,
        barge_in=settings.barge_in,
        backchannels=settings.backchannels,
        over_agent=settings.speech_while_uninterruptible,
        captions=0.5,
    )


@asynccontextmanager
async def open_engines(settings: Settings) -> AsyncIterator[Engines]:
    """Build the engines, warm them up, and close them in the end.

    Raises:
        AntiphonError: A model file is missing, an engine is unknown or does not start.
    """
    built = build(settings.engines, settings.data.models_dir)
    try:
        try:
            with real_work():
                await built.warm_up()
        except ExceptionGroup as group:
            told, bugs = group.split(AntiphonError)
            if bugs or not told:
                raise
            raise EnginesNotReadyError("; ".join(str(error) for error in told.exceptions)) from group
        engines = Engines(built.vad, built.turn, built.stt, built.llm, built.tts)
        yield engines if _all_scripted(settings) else in_real_time(engines)
    finally:
        with real_work():
            await built.close()


def _all_scripted(settings: Settings) -> bool:
    return all(spec.kind == "scripted" for role in ROLES for spec in settings.engines.for_role(role))


def engine_names(settings: Settings, voice: str = "") -> dict[str, str]:
    """What answers in each role, first choice first, for people; the embedded engines with their models."""
    options = LocalOptions.of(settings.engines.local)
    small = " (demo)" if options.llm == LocalOptions().llm else ""
    models = {"stt": "Moonshine", "llm": f"{options.llm}{small}", "tts": f"Piper {voice or options.voice}"}
    return {
        role: ", ".join(models[role] if spec.kind == "local" else spec.name for spec in settings.engines.for_role(role))
        for role in ROLES
    }
