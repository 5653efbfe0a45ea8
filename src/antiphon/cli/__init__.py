"""The ``antiphon`` command.

Every command is a module of this package, imported only when the command is called (or listed by
``--help``), so that one command never pays for the libraries of another. A command's module exposes a
Typer ``app`` (a group of commands) or a function of the command's name.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process.

    Args:
        argv: Arguments without the program's name; those of the process when omitted.

    Raises:
        SystemExit: Always; 0 for success, 1 for a failure, 2 for a wrong call.
    """
    from antiphon.cli.app import run

    sys.exit(run(sys.argv[1:] if argv is None else argv))
