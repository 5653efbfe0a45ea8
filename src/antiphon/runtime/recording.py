"""Recording what happened to a session, and replaying it: the same inputs must give the same effects.

A recording is JSON lines: first the configuration and the seed, then each input with a digest of the effects it had.
It holds everything that was said and written, so it exists only where it was asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import msgspec

from antiphon.core import config, effects, events, inputs, items
from antiphon.core.config import Config
from antiphon.core.effects import Effect
from antiphon.core.inputs import Input
from antiphon.core.session import open_session, step
from antiphon.errors import InputFileError

__all__ = ["Difference", "Recording", "Step", "digest", "replay"]

VERSION = 1


def _vocabulary(*modules: ModuleType) -> dict[str, type]:
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and is_dataclass(value) and not name.startswith("_")
    }


_TYPES = _vocabulary(items, config, inputs)
_FIELDS = {
    kind: tuple(f.name for f in fields(kind)) for kind in _vocabulary(items, config, inputs, effects, events).values()
}


def _plain(value: object) -> object:
    """A core value as JSON knows it; every dataclass names its type under ``$``, a set lies sorted under ``$set``."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, frozenset | set):
        return {"$set": sorted(cast("frozenset[str]", value))}
    kind = type(value)
    names = _FIELDS.get(kind)
    if names is None:
        raise TypeError(f"{kind.__name__} is no part of the core's vocabulary")
    return {"$": kind.__name__, **{name: _plain(getattr(value, name)) for name in names}}


def _core(value: Any) -> Any:
    """The core value that :func:`_plain` made ``value`` of."""
    if isinstance(value, list):
        return tuple(_core(v) for v in value)
    if not isinstance(value, dict):
        return value
    if "$set" in value:
        return frozenset(value["$set"])
    kind = _TYPES[value["$"]]
    return kind(**{name: _core(v) for name, v in value.items() if name != "$"})


def digest(done: Sequence[Effect]) -> str:
    """A short fingerprint of effects, equal in every process and on every machine."""
    return hashlib.blake2b(msgspec.json.encode(_plain(tuple(done))), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Step:
    """One input, and what came of it: the effects' digest and, for the reader, their names."""

    input: Input
    digest: str
    effects: tuple[str, ...]


@dataclass(slots=True)
class Recording:
    """A session's inputs since it was opened."""

    config: Config
    seed: str
    at: float
    opened: str
    """The digest of the effects of opening."""
    steps: list[Step] = field(default_factory=list)

    @classmethod
    def begin(cls, config: Config, seed: str, at: float, done: Sequence[Effect]) -> Recording:
        """A recording of a session just opened, which had the effects ``done``."""
        return cls(config, seed, at, digest(done))

    def add(self, input: Input, done: Sequence[Effect]) -> None:
        """Note one step."""
        self.steps.append(Step(input, digest(done), _names(done)))

    def write(self, path: Path) -> None:
        """Write JSON lines.

        Raises:
            OSError: the file cannot be written.
        """
        head = {
            "antiphon": VERSION,
            "seed": self.seed,
            "at": self.at,
            "opened": self.opened,
            "config": _plain(self.config),
        }
        lines = [head, *({"in": _plain(s.input), "out": s.digest, "effects": s.effects} for s in self.steps)]
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read what :meth:`write` wrote.

        Raises:
            InputFileError: the file is missing or not a recording; says which line.
        """
        try:
            lines = path.read_bytes().splitlines()
        except OSError as problem:
            raise InputFileError(f"cannot read the recording {path}: {problem.strerror}") from problem
        if not lines:
            raise InputFileError(f"{path} is empty, not a recording of a session")
        number = 0
        try:
            head = msgspec.json.decode(lines[0])
            if not isinstance(head, dict) or head.get("antiphon") != VERSION:
                raise InputFileError(f"{path} is not a recording of a session (version {VERSION})")
            out = cls(_core(head["config"]), head["seed"], head["at"], head["opened"])
            for line in lines[1:]:
                number += 1
                entry = msgspec.json.decode(line)
                out.steps.append(Step(_core(entry["in"]), entry["out"], tuple(entry["effects"])))
        except (msgspec.DecodeError, KeyError, TypeError) as problem:
            raise InputFileError(f"{path}, line {number + 1}: not a recorded input ({problem})") from problem
        return out


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a replay first went another way."""

    index: int
    """Position in ``Recording.steps``; -1 is the opening."""
    input: Input | None
    expected: tuple[str, ...]
    """Names of the effects recorded."""
    got: tuple[Effect, ...]


def replay(recording: Recording) -> Difference | None:
    """Run the recorded inputs through the core again; the first difference, or None."""
    state, done = open_session(recording.config, seed=recording.seed, at=recording.at)
    if digest(done) != recording.opened:
        return Difference(-1, None, (), done)
    for index, past in enumerate(recording.steps):
        state, done = step(state, past.input)
        if digest(done) != past.digest:
            return Difference(index, past.input, past.effects, done)
    return None


def _names(done: Sequence[Effect]) -> tuple[str, ...]:
    return tuple(type(e.event if isinstance(e, effects.Emit) else e).__name__ for e in done)
