"""The event handler that RealtimeAPI and RealtimeClient share."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, overload

from antiphon.client.realtime.errors import CallbackError, RealtimeTimeoutError

logger = logging.getLogger("antiphon.client.realtime")

Callback = Callable[[Any], object]
"""Takes the event's payload; plain, or async (or plain and returning an awaitable)."""

C = TypeVar("C", bound=Callback)


class RealtimeEventHandler:
    """Named events with plain and async callbacks.

    Order: for each event, callbacks of `on` run in the order of their registration, then those of `on_next`,
    which are forgotten, then `wait_for_next` resumes. Plain callbacks run at once, inside `dispatch`. Async ones are
    started at once in a queue of this handler and run one after the other, in the order of dispatch, so that
    `conversation.item.completed` never overtakes `conversation.item.appended`. They do not hold up the connection:
    an async callback may wait for later events. A long job in one delays the next: start a task for it.

    A callback that raises stops nothing: it is logged, and reported by `_callback_failed`.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, list[Callback]] = {}
        self._next_handlers: dict[str, list[Callback]] = {}
        self._waiters: dict[str, list[asyncio.Future[Any]]] = {}
        self._backlog: deque[tuple[str, Callback, Awaitable[object]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    @overload
    def on(self, name: str, callback: C) -> C: ...
    @overload
    def on(self, name: str) -> Callable[[C], C]: ...
    def on(self, name: str, callback: Callback | None = None) -> Any:
        """Call `callback` with each event `name`; without callback, a decorator. Returns the callback."""
        return self._register(self._handlers, name, callback)

    @overload
    def on_next(self, name: str, callback: C) -> C: ...
    @overload
    def on_next(self, name: str) -> Callable[[C], C]: ...
    def on_next(self, name: str, callback: Callback | None = None) -> Any:
        """Call `callback` with the next event `name` only; without callback, a decorator."""
        return self._register(self._next_handlers, name, callback)

    def _register(self, table: dict[str, list[Callback]], name: str, callback: Callback | None) -> Any:
        if callback is None:
            return lambda function: self._register(table, name, function)
        if not callable(callback):
            raise TypeError(f'expected a callable for "{name}", got {type(callback).__name__}')
        table.setdefault(name, []).append(callback)
        return callback

    def off(self, name: str, callback: Callback | None = None) -> bool:
        """Forget a callback of `on`, or all of that name without one. Returns True.

        Raises:
            LookupError: the callback is not registered for this event.
        """
        return self._forget(self._handlers, name, callback)

    def off_next(self, name: str, callback: Callback | None = None) -> bool:
        """Forget a callback of `on_next`, or all of that name without one. Returns True.

        Raises:
            LookupError: the callback is not registered for this event.
        """
        return self._forget(self._next_handlers, name, callback)

    @staticmethod
    def _forget(table: dict[str, list[Callback]], name: str, callback: Callback | None) -> bool:
        if callback is None:
            table.pop(name, None)
            return True
        callbacks = table.get(name, [])
        if callback not in callbacks:
            raise LookupError(f'{callback!r} is not registered for "{name}"')
        callbacks.remove(callback)
        return True

    async def wait_for_next(self, name: str, timeout: float | None = None) -> Any:
        """Wait for the next event `name` and return its payload.

        Events before the wait do not count. On a client, waits in a row miss nothing: whoever waited goes on before
        the next event is dispatched.

        Args:
            name: the event.
            timeout: seconds; None waits for ever (until the connection ends, on a client).

        Raises:
            RealtimeTimeoutError: nothing came in time.
            ConnectionClosedError, BadKeyError: the connection ended meanwhile.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        waiters = self._waiters.setdefault(name, [])
        waiters.append(future)

        def expire() -> None:
            if not future.done():
                future.set_exception(RealtimeTimeoutError(f'event "{name}"', timeout or 0.0))

        timer = None if timeout is None else loop.call_later(timeout, expire)
        try:
            return await future
        finally:
            if timer is not None:
                timer.cancel()
            if future in waiters:
                waiters.remove(future)

    def clear_event_handlers(self) -> bool:
        """Forget all callbacks; waits that run go on. Returns True."""
        self._handlers.clear()
        self._next_handlers.clear()
        return True

    clear = clear_event_handlers

    def has_handlers(self, name: str) -> bool:
        """Whether anybody listens to, or waits for, `name`."""
        return bool(self._handlers.get(name) or self._next_handlers.get(name) or self._waiters.get(name))

    def dispatch(self, name: str, event: Any = None) -> bool:
        """Deliver `event` to everybody who asked for `name` (order: see the class). Returns True."""
        for callback in tuple(self._handlers.get(name, ())):
            self._call(name, callback, event)
        for callback in self._next_handlers.pop(name, ()):
            self._call(name, callback, event)
        for future in self._waiters.pop(name, ()):
            if not future.done():
                future.set_result(event)
                self._waiter_resumed()
        return True

    async def callbacks_done(self, timeout: float | None = None) -> bool:
        """Wait until the async callbacks of everything dispatched so far have run; False when time ran out.

        Returns True at once when called by one of these callbacks, which cannot wait for itself.
        """
        worker = self._worker
        if worker is None or worker.done() or worker is asyncio.current_task():
            return True
        done, _ = await asyncio.wait({worker}, timeout=timeout)
        return bool(done)

    async def cancel_callbacks(self) -> None:
        """Cancel the async callbacks that run or wait to run."""
        worker = self._worker
        if worker is None or worker.done() or worker is asyncio.current_task():
            return
        worker.cancel()
        await asyncio.wait({worker})

    def _call(self, name: str, callback: Callback, event: Any) -> None:
        try:
            result = callback(event)
        except Exception as error:
            self._callback_failed(CallbackError(name, callback, error))
            return
        if inspect.isawaitable(result):
            self._backlog.append((name, callback, result))
            if self._worker is None or self._worker.done():
                self._worker = asyncio.get_running_loop().create_task(self._run_backlog())

    async def _run_backlog(self) -> None:
        try:
            while self._backlog:
                name, callback, awaitable = self._backlog.popleft()
                try:
                    await awaitable
                except asyncio.CancelledError as error:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():
                        raise
                    # The callback awaited something that was cancelled: its affair, not the end of the queue.
                    self._callback_failed(CallbackError(name, callback, error))
                except Exception as error:
                    self._callback_failed(CallbackError(name, callback, error))
        finally:
            for _, _, awaitable in self._backlog:
                if isinstance(awaitable, Coroutine):
                    awaitable.close()
            self._backlog.clear()

    def _fail_waiters(self, error: BaseException) -> None:
        """End every running wait_for_next with `error`."""
        for futures in self._waiters.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)
        self._waiters.clear()

    def _waiter_resumed(self) -> None:
        """Take note that somebody who waited will go on."""

    def _callback_failed(self, error: CallbackError) -> None:
        logger.error("%s", error, exc_info=error.__cause__)
