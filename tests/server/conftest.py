from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.server.settings import DataSettings, ServerSettings, Settings


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the caller's variables nor a settings file of the working directory reach a test."""
    import os

    for name in list(os.environ):
        if name.startswith("ANTIPHON_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        server=ServerSettings(port=0, drain_seconds=5),
        data=DataSettings(data_dir=tmp_path / "data", models_dir=tmp_path / "models"),
    )
