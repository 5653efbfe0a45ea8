"""The commands `antiphon relay` and `antiphon inspect` as a person calls them, and what importing the client costs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.cli.app import run

SERVER_PARTS = ("antiphon.server", "antiphon.core", "antiphon.runtime", "antiphon.protocols", "fastapi", "pydantic")
LATER = ("numpy", "soxr", "textual", "typer", "sounddevice")


def test_importing_the_client_loads_nothing_of_the_server() -> None:
    code = "import sys, json, antiphon.client.realtime; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)))
    assert "websockets.asyncio.client" in loaded
    assert [name for name in (*SERVER_PARTS, *LATER) if name in loaded] == []


@pytest.mark.parametrize("command", ["relay", "inspect"])
def test_help_names_the_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--api-key" in text
    assert ("--origin" if command == "relay" else "--replay") in text


def test_relay_wants_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["relay", "--upstream", "ftp://host"]) == 2
    assert "expected an address like" in " ".join(capsys.readouterr().err.split())


def test_inspect_wants_files_that_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "--replay", str(tmp_path / "none.jsonl")]) == 2
    assert "there is no file" in capsys.readouterr().err


def test_the_relay_listens_tells_where_and_ends_by_a_signal() -> None:
    environment = {**os.environ, "ANTIPHON_API_KEY": "sk-secret"}
    main = "from antiphon.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", main, "relay", "--upstream", "wss://voice.example/v1/realtime", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"Relay for wss://voice\.example/v1/realtime at ws://127\.0\.0\.1:(\d+)/\n", line)
        assert match is not None
        port = match.group(1)
        taken = subprocess.run(
            [sys.executable, "-c", main, "relay", "--upstream", "wss://voice.example", "--port", port],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert taken.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}" in taken.stderr
    finally:
        process.send_signal(2)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "sk-secret" not in line + out + err
