"""Virtual time: an event loop whose clock jumps to the next timer whenever nothing else can run.

The clock port of the runtime is the running loop's ``time()``, so nothing in the runtime knows which kind it runs on.
A thirty-second dialogue takes milliseconds here, and takes the same steps every time. Work that happens outside the
loop (an engine process, a thread, a remote endpoint) is put inside :func:`real_work`: while any is open, the loop waits
for it and its clock moves with the wall's.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["LeakedTaskError", "StandstillError", "VirtualLoop", "real_work", "run_virtual"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STANDSTILL = 5.0
"""Real seconds to wait for a socket when no timer is set, before virtual time is said to stand still."""


class StandstillError(RuntimeError):
    """Nothing is ready, no timer is set and no real work is open: the program would wait for ever."""


class LeakedTaskError(AssertionError):
    """Tasks outlived the main coroutine of :func:`run_virtual`."""


class _Selector(selectors.DefaultSelector):
    """Turns waiting into moving the loop's clock."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self.loop
        if loop.real_work_open or (timeout is not None and timeout <= 0):
            return super().select(timeout)
        ready = super().select(0)
        if ready:
            return ready
        if timeout is not None:
            loop.advance(timeout)
            return ready
        ready = super().select(STANDSTILL)
        if not ready:
            raise StandstillError(
                "virtual time stands still: nothing is ready to run, no timer is set and no real_work() is open"
            )
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, which starts at 0.0.

    Deterministic: timers fire in the order of their times, then of their making. Executor calls count as real work by
    themselves; other work outside the loop has to say so by :func:`real_work`.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._open = 0
        self._anchor = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now + (time.monotonic() - self._anchor) if self._open else self._now

    def advance(self, seconds: float) -> None:
        """Move the clock on by ``seconds`` without running what falls due; the selector's business."""
        self._now += seconds

    @property
    def real_work_open(self) -> bool:
        """Whether real time passes."""
        return self._open > 0

    def enter_real(self) -> None:
        """Let real time pass until the matching :meth:`leave_real`."""
        if not self._open:
            self._anchor = time.monotonic()
        self._open += 1

    def leave_real(self) -> None:
        """Undo one :meth:`enter_real`; the clock keeps what has passed."""
        if self._open == 1:
            self._now = self.time()
        self._open -= 1

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Like the base class's; real time passes until ``func`` returned."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self.enter_real()
        future.add_done_callback(lambda _: self.leave_real())
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Join the default executor's threads in real time, however long; ``timeout`` is not used."""
        self.enter_real()
        try:
            await super().shutdown_default_executor()
        finally:
            self.leave_real()


@contextmanager
def real_work() -> Iterator[None]:
    """Mark that the loop waits for something outside of it, which virtual time must not overtake.

    Nests, and does nothing on an ordinary loop. Must be entered and left on the running loop's thread.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        yield
        return
    loop.enter_real()
    try:
        yield
    finally:
        loop.leave_real()


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` in virtual time and return its result.

    Raises:
        LeakedTaskError: tasks were still there when ``main`` returned (they are cancelled first).
        StandstillError: the program waits for something that cannot come.
        ExceptionGroup: callbacks raised, which a loop would only have logged.
    """
    lost: list[Exception] = []

    def keep(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        problem = context.get("exception")
        lost.append(problem if isinstance(problem, Exception) else RuntimeError(str(context.get("message"))))

    async def run() -> tuple[T, list[str]]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(keep)
        result = await main
        # Tasks that were cancelled a moment ago need one pass each to end and to tell who awaits them.
        for _ in range(3):
            await asyncio.sleep(0)
        return result, sorted(repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()})

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        result, leaked = runner.run(run())
    if leaked:
        raise LeakedTaskError(f"expected no task after the main coroutine, found {len(leaked)}: {'; '.join(leaked)}")
    if lost:
        raise ExceptionGroup("callbacks failed in virtual time", lost)
    return result
