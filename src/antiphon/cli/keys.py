"""``antiphon keys``: make, list and revoke service keys, whether or not the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from antiphon.cli.options import ConfigOption

if TYPE_CHECKING:
    from antiphon.platform.keys import ServiceKeys

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Make, list and revoke service keys.",
)

ProjectOption = Annotated[str, typer.Option("--project", help="Identifier of the project that the key belongs to.")]
_DEFAULT_PROJECT = "proj_default"


def _with_keys(config: ConfigOption, work: Callable[[ServiceKeys], Awaitable[T]]) -> T:
    """Open the store that the settings name, and do `work` with its keys."""
    from antiphon.platform.keys import ServiceKeys
    from antiphon.platform.store import Store
    from antiphon.server.settings_sources import load_settings

    settings = load_settings(config)

    async def run() -> T:
        async with await Store.open(settings.data.resolved_database_url) as store:
            return await work(ServiceKeys(store))

    return asyncio.run(run())


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call the key.")],
    project: ProjectOption = _DEFAULT_PROJECT,
    config: ConfigOption = None,
) -> None:
    """Make a key. It is printed this once and stored only as a hash."""
    value, record = _with_keys(config, lambda keys: keys.create(name, project))
    typer.echo(value)
    typer.echo(f"Made {record.id} ({name}). Keep it: it cannot be shown again.", err=True)


@app.command("list")
def list_(project: ProjectOption = _DEFAULT_PROJECT, config: ConfigOption = None) -> None:
    """List a project's keys, the oldest first."""
    records = _with_keys(config, lambda keys: keys.list(project))
    row = "{:<29} {:<12} {:<17} {:<17} {:<17} {}".format
    typer.echo(row("ID", "KEY", "CREATED", "LAST USED", "REVOKED", "NAME"))
    for record in records:
        typer.echo(
            row(
                record.id,
                f"{record.prefix}...",
                _moment(record.created_at),
                _moment(record.last_used_at),
                _moment(record.revoked_at),
                record.name,
            )
        )


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Identifier of the key, as 'keys list' shows it.")],
    project: ProjectOption = _DEFAULT_PROJECT,
    config: ConfigOption = None,
) -> None:
    """Revoke a key; running servers refuse it within seconds."""
    record = _with_keys(config, lambda keys: keys.revoke(key_id, project))
    typer.echo(f"Revoked {record.id} ({record.name}).")


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%MZ")
