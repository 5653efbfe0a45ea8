"""Options that several commands share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from antiphon.platform.store import Store

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file; else ANTIPHON_CONFIG, else ./antiphon.toml.", show_default=False),
]

DEFAULT_PROJECT = "proj_default"


def with_store(config: Path | None, work: Callable[[Store], Awaitable[T]]) -> T:
    """Open the store that the settings name, do `work` with it, and close it.

    Raises:
        ConfigError: The settings are wrong.
        StoreError: The database does not open, or failed.
    """
    from antiphon.platform.store import Store
    from antiphon.server.settings_sources import load_settings

    settings = load_settings(config)

    async def run() -> T:
        async with await Store.open(settings.data.resolved_database_url) as store:
            return await work(store)

    return asyncio.run(run())
