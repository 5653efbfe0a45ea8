"""From names in the settings to engines that run: the one place that knows which kinds there are.

Kinds: ``local`` (embedded), ``openai`` (any compatible endpoint), ``scripted``, and whatever other packages offer under
the entry point group ``antiphon.engines``. ``docs/engines.md`` describes the tables and how to write an engine.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, cast

import msgspec

from antiphon.engines.chain import LLM_PATIENCE, STT_PATIENCE, TTS_PATIENCE, LlmChain, Patience, SttChain, TtsChain
from antiphon.engines.ports import Engine, EngineError, Llm, Stt, Tts, TurnDetector, Vad
from antiphon.engines.tables import did_you_mean, from_table
from antiphon.errors import ConfigError

if TYPE_CHECKING:
    from antiphon.engines.local import LocalEngines
    from antiphon.engines.scripted import Script

log = logging.getLogger(__name__)

GROUP = "antiphon.engines"
"""Entry points: a name, and a :class:`Factory`."""

KINDS = ("local", "openai", "scripted")

Role = Literal["stt", "llm", "tts"]
Ears = Literal["auto", "local", "scripted"]

_NEEDED = {"stt": "transcribe", "llm": "generate", "tts": "synthesize"}


class EngineSpec(Protocol):
    """One engine as the settings list it."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def options(self) -> Mapping[str, Any]: ...


class EngineTable(Protocol):
    """Which engines serve which role; the server's settings are one."""

    def for_role(self, role: Role) -> Sequence[EngineSpec]:
        """First choice first."""
        ...

    def known_names(self) -> Sequence[str]:
        """Names that may be listed, to suggest when one is not known."""
        ...


class Factory(Protocol):
    """What an entry point of the group refers to."""

    def __call__(self, role: Role, name: str, options: Mapping[str, Any]) -> Engine:
        """Make the engine for a role: cheaply, ``warm_up`` does the work.

        Raises:
            ConfigError: the options are wrong, or the package has no engine for the role.
        """
        ...


@dataclass(frozen=True, slots=True)
class Spec:
    """An :class:`EngineSpec` for programs."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """An :class:`EngineTable` for programs."""

    stt: Sequence[EngineSpec]
    llm: Sequence[EngineSpec]
    tts: Sequence[EngineSpec]

    def for_role(self, role: Role) -> Sequence[EngineSpec]:
        """First choice first."""
        return cast(Sequence[EngineSpec], getattr(self, role))

    def known_names(self) -> Sequence[str]:
        """The names in the table, and the built-in ones."""
        return tuple(dict.fromkeys([*KINDS, *(s.name for s in (*self.stt, *self.llm, *self.tts))]))


@dataclass(slots=True)
class EngineSet:
    """The engines of one process, shared by all its sessions."""

    vad: Vad
    turn: TurnDetector
    stt: SttChain
    llm: LlmChain
    tts: TtsChain
    unused: Sequence[Engine] = ()
    """Engines that came with others and nobody asked for; closed with the rest."""
    _turn_state: str = "cold"

    def readiness(self) -> dict[str, dict[str, str]]:
        """Role to engine name to ``cold``, ``warming``, ``warm``, or ``failed: `` and why."""
        return {
            "turn": {self.turn.name: self._turn_state},
            "stt": dict(self.stt.readiness()),
            "llm": dict(self.llm.readiness()),
            "tts": dict(self.tts.readiness()),
        }

    @property
    def ready(self) -> bool:
        """Whether every role has an engine that is warm."""
        return all("warm" in engines.values() for engines in self.readiness().values())

    async def warm_up(self) -> None:
        """Warm everything up at once.

        Raises:
            ExceptionGroup: of an ``EngineError`` for each role that nobody is ready for.
        """
        steps = (self._warm_up_turn(), self.stt.warm_up(), self.llm.warm_up(), self.tts.warm_up())
        results = await asyncio.gather(*steps, return_exceptions=True)
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise ExceptionGroup("engines are not ready", failures)

    async def keep_warming(self, every: float = 15.0) -> None:
        """Warm up, and try again every so many seconds until each role is ready: endpoints may start after us."""
        while True:
            try:
                await self.warm_up()
            except ExceptionGroup as failed:
                for problem in failed.exceptions:
                    log.error("an engine is not ready: %s", problem)
                await asyncio.sleep(every)
            else:
                return

    async def close(self) -> None:
        """Close everything, even when something fails to.

        Raises:
            ExceptionGroup: of what failed.
        """
        engines: tuple[Engine, ...] = (self.turn, self.stt, self.llm, self.tts, *self.unused)
        results = await asyncio.gather(*(engine.close() for engine in engines), return_exceptions=True)
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise ExceptionGroup("engines did not close", failures)

    async def _warm_up_turn(self) -> None:
        if self._turn_state == "warm":
            return
        self._turn_state = "warming"
        try:
            await self.turn.warm_up()
        except EngineError as problem:
            self._turn_state = f"failed: {problem}"
            raise
        self._turn_state = "warm"


def build(table: EngineTable, models_dir: Path, *, ears: Ears = "auto") -> EngineSet:
    """Make the engines that a table lists. Nothing is started or connected to before it is used or warmed up.

    Args:
        table: which engines, in which order, with which options.
        models_dir: where the embedded engines' model files are.
        ears: whose VAD and turn detector listen; ``auto`` takes the embedded ones unless all engines are scripted.

    Raises:
        ConfigError: an unknown engine (with the nearest known name), one listed twice, wrong options.
        ModelFileError: an embedded engine's file is missing or damaged.
    """
    builder = _Builder(table, models_dir)
    stt = builder.role("stt", STT_PATIENCE)
    llm = builder.role("llm", LLM_PATIENCE)
    tts = builder.role("tts", TTS_PATIENCE)
    if ears == "auto":
        ears = "scripted" if builder.kinds == {"scripted"} else "local"
    vad, turn = builder.ears(ears)
    used = [engine for engines, _ in (stt, llm, tts) for engine in engines]
    return EngineSet(
        vad,
        turn,
        SttChain(cast(list[Stt], stt[0]), stt[1]),
        LlmChain(cast(list[Llm], llm[0]), llm[1]),
        TtsChain(cast(list[Tts], tts[0]), tts[1]),
        unused=[engine for engine in builder.embedded() if engine not in used],
    )


class _Waiting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options that any engine's table may hold: they are the chain's, not the engine's."""

    answer_timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    chunk_timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] | None = None

    def over(self, default: Patience) -> Patience:
        """The default, where the table says nothing else."""
        values = {"first": self.answer_timeout, "between": self.chunk_timeout, "retries": self.retries}
        return dataclasses.replace(default, **{k: v for k, v in values.items() if v is not None})  # type: ignore[arg-type]


class _Builder:
    """Makes engines; what several roles share is made once."""

    def __init__(self, table: EngineTable, models_dir: Path) -> None:
        self.kinds: set[str] = set()
        self._table = table
        self._models_dir = models_dir
        self._local: LocalEngines | None = None
        self._scripts: list[Script] = []

    def role(self, role: Role, default: Patience) -> tuple[list[Engine], list[Patience]]:
        """The engines of a role and how patient to be with each."""
        specs = self._table.for_role(role)
        names = [spec.name for spec in specs]
        twice = {name for name in names if names.count(name) > 1}
        if twice or not names:
            raise ConfigError(f"engines.{role}: " + (f"{min(twice)!r} is listed twice" if twice else "names no engine"))
        engines, patience = [], []
        for spec in specs:
            options = dict(spec.options)
            if spec.kind != "scripted":
                options = _for_role(options, role)
            waiting = {key: options.pop(key) for key in _Waiting.__struct_fields__ if key in options}
            patience.append(from_table(waiting, _Waiting, f"engine {spec.name!r}", lax=True).over(default))
            engines.append(self._engine(role, spec, options))
            self.kinds.add(spec.kind)
        return engines, patience

    def ears(self, whose: Literal["local", "scripted"]) -> tuple[Vad, TurnDetector]:
        """VAD and turn detector."""
        if whose == "local":
            local = self._embedded({})
            return local.vad, local.turn
        from antiphon.engines.scripted import ScriptedTurn, ScriptedVad, default_script

        script = self._scripts[0] if self._scripts else default_script()
        return ScriptedVad(script.vad), ScriptedTurn(script.turn)

    def embedded(self) -> tuple[Engine, ...]:
        """The engine process's three, where it was made: they are closed together or not at all."""
        return () if self._local is None else (self._local.stt, self._local.llm, self._local.tts)

    def _engine(self, role: Role, spec: EngineSpec, options: Mapping[str, Any]) -> Engine:
        match spec.kind:
            case "local":
                return cast(Engine, getattr(self._embedded(options), role))
            case "openai":
                from antiphon.engines.openai import OpenAiLlm, OpenAiStt, OpenAiTts

                endpoints: dict[Role, Callable[[str, Mapping[str, Any]], Engine]]
                endpoints = {"stt": OpenAiStt, "llm": OpenAiLlm, "tts": OpenAiTts}
                return endpoints[role](spec.name, options)
            case "scripted":
                return self._scripted(role, spec.name, options)
        return self._plugin(role, spec, options)

    def _embedded(self, options: Mapping[str, Any]) -> LocalEngines:
        if self._local is None:
            from antiphon.engines.local import local_engines

            self._local = local_engines(self._models_dir, options)
        return self._local

    def _scripted(self, role: Role, name: str, options: Mapping[str, Any]) -> Engine:
        from antiphon.engines import scripted

        script = _script(name, options)
        self._scripts.append(script)
        if role == "stt":
            return scripted.ScriptedStt(script.stt, name=name)
        if role == "llm":
            return scripted.ScriptedLlm(script.llm, name=name)
        return scripted.ScriptedTts(script.tts, name=name)

    def _plugin(self, role: Role, spec: EngineSpec, options: Mapping[str, Any]) -> Engine:
        offered = {point.name: point for point in entry_points(group=GROUP)}
        if spec.kind not in offered:
            known = [*KINDS, *(n for n in self._table.known_names() if n != spec.name), *offered]
            known = list(dict.fromkeys(known))
            raise ConfigError(
                f"engines.{role}: there is no engine {spec.kind!r}{did_you_mean(spec.kind, known)}; known are "
                f"{', '.join(known)}"
            )
        engine = _load(offered[spec.kind])(role, spec.name, options)
        if not callable(getattr(engine, _NEEDED[role], None)):
            raise ConfigError(
                f"engines.{role}: {spec.kind!r} made a {type(engine).__name__}, which has no {_NEEDED[role]}()"
            )
        return engine


def _load(point: EntryPoint) -> Factory:
    try:
        factory = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"engine {point.name!r} ({point.value}) cannot be loaded: {error}") from error
    return cast(Factory, factory)


def _script(name: str, options: Mapping[str, Any]) -> Script:
    from antiphon.engines.scripted import default_script, load_script, parse_script

    file = options.get("file")
    if file is None:
        return parse_script(options, f"engine {name!r}") if options else default_script()
    if len(options) > 1:
        raise ConfigError(f"engine {name!r}: `file` names the whole script, so nothing else can be set")
    return load_script(Path(str(file)).expanduser())


def _for_role(options: dict[str, Any], role: Role) -> dict[str, Any]:
    """A table inside the table, named as the role, says what is different in it."""
    tables = {r: options.pop(r) for r in _NEEDED if isinstance(options.get(r), Mapping)}
    return {**options, **tables.get(role, {})}
