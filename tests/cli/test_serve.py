from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPTED = ["--stt", "scripted", "--llm", "scripted", "--tts", "scripted"]


def environment(directory: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    return own | {"ANTIPHON_DATA__DATA_DIR": str(directory / "data")}


@contextmanager
def served(directory: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "antiphon.cli", "serve", "--port", "0", *SCRIPTED, *flags],
        cwd=directory,
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert "listens" in process.stdout.readline()
        yield process, process.stdout.readline().split()[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def stopped(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal; the exit code, and what was printed since the address."""
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stderr is not None
    out = process.stdout.read()
    return process.wait(), out, process.stderr.read()


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with served(tmp_path) as (process, url):
        with urllib.request.urlopen(f"{url}/healthz") as answer:
            assert json.load(answer)["status"] == "ok"
        code, out, err = stopped(process, signal.SIGTERM)
    assert code == 0
    assert "ak_" in out, "the first start shows the first key"
    assert "Traceback" not in err
    with served(tmp_path, "--log-format", "json") as (process, _):
        code, out, err = stopped(process, signal.SIGINT)
    assert code == 0
    assert "ak_" not in out, "it is shown once"
    assert all(json.loads(line)["event"] for line in err.splitlines())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tls-cert", "cert.pem"], "tls_cert and tls_key must be set together"),
        (["--llm", "scriptd"], "unknown engine 'scriptd': did you mean 'scripted'"),
        (["--log-level", "loud"], "setting 'log.level'"),
        (["--config", "missing.toml"], "there is no settings file missing.toml"),
    ],
)
def test_wrong_settings_stop_it_with_a_message(tmp_path: Path, flags: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "antiphon.cli", "serve", *flags],
        cwd=tmp_path,
        env=environment(tmp_path),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("antiphon: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_stops_it_with_the_ways_to_change_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "antiphon.cli", "serve", "--port", port, *SCRIPTED],
            cwd=tmp_path,
            env=environment(tmp_path),
            check=False,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is already in use" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
