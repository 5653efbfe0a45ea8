"""Events as an async iterator."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from antiphon.client.realtime.models import ServerEvent


class EventStream:
    """Iterates over server events from its creation until the connection ends for good.

    Ends normally when this side, or the server with code 1000, closed; raises ConnectionClosedError (or BadKeyError)
    when the connection was lost.

    Args:
        max_queue: events that may wait for the consumer. When so many do, the client stops reading from the network,
            so that the server feels the pressure. None: any number. With a limit, do not wait in the loop's body for
            later events.
        made_room: called when a full stream has room again.
    """

    def __init__(self, max_queue: int | None, made_room: Callable[[], None]) -> None:
        self._max_queue = max_queue
        self._made_room = made_room
        self._queue: deque[ServerEvent] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._error: BaseException | None = None

    @property
    def full(self) -> bool:
        """Whether as many events wait as may."""
        return self._max_queue is not None and not self._ended and len(self._queue) >= self._max_queue

    def push(self, event: ServerEvent) -> None:
        """Add an event."""
        if not self._ended:
            self._queue.append(event)
            self._wake.set()

    def end(self, error: BaseException | None = None) -> None:
        """No event comes any more; with `error`, say so to the consumer after the last one."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake.set()

    async def aclose(self) -> None:
        """Stop; what waits is dropped."""
        self.end()
        self._queue.clear()
        self._made_room()

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> ServerEvent:
        while not self._queue:
            if self._ended:
                error, self._error = self._error, None
                raise error or StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        was_full = self.full
        event = self._queue.popleft()
        if was_full:
            self._made_room()
        return event

    def __del__(self) -> None:
        # A loop left by `break` must not hold up the connection.
        if self.full:
            self._made_room()
