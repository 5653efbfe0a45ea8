"""The bench of the realtime path: one command, one table.

    python bench/run.py [--sessions 1,10,50,80] [--cycles 5] [--json FILE] [--urgent]

The server runs as shipped, with scripted STT, LLM and TTS that answer at once and the real Silero VAD, on one core; the
driver, on another, plays users who speak for 3 s and listen for 2 s, in 20 ms chunks of 24 kHz PCM. pipecat and
livekit-agents run beside it where BENCH_PIPECAT and BENCH_LIVEKIT name a Python that has them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import servers
from stimulus import cycles as stimulus
from wire import OpenAI, Pipecat

LIVEKIT_WAIT_MS = 500
PEER_SESSIONS = (1, 10)

Runs = Mapping[int, Mapping[str, Any]]
"""Figures by number of sessions."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        title: What it says.
        aim: The most it may be; None where nothing is aimed at.
        value: Takes it from a system's runs and its configured wait (ms); may raise KeyError when not measured.
        digits: Behind the point.
    """

    title: str
    aim: float | None
    value: Callable[[Runs, float], float | None]
    digits: int = 0


def _at(sessions: int, name: str) -> Callable[[Runs, float], float | None]:
    return lambda runs, wait: runs[sessions][name]


def _beyond_wait(sessions: int, name: str) -> Callable[[Runs, float], float | None]:
    def value(runs: Runs, wait: float) -> float | None:
        latency = runs[sessions][name]
        return None if latency is None else latency - wait

    return value


def _further_session(runs: Runs, wait: float) -> float | None:
    most = max(number for number in runs if number <= 50)
    if most == 1:
        return None
    return float(runs[most]["rss_after"] - runs[1]["rss_after"]) / (most - 1)


def _setup(runs: Runs, wait: float) -> float | None:
    return float(runs[max(runs)]["setup_cpu_ms"])


ROWS = (
    Row("CPU s per session-second, 1 session", None, _at(1, "cpu_per_session_s"), 4),
    Row("CPU s per session-second, 10 sessions", None, _at(10, "cpu_per_session_s"), 4),
    Row("CPU s per session-second, 50 sessions", 0.012, _at(50, "cpu_per_session_s"), 4),
    Row("answers with a gap, 80 sessions", 0, _at(80, "underruns")),
    Row("answers missed, 80 sessions", 0, _at(80, "missed")),
    Row("reply beyond the wait, p50 ms, 1 session", 40, _beyond_wait(1, "reply_p50")),
    Row("reply beyond the wait, p95 ms, 1 session", 90, _beyond_wait(1, "reply_p95")),
    Row("reply beyond the wait, p50 ms, 50 sessions", None, _beyond_wait(50, "reply_p50")),
    Row("reply beyond the wait, p95 ms, 50 sessions", None, _beyond_wait(50, "reply_p95")),
    Row("speech to the client knowing, p50 ms, 1 session", 150, _at(1, "started_p50")),
    Row("speech to the client knowing, p50 ms, 50 sessions", None, _at(50, "started_p50")),
    Row("memory with one session, MB", 110, _at(1, "rss_after"), 1),
    Row("memory of a further session, MB", 0.5, _further_session, 2),
    Row("start to listening, s", 1.0, _at(1, "start_seconds"), 2),
    Row("set-up of a session, CPU ms", 5, _setup, 2),
)


def measure_antiphon(counts: Sequence[int], cycles: int, urgent: bool) -> dict[int, dict[str, Any]]:
    """A fresh server for each number of sessions."""
    runs = {}
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        with servers.antiphon(data, urgent):
            _say("antiphon, first start")
        for sessions in counts:
            _say(f"antiphon, {sessions} sessions")
            with servers.antiphon(data, urgent) as server:
                runs[sessions] = servers.drive("openai", server, sessions, cycles, urgent)
    return runs


def measure_peers(counts: Sequence[int], cycles: int, urgent: bool) -> dict[str, dict[int, dict[str, Any]]]:
    """Those that are installed."""
    peers: dict[str, dict[int, dict[str, Any]]] = {}
    if python := _peer("pipecat", "BENCH_PIPECAT"):
        peers["pipecat"] = {}
        for sessions in counts:
            _say(f"pipecat, {sessions} sessions")
            with servers.pipecat(python, urgent) as server:
                peers["pipecat"][sessions] = servers.drive("pipecat", server, sessions, cycles, urgent)
    if python := _peer("livekit-agents", "BENCH_LIVEKIT"):
        peers["livekit"] = {}
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "stimulus.npy"
            np.save(path, np.stack(stimulus(16000)))
            for sessions in counts:
                _say(f"livekit-agents, {sessions} sessions, without a transport")
                peers["livekit"][sessions] = servers.livekit(python, path, sessions, cycles, urgent)
    return peers


def _peer(name: str, variable: str) -> str | None:
    python = os.environ.get(variable)
    if python is None:
        _say(f"{name} is left out: {variable} names no Python that has it")
    return python


def table(systems: Mapping[str, tuple[Runs, float]]) -> str:
    """The figures of all systems, ours first, with the aims.

    Args:
        systems: By name: runs, and the configured wait for the end of a turn in ms.
    """
    lines = [["", "aim", *systems, ""]]
    for row in ROWS:
        cells = [row.title, "" if row.aim is None else f"{row.aim:g}"]
        verdict = ""
        for index, (runs, wait) in enumerate(systems.values()):
            try:
                value = row.value(runs, wait)
            except KeyError:
                value = None
            cells.append("-" if value is None else f"{value:.{row.digits}f}")
            if index == 0 and row.aim is not None and value is not None and value > row.aim:
                verdict = "missed"
        lines.append([*cells, verdict])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if not column else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )  # fmt: skip


def _warnings(name: str, runs: Runs) -> list[str]:
    said = []
    for sessions, figures in runs.items():
        if figures["feeder_late_ms"] > 100:
            said.append(
                f"{name}, {sessions} sessions: the driver was up to {figures['feeder_late_ms']:.0f} ms late; read its "
                "latencies as those of a disturbed or overloaded machine"
            )
        if sessions <= 10 and figures.get("waited_percent", 0) > 10:
            said.append(
                f"{name}, {sessions} sessions: the server waited {figures['waited_percent']:.0f} % of the time for "
                "its core; something else was running"
            )
    return said


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", default="1,10,50,80", help="numbers of sessions to measure, by comma")
    parser.add_argument("--cycles", type=int, default=5, help="turns of each session, the first is warm-up")
    parser.add_argument("--urgent", action="store_true", help="run before other programs (needs the right to)")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    args = parser.parse_args()
    if shutil.which("taskset") is None:
        raise SystemExit(
            "the bench needs Linux with taskset (util-linux), to keep server and driver on cores of their own"
        )
    if args.cycles < 2:
        raise SystemExit(f"--cycles: expected 2 or more, as the first is warm-up, got {args.cycles}")
    counts = [int(number) for number in args.sessions.split(",")]
    systems: dict[str, tuple[Runs, float]] = {
        "antiphon": (measure_antiphon(counts, args.cycles, args.urgent), OpenAI.wait_ms)
    }
    peers = measure_peers([n for n in PEER_SESSIONS if n in counts], args.cycles, args.urgent)
    waits = {"pipecat": Pipecat.wait_ms, "livekit": LIVEKIT_WAIT_MS}
    systems |= {name: (runs, waits[name]) for name, runs in peers.items()}
    print(f"Python {platform.python_version()}, {platform.machine()}, server on one core of {os.cpu_count()}\n")
    print(table(systems))
    for name, (runs, _) in systems.items():
        for line in _warnings(name, runs):
            print(line)
    if args.json:
        args.json.write_text(json.dumps({name: runs for name, (runs, _) in systems.items()}, indent=1))


if __name__ == "__main__":
    main()
