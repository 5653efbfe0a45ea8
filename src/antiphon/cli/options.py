"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file; else ANTIPHON_CONFIG, else ./antiphon.toml.", show_default=False),
]
