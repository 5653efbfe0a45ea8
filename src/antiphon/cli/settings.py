"""``antiphon settings``: what can be set."""

from __future__ import annotations

import typer


def settings() -> None:
    """Print every setting with its variable, default and meaning, as a Markdown table."""
    from antiphon.server.settings_sources import markdown_table

    typer.echo(markdown_table())
