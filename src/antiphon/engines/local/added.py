"""What the user adds to the catalogue: Piper voices and GGUF language models, kept in ``models.toml``.

[llm.qwen]
file = "llms/qwen.gguf"
bytes = 397808192
sha256 = "…"

[voice.amy]
file = "voices/amy/amy.onnx"
…
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from antiphon.engines.local.catalogue import JOE, SMOLLM2
from antiphon.engines.local.models import cut, free_space, parts, require, sha256_of
from antiphon.errors import InputFileError, ModelFileError

__all__ = ["Added", "FoundVoice", "add_llm", "add_voice", "added", "find_llm", "find_voice", "intact", "voices"]

MANIFEST = "models.toml"
ESPEAK = "espeak"
"""The voice that is a program, not a file."""

Kind = Literal["llm", "voice"]


@dataclass(frozen=True, slots=True)
class Added:
    """A model that the user added; `file` is relative to the models directory."""

    kind: Kind
    name: str
    file: str
    size: int
    sha256: str
    source: str
    """Where it came from: a path or a hub id."""


@dataclass(frozen=True, slots=True)
class FoundVoice:
    """A voice ready to be loaded; `parts` is None when it was not cut for streaming."""

    name: str
    path: Path
    parts: tuple[Path, Path] | None


def added(models_dir: Path) -> list[Added]:
    """Everything that was added.

    Raises:
        ModelFileError: The manifest is damaged.
    """
    path = models_dir / MANIFEST
    if not path.exists():
        return []
    try:
        tables = tomllib.loads(path.read_text())
        return [
            Added(kind, name, entry["file"], entry["bytes"], entry["sha256"], entry["source"])
            for kind in ("llm", "voice")
            for name, entry in tables.get(kind, {}).items()
        ]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path} is damaged ({error}): mend or delete it, then add the models again") from error


def _remember(models_dir: Path, new: Added) -> None:
    kept = [old for old in added(models_dir) if (old.kind, old.name) != (new.kind, new.name)]
    lines = ["# Written by 'antiphon models add'."]
    for entry in [*kept, new]:
        lines += ["", f"[{entry.kind}.{entry.name}]", f"file = {json.dumps(entry.file)}", f"bytes = {entry.size}"]
        lines += [f"sha256 = {json.dumps(entry.sha256)}", f"source = {json.dumps(entry.source)}"]
    fresh = models_dir / f"{MANIFEST}.{os.getpid()}"
    fresh.write_text("\n".join(lines) + "\n")
    fresh.replace(models_dir / MANIFEST)


def _name(path: Path, name: str | None) -> str:
    name = name or re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise InputFileError(f"expected a model name of lower-case letters, digits, - and _, got {name!r}")
    if name in (JOE.name, SMOLLM2.name, ESPEAK):
        raise InputFileError(f"{name!r} is a model of the catalogue: give yours another name with --name")
    return name


def _copy(source: Path, target: Path, models_dir: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    free_space(models_dir, source.stat().st_size)
    fresh = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def add_llm(models_dir: Path, path: Path, *, name: str | None = None, source: str | None = None) -> Added:
    """Copy a GGUF file into `models_dir`.

    Raises:
        InputFileError: It is missing or not a GGUF file, or the name cannot be used.
        ModelFileError: There is no room.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InputFileError(f"cannot read {path}: {error.strerror}") from error
    if magic != b"GGUF":
        raise InputFileError(f"{path} is not a GGUF file: expected it to begin with b'GGUF', found {magic!r}")
    name = _name(path, name)
    target = models_dir / "llms" / f"{name}.gguf"
    _copy(path, target, models_dir)
    return _added(models_dir, "llm", name, target, source or str(path))


def add_voice(
    models_dir: Path, path: Path, *, config: Path | None = None, name: str | None = None, source: str | None = None
) -> Added:
    """Copy a Piper voice into `models_dir` and cut it for streaming.

    Args:
        models_dir: Where to.
        path: The ``.onnx`` file.
        config: Its configuration; ``PATH.json`` when omitted.
        name: What to call it; the file's name when omitted.
        source: Where it came from; the path when omitted.

    Raises:
        InputFileError: A file is missing or not part of a Piper voice, or the name cannot be used.
        ModelFileError: The voice is no ONNX graph, or there is no room.
    """
    config = config or Path(f"{path}.json")
    for file in (path, config):
        if not file.is_file():
            raise InputFileError(f"there is no file {file}: a Piper voice is an .onnx file and an .onnx.json beside it")
    _check_voice_config(config)
    name = _name(path, name)
    target = models_dir / "voices" / name / f"{name}.onnx"
    _copy(path, target, models_dir)
    _copy(config, Path(f"{target}.json"), models_dir)
    try:
        cut(models_dir, target)
    except ModelFileError:
        shutil.rmtree(target.parent)
        raise
    return _added(models_dir, "voice", name, target, source or str(path))


def _check_voice_config(config: Path) -> None:
    try:
        table: Any = json.loads(config.read_bytes())
        rate = table["audio"]["sample_rate"]
        ids = table["phoneme_id_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputFileError(f"{config} is not the configuration of a Piper voice: {error!r}") from error
    if not isinstance(rate, int) or not isinstance(ids, dict):
        raise InputFileError(f"{config}: expected audio.sample_rate in Hz and a phoneme_id_map, got {rate!r}")


def _added(models_dir: Path, kind: Kind, name: str, target: Path, source: str) -> Added:
    relative = target.relative_to(models_dir).as_posix()
    new = Added(kind, name, relative, target.stat().st_size, sha256_of(target), source)
    _remember(models_dir, new)
    return new


# --- finding --------------------------------------------------------------------------------------------------------


def intact(models_dir: Path, entry: Added, *, full: bool = False) -> bool:
    """Whether an added file is there in its size, and with `full` with its hash."""
    path = models_dir / entry.file
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    return not full or sha256_of(path) == entry.sha256


def _check(models_dir: Path, entry: Added) -> Path:
    path = models_dir / entry.file
    mend = f"add it again with 'antiphon models add' (it came from {entry.source})"
    if not path.is_file():
        raise ModelFileError(f"the model file {path} is missing: {mend}")
    if path.stat().st_size != entry.size:
        raise ModelFileError(
            f"the model file {path} is damaged: expected {entry.size} bytes, found {path.stat().st_size}: {mend}"
        )
    return path


def find_llm(models_dir: Path, name: str) -> Path:
    """The GGUF file called `name`.

    Raises:
        ModelFileError: There is none, or it is missing or damaged.
    """
    if name == SMOLLM2.name:
        return require(models_dir, SMOLLM2) / Path(SMOLLM2.target(".gguf").target).name
    entries = {entry.name: entry for entry in added(models_dir) if entry.kind == "llm"}
    if name not in entries:
        known = ", ".join((SMOLLM2.name, *entries))
        raise ModelFileError(
            f"there is no language model {name!r} (known: {known}): add one with 'antiphon models add FILE.gguf'"
        )
    return _check(models_dir, entries[name])


def voices(models_dir: Path) -> list[str]:
    """The names of all Piper voices, the catalogue's first."""
    return [JOE.name, *(entry.name for entry in added(models_dir) if entry.kind == "voice")]


def find_voice(models_dir: Path, name: str, default: str) -> FoundVoice:
    """The voice called `name`, or the default one where there is none of that name.

    Raises:
        ModelFileError: There is no default voice either, or its file is missing or damaged.
    """
    entries = {entry.name: entry for entry in added(models_dir) if entry.kind == "voice"}
    chosen = name if name in entries or name == JOE.name else default
    if chosen in entries:
        path = _check(models_dir, entries[chosen])
    elif chosen in (JOE.name, ESPEAK):
        chosen = JOE.name
        path = require(models_dir, JOE) / Path(JOE.target(".onnx").target).name
    else:
        known = ", ".join((JOE.name, *entries))
        raise ModelFileError(
            f"there is no voice {chosen!r} (known: {known}): add one with 'antiphon models add VOICE.onnx'"
        )
    return FoundVoice(chosen, path, parts(models_dir, path))
