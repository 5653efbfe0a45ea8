"""The command group: finds a command's module by name, runs it, and turns expected errors into messages."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from antiphon.errors import AntiphonError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (
    "serve",
    "converse",
    "talk",
    "models",
    "keys",
    "prompts",
    "settings",
    "doctor",
    "replay",
    "bench",
    "relay",
    "inspect",
    "version",
)
"""The commands in the order of ``--help``; each lives in ``antiphon.cli.<name>``."""


def _load(name: str) -> Any:
    """Import a command's module and build its command, named `name`."""
    module = importlib.import_module(f"antiphon.cli.{name}")
    target = getattr(module, "app", None)
    if target is None:
        target = typer.Typer(add_completion=False, rich_markup_mode=None)
        target.command(name)(getattr(module, name))
    command = get_command(target)
    command.name = name
    return command


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are first asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name the commands that are installed, in the order of `COMMANDS`."""
        return [name for name in COMMANDS if importlib.util.find_spec(f"antiphon.cli.{name}") is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and build one command, or return None when there is none of this name."""
        if cmd_name not in self.commands and cmd_name in self.list_commands(ctx):
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands.get(cmd_name)


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Antiphon: a self-hosted server for live voice conversations with AI agents.",
)


@app.callback()
def _root() -> None:
    """Antiphon: a self-hosted server for live voice conversations with AI agents."""


def run(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code.

    An :class:`AntiphonError` prints its message alone; with ``ANTIPHON_TRACEBACK=1`` it is raised, to see
    where it came from.
    """
    try:
        get_command(app)(args=list(argv), prog_name="antiphon")
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except AntiphonError as error:
        if os.environ.get("ANTIPHON_TRACEBACK") == "1":
            raise
        print(f"antiphon: {error}", file=sys.stderr)
        return error.exit_code
    return 0
