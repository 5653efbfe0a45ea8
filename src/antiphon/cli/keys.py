"""``antiphon keys``: make, list and revoke service keys, whether or not the server runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from antiphon.cli.options import DEFAULT_PROJECT, ConfigOption, with_store

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


def _with_keys(config: ConfigOption, work: Callable[[ServiceKeys], Awaitable[T]]) -> T:
    from antiphon.platform.keys import ServiceKeys

    return with_store(config, lambda store: work(ServiceKeys(store)))


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call the key.")],
    project: ProjectOption = DEFAULT_PROJECT,
    config: ConfigOption = None,
) -> None:
    """Make a key. It is printed this once and stored only as a hash."""
    value, record = _with_keys(config, lambda keys: keys.create(name, project))
    typer.echo(value)
    typer.echo(f"Made {record.id} ({name}). Keep it: it cannot be shown again.", err=True)


@app.command("list")
def list_(project: ProjectOption = DEFAULT_PROJECT, config: ConfigOption = None) -> None:
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
    project: ProjectOption = DEFAULT_PROJECT,
    config: ConfigOption = None,
) -> None:
    """Revoke a key; running servers refuse it within seconds."""
    record = _with_keys(config, lambda keys: keys.revoke(key_id, project))
    typer.echo(f"Revoked {record.id} ({record.name}).")


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%MZ")
