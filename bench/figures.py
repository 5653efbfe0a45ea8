"""What is measured: a log per session, its statistics, and what the kernel says of a process."""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stimulus import CHUNK, CYCLE, SPEECH

now = time.monotonic
JITTER = 0.1
"""Seconds of audio that the imagined client keeps back against gaps."""
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Log:
    """When things happened to one session, on the monotonic clock.

    Attributes:
        row: Which cycle of the stimulus it begins with.
        starts: Hand-over of the first chunk of each stretch of speech.
        ends: Hand-over of the last.
        audio: Arrival and length (s) of each piece of the agent's audio.
        told: Arrival of what tells the client that the user speaks.
    """

    row: int
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    audio: list[tuple[float, float]] = field(default_factory=list)
    told: list[float] = field(default_factory=list)


class Feeder:
    """Speaks for all sessions in 20 ms chunks on an absolute schedule, their phases spread over a cycle."""

    SLOT = 0.005

    def __init__(
        self,
        logs: Sequence[Log],
        push: Callable[[int, bytes], Awaitable[None] | None],
        stimulus: Sequence[Sequence[bytes]],
        cycles: int,
    ) -> None:
        self._logs, self._push, self._stimulus, self._cycles = logs, push, stimulus, cycles
        self.worst_lateness = 0.0

    @property
    def duration(self) -> float:
        """Seconds until the last session has said everything."""
        return (self._cycles + 1) * CYCLE

    async def run(self) -> None:
        slots_per_chunk = round(CHUNK / self.SLOT)
        turns: dict[int, list[tuple[int, int]]] = {}
        for number in range(len(self._logs)):
            offset = number * CYCLE / len(self._logs)
            first = int(offset / CHUNK)
            turns.setdefault(int(offset / self.SLOT) % slots_per_chunk, []).append((number, first))
        begin = now() + 0.2
        for tick in range(round(self.duration / CHUNK)):
            for slot in sorted(turns):
                wait = begin + tick * CHUNK + slot * self.SLOT - now()
                self.worst_lateness = max(self.worst_lateness, -wait)
                await asyncio.sleep(max(0.0, wait))
                for number, first in turns[slot]:
                    await self._speak(number, tick - first)

    async def _speak(self, number: int, chunk: int) -> None:
        per_cycle = round(CYCLE / CHUNK)
        cycle, place = divmod(chunk, per_cycle)
        if chunk < 0 or cycle >= self._cycles:
            return
        log = self._logs[number]
        pending = self._push(number, self._stimulus[(log.row + cycle) % len(self._stimulus)][place])
        if pending is not None:
            await pending
        if place == 0:
            log.starts.append(now())
        elif place == round(SPEECH / CHUNK) - 1:
            log.ends.append(now())


def percentile(values: Sequence[float], percent: float) -> float | None:
    """In the values' unit, rounded to 0.1; None without values."""
    return round(float(np.percentile(values, percent)), 1) if values else None


def analyse(logs: Sequence[Log]) -> dict[str, float | int | None]:
    """Latencies in ms; the first cycle of each session is warm-up.

    Returns:
        ``turns``, ``missed`` (no answer before the next speech), ``reply_p50``, ``reply_p95`` (last speech chunk
        handed over to first audio, the configured wait included), ``started_p50`` (first speech chunk to what tells
        the client), ``answers``, ``underruns`` (answers with a gap at a client that keeps 100 ms back).
    """
    replies: list[float] = []
    started: list[float] = []
    missed = underruns = 0
    for log in logs:
        times = [at for at, _ in log.audio]
        for turn in range(1, len(log.ends)):
            end = log.ends[turn]
            following = log.starts[turn + 1] if turn + 1 < len(log.starts) else end + CYCLE - SPEECH
            first = bisect_left(times, end)
            if first == len(times) or times[first] > following:
                missed += 1
            else:
                replies.append((times[first] - end) * 1e3)
                until = log.ends[turn + 1] if turn + 1 < len(log.ends) else following
                underruns += _has_gap(log.audio[first : bisect_left(times, until)])
        for turn in range(1, len(log.starts)):
            at = bisect_left(log.told, log.starts[turn])
            if at < len(log.told) and log.told[at] - log.starts[turn] < SPEECH:
                started.append((log.told[at] - log.starts[turn]) * 1e3)
    return {
        "turns": len(replies),
        "missed": missed,
        "reply_p50": percentile(replies, 50),
        "reply_p95": percentile(replies, 95),
        "started_p50": percentile(started, 50),
        "started_p95": percentile(started, 95),
        "answers": len(replies),
        "underruns": underruns,
    }


def _has_gap(pieces: Sequence[tuple[float, float]]) -> bool:
    play = pieces[0][0] + JITTER
    for at, seconds in pieces:
        if at > play + 1e-3:
            return True
        play += seconds
    return False


# --- the kernel's view of a process -----------------------------------------------------------------------------------


def tree(pid: int) -> list[int]:
    """A process and all that it started."""
    pids = [pid]
    for one in pids:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return pids


def cpu_seconds(pid: int) -> float:
    """User and system time that a process and its children have used."""
    total = 0
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def resident_mb(pid: int) -> float:
    """Resident memory of a process and its children, in MB."""
    total = 0
    for one in tree(pid):
        try:
            status = Path(f"/proc/{one}/status").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
    return total / 1024


def waited_seconds(pid: int) -> float:
    """How long a process's threads were ready to run and another's ran: contention, or saturation."""
    total = 0
    for one in tree(pid):
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[1])
        except OSError:
            continue
    return total / 1e9
