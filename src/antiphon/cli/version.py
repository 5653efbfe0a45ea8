"""``antiphon version``: what is installed."""

from __future__ import annotations

import platform

import typer

from antiphon import __version__


def version() -> None:
    """Print the versions of Antiphon and of Python."""
    typer.echo(f"antiphon {__version__} (Python {platform.python_version()})")
