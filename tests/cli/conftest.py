from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.cli.app import run

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs the command line with settings and data of its own; gives (exit code, stdout, stderr)."""
    for name in list(os.environ):
        if name.startswith("ANTIPHON_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_DATA__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ANTIPHON_SERVER__PORT", "0")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
