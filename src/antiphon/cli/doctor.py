"""``antiphon doctor``: what works here, what does not, and how to mend it."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from antiphon.cli.options import ConfigOption
from antiphon.errors import AntiphonError

if TYPE_CHECKING:
    from antiphon.server.settings import Settings

_LEAST_FREE_BYTES = 512 * 1024 * 1024
_EXTRA = "pip install 'antiphon[local]'"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: `ok`; `note` for what is optional and missing; `bad` for what keeps the server from working.
        name: What was looked at.
        detail: What was found, and how to mend it.
    """

    state: Literal["ok", "note", "bad"]
    name: str
    detail: str


def doctor(config: ConfigOption = None) -> None:
    """Look whether Antiphon can run here. Exits with 1 when something keeps it from running."""
    from antiphon.server.settings_sources import load_settings

    settings = load_settings(config)
    bad = False
    for check in (_python, _packages, _models, _port, _disk, _database):
        for finding in check(settings):
            bad |= finding.state == "bad"
            typer.echo(f"{finding.state:<4}  {finding.name:<16} {finding.detail}")
    if bad:
        raise typer.Exit(1)


def _python(_settings: Settings) -> Iterator[Finding]:
    fine = sys.version_info >= (3, 11)
    yield Finding(
        "ok" if fine else "bad",
        "python",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}"
        + ("" if fine else ": 3.11 or later is needed"),
    )


def _packages(settings: Settings) -> Iterator[Finding]:
    """Packages without which an engine that the settings list cannot start, then optional ones."""
    engines = settings.engines
    roles: dict[str, Callable[[], bool]] = {
        "onnxruntime": lambda: True,  # the VAD listens in every session, whoever transcribes
        "xllamacpp": lambda: "local" in engines.llm,
        "piper": lambda: "local" in engines.tts,
        "sounddevice": lambda: False,
        "matplotlib": lambda: False,
    }
    for module, needed in roles.items():
        if importlib.util.find_spec(module) is not None:
            yield Finding("ok", module, "installed")
        elif needed():
            yield Finding("bad", module, f"not installed, and the settings list an engine that needs it: {_EXTRA}")
        else:
            extra = {"sounddevice": "talk", "matplotlib": "plot"}.get(module, "local")
            yield Finding("note", module, f"not installed (extra: {extra})")


def _models(settings: Settings) -> Iterator[Finding]:
    from antiphon.engines.local import models
    from antiphon.engines.local.catalogue import CATALOGUE

    for model in CATALOGUE:
        state = models.state(settings.data.models_dir, model)
        needed = model.role in ("vad", "turn") or "local" in getattr(settings.engines, model.role, ())
        if state == "ready":
            yield Finding("ok", model.name, "the model files are there")
        else:
            yield Finding(
                "bad" if needed else "note", model.name, f"{state} in {settings.data.models_dir}: {models.MEND}"
            )


def _port(settings: Settings) -> Iterator[Finding]:
    from antiphon.server.run import bind

    try:
        bind(settings.server).close()
    except AntiphonError as error:
        yield Finding("bad", "port", str(error))
    else:
        yield Finding("ok", "port", f"{settings.server.port} on {settings.server.host} is free")


def _disk(settings: Settings) -> Iterator[Finding]:
    for name, path in (("data disk", settings.data.data_dir), ("models disk", settings.data.models_dir)):
        free = shutil.disk_usage(_existing(path)).free
        yield Finding("ok" if free >= _LEAST_FREE_BYTES else "bad", name, f"{free / 1e9:.1f} GB free at {path}")


def _existing(path: Path) -> Path:
    """The path itself, or the nearest directory above it that exists."""
    path = path.absolute()
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def _database(settings: Settings) -> Iterator[Finding]:
    import asyncio

    from sqlalchemy import make_url

    from antiphon.platform.store import Store

    url = settings.data.resolved_database_url
    if settings.data.database_url is None and not Path(make_url(url).database or "").exists():
        # Opening it would make it, and then the first start would not be the first.
        yield Finding("note", "database", "not there yet: the first start makes it")
        return

    async def ping() -> None:
        async with await Store.open(url) as store:
            await store.ping()

    try:
        asyncio.run(ping())
    except AntiphonError as error:
        yield Finding("bad", "database", str(error))
    else:
        yield Finding("ok", "database", "opens, at the current schema")
