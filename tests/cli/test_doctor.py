from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.platform.store import Store

Cli = Callable[..., tuple[int, str, str]]


def findings(out: str) -> dict[str, tuple[str, str]]:
    rows = [line.split(maxsplit=1) for line in out.splitlines()]
    return {row[1][:16].strip(): (row[0], row[1][17:]) for row in rows}


def test_missing_models_are_bad_when_the_settings_need_them(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_DATA__MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("ANTIPHON_ENGINES__TTS", "scripted")
    code, out, _ = cli("doctor")
    found = findings(out)
    assert code == 1
    assert found["python"][0] == "ok"
    state, detail = found["silero-vad"]
    assert state == "bad"
    assert "antiphon models fetch" in detail
    assert found["joe"][0] == "note", "no engine of these settings speaks with it"
    assert not (tmp_path / "models").exists(), "looking changes nothing"


def test_a_port_in_use_is_found(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("ANTIPHON_SERVER__PORT", str(taken.getsockname()[1]))
        code, out, _ = cli("doctor")
    assert code == 1
    state, detail = findings(out)["port"]
    assert state == "bad"
    assert "already in use" in detail


def test_the_database_is_not_made_by_looking(cli: Cli, tmp_path: Path) -> None:
    _, out, _ = cli("doctor")
    assert findings(out)["database"] == ("note", "not there yet: the first start makes it")
    assert not (tmp_path / "data").exists()


def test_a_database_is_opened(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "data" / "antiphon.db"

    async def make() -> None:
        await (await Store.open(f"sqlite+aiosqlite:///{path}")).close()

    asyncio.run(make())
    _, out, _ = cli("doctor")
    assert findings(out)["database"] == ("ok", "opens, at the current schema")
    path.write_bytes(b"no database" * 1000)
    code, out, _ = cli("doctor")
    assert code == 1
    assert findings(out)["database"][0] == "bad"
