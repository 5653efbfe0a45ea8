"""Starts what is measured on the first core, beside the driver on the second, and stops it again."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SERVER_CORE, DRIVER_CORE = 0, 1
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server under measurement.

    Attributes:
        pid: Of the process that listens.
        port: On 127.0.0.1.
        start_seconds: From the spawn to the first answer.
    """

    pid: int
    port: int
    start_seconds: float


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """A command that runs on one core; on a machine with one, everything shares it."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core % len(cores)]), *command]


def _environment() -> dict[str, str]:
    """Ours, without settings of a server that may run here otherwise."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    return kept | {"OMP_NUM_THREADS": "1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _process(
    command: Sequence[str], urgent: bool, cwd: str | None = None, **env: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a session of its own; its output is shown when it fails."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            pinned(SERVER_CORE, command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment() | env,
            cwd=cwd,
            start_new_session=True,
        )
        if urgent:
            hurry(process.pid)
        try:
            yield process
        except BaseException:
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace")[-4000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def hurry(pid: int) -> None:
    """Let a process go before others, as far as we may: latencies on a shared machine mean little without."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-15")
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, -10)


def _await_answer(process: subprocess.Popen[bytes], url: str, began: float) -> float:
    while time.monotonic() - began < _START_SECONDS:
        if process.poll() is not None:
            raise RuntimeError(f"the server exited with {process.returncode} instead of listening")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return time.monotonic() - began
        except urllib.error.HTTPError:
            return time.monotonic() - began
        except OSError:
            time.sleep(0.005)
    raise RuntimeError(f"nothing answered at {url} within {_START_SECONDS:g} s")


@contextlib.contextmanager
def antiphon(data: Path, urgent: bool) -> Iterator[Running]:
    """Our server as shipped: scripted STT, LLM and TTS, the real VAD.

    Args:
        data: Its data directory. In an empty one the database is made first, which happens once in a server's life and
            must not be measured: start it there once before.
        urgent: Run before other programs.
    """
    port = _free_port()
    began = time.monotonic()
    command = [sys.executable, "-c", "from antiphon.cli import main; main()", "serve"]
    command += ["--port", str(port), "--allow-anonymous", "--data-dir", str(data)]
    command += ["--script", str(HERE / "script.toml"), "--stt", "scripted", "--llm", "scripted", "--tts", "scripted"]
    command += ["--log-level", "warning"]
    env = {"ANTIPHON_SERVER__DRAIN_SECONDS": "0", "ANTIPHON_ENGINES__EARS": "local"}
    with _process(command, urgent, cwd=str(data), **env) as process:
        yield Running(process.pid, port, _await_answer(process, f"http://127.0.0.1:{port}/healthz", began))


@contextlib.contextmanager
def pipecat(python: str, urgent: bool) -> Iterator[Running]:
    """pipecat's FastAPI WebSocket transport."""
    port = _free_port()
    began = time.monotonic()
    with _process([python, str(HERE / "pipecat_server.py"), str(port)], urgent) as process:
        yield Running(process.pid, port, _await_answer(process, f"http://127.0.0.1:{port}/", began))


@contextlib.contextmanager
def own(script: str) -> Iterator[Running]:
    """A bench script that serves when it is called with ``--serve PORT``."""
    port = _free_port()
    began = time.monotonic()
    with _process([sys.executable, script, "--serve", str(port)], urgent=False) as process:
        yield Running(process.pid, port, _await_answer(process, f"http://127.0.0.1:{port}/", began))


def drive(wire: str, server: Running, sessions: int, cycles: int, urgent: bool) -> dict[str, Any]:
    """Run the driver against a server and return its figures."""
    script = str(HERE / "driver.py")
    command = [sys.executable, script, wire, str(server.port), str(sessions), str(cycles), "--pid", str(server.pid)]
    return _figures(pinned(DRIVER_CORE, command), urgent) | {"start_seconds": round(server.start_seconds, 2)}


def livekit(python: str, stimulus: Path, sessions: int, cycles: int, urgent: bool) -> dict[str, Any]:
    """livekit-agents' sessions in a process of their own."""
    command = [python, str(HERE / "livekit_sessions.py"), str(stimulus), str(sessions), str(cycles)]
    return _figures(pinned(SERVER_CORE, command), urgent)


def _figures(command: Sequence[str], urgent: bool) -> dict[str, Any]:
    """Run a command whose last line is a JSON object."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=_environment(), start_new_session=True) as process:
        if urgent:
            hurry(process.pid)
        try:
            output, _ = process.communicate(timeout=900)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {process.returncode}")
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures
