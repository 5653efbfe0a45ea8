"""Shares a few threads between many pieces of model work, the most urgent one first, step by step."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from antiphon.engines.local.wire import Reply

__all__ = ["Scheduler", "Step", "Work"]


@dataclass(frozen=True, slots=True)
class Step:
    """What a step of work came to: a reply to send, if any, and by how many seconds the next step may come later."""

    reply: Reply | None = None
    relief: float = 0.0


Work = Generator[Step, None, None]


@dataclass(slots=True, order=True)
class _Job:
    due: float
    order: int
    id: int = field(compare=False)
    work: Work = field(compare=False)
    fail: Callable[[Exception], None] = field(compare=False)
    over: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


def _nothing() -> None:
    """Nobody waits for the end."""


class Scheduler:
    """Earliest deadline first, between steps.

    Synthesis that is seconds ahead of its playback steps back for speech that waits to be understood, and a long
    sentence does not delay the first sound of another one. Cancelling stops a job after the step that runs.

    Args:
        threads: How many steps may run at once, from 1.
        send: Called from those threads with each reply.
    """

    def __init__(self, threads: int, send: Callable[[Reply], None]) -> None:
        self._send = send
        self._lock = threading.Condition()
        self._waiting: list[_Job] = []
        self._jobs: dict[int, _Job] = {}
        self._order = itertools.count()
        self._running: dict[int, float] = {}
        for number in range(threads):
            threading.Thread(target=self._run, name=f"models-{number}", daemon=True).start()

    def submit(
        self,
        id: int,
        work: Work,
        fail: Callable[[Exception], None],
        *,
        over: Callable[[], None] = _nothing,
        patience: float = 0.0,
    ) -> None:
        """Start a job.

        Args:
            id: To cancel it by.
            work: Its steps.
            fail: Told when a step raises; the job is over then.
            over: Called once, however the job ends.
            patience: Seconds by which others that come later may go first.
        """
        job = _Job(time.monotonic() + patience, next(self._order), id, work, fail, over)
        with self._lock:
            self._jobs[id] = job
            heapq.heappush(self._waiting, job)
            self._lock.notify()

    def cancel(self, id: int) -> None:
        """Stop a job after its running step; one that is over is left alone."""
        with self._lock:
            if job := self._jobs.get(id):
                job.cancelled = True

    def longest_step(self) -> float:
        """Seconds that the oldest running step has taken; 0 when none runs."""
        with self._lock:
            return max((time.monotonic() - since for since in self._running.values()), default=0.0)

    def _run(self) -> None:
        thread = threading.get_ident()
        while True:
            with self._lock:
                while not self._waiting:
                    self._lock.wait()
                job = heapq.heappop(self._waiting)
                self._running[thread] = time.monotonic()
            again = self._step(job)
            with self._lock:
                del self._running[thread]
                if again and not job.cancelled:
                    heapq.heappush(self._waiting, job)
                    self._lock.notify()
                    continue
                del self._jobs[job.id]
            job.over()

    def _step(self, job: _Job) -> bool:
        """Run one step; whether there may be more."""
        if job.cancelled:
            job.work.close()
            return False
        try:
            step = next(job.work)
        except StopIteration:
            return False
        except Exception as error:  # whatever a model raises belongs to its caller, not to this thread
            job.fail(error)
            return False
        if step.reply is not None and not job.cancelled:
            self._send(step.reply)
        job.due += step.relief
        return True
