"""The client without async: for scripts and notebooks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

from antiphon.client.realtime.client import ItemEvent, RealtimeClient
from antiphon.client.realtime.conversation import RealtimeConversation
from antiphon.client.realtime.errors import ConnectionClosedError, RealtimeError, RealtimeTimeoutError
from antiphon.client.realtime.events import C, Callback
from antiphon.client.realtime.items import Item
from antiphon.client.realtime.models import ServerEvent, typed_event
from antiphon.client.realtime.tools import ToolHandler
from antiphon.client.realtime.utils import Sent

REMEMBERED = (
    "conversation.item.appended",
    "conversation.item.completed",
    "conversation.interrupted",
    "error",
    "close",
)
P = ParamSpec("P")
T = TypeVar("T")


class SyncRealtimeClient:
    """RealtimeClient with plain methods, on an event loop in a thread of its own.

    Methods may be called from any thread, and from callbacks. Callbacks run in the client's thread: methods that wait
    (connect, wait_for_..., disconnect) cannot be called from them and say so. Tools that are plain functions run in
    threads of their own.

    Args:
        options: as for RealtimeClient.
    """

    def __init__(self, **options: Any) -> None:
        self._client = RealtimeClient(**options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="realtime-client", daemon=True)
        self._thread.start()
        self._closed = False
        self._log: deque[tuple[int, str, Any]] = deque(maxlen=1024)
        self._count = 0
        self._seen = 0
        self._call(self._record)

    # ------------------------------------------------------------------ life

    def connect(self, model: str | None = None, query: Mapping[str, str] | None = None) -> bool:
        """See RealtimeClient.connect."""
        return self._wait(self._client.connect(model, query))

    def disconnect(self) -> None:
        """See RealtimeClient.disconnect. connect() works again afterwards."""
        self._wait(self._client.disconnect())

    def reset(self) -> bool:
        """See RealtimeClient.reset."""
        done = self._wait(self._client.reset())
        self._call(self._record)
        return done

    def close(self) -> None:
        """Disconnect and end the thread; the object is done then. A second call does nothing."""
        if self._closed:
            return
        self._wait(self._end())
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> SyncRealtimeClient:
        try:
            self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------------ state

    @property
    def conversation(self) -> RealtimeConversation:
        """The cache; the client's thread changes it, so take `get_items()` rather than keep hold of its lists."""
        return self._client.conversation

    @property
    def session(self) -> dict[str, Any] | None:
        """The session as the server last described it."""
        return self._client.session

    def is_connected(self) -> bool:
        """Whether the socket is open."""
        return self._client.is_connected()

    def get_turn_detection_type(self) -> str | None:
        """See RealtimeClient.get_turn_detection_type."""
        return self._client.get_turn_detection_type()

    # ------------------------------------------------------------------ events

    def on(self, name: str, callback: C) -> C:
        """See RealtimeClient.on; the callback runs in the client's thread."""
        self._call(self._client.on, name, callback)
        return callback

    def on_next(self, name: str, callback: C) -> C:
        """See RealtimeClient.on_next; the callback runs in the client's thread."""
        self._call(self._client.on_next, name, callback)
        return callback

    def off(self, name: str, callback: Callback | None = None) -> bool:
        """See RealtimeClient.off."""
        return self._call(self._client.off, name, callback)

    def off_next(self, name: str, callback: Callback | None = None) -> bool:
        """See RealtimeClient.off_next."""
        return self._call(self._client.off_next, name, callback)

    def wait_for_next(self, name: str, timeout: float | None = None) -> Any:
        """See RealtimeClient.wait_for_next.

        The client's thread does not wait for this one. So that waits in a row miss nothing, the next item appended or
        completed, interruption, error or end of connection is the next since the last wait, or since the last send.
        """
        return self._wait(self._next(name, timeout))

    def wait_for_session_created(self, timeout: float | None = None) -> dict[str, Any]:
        """See RealtimeClient.wait_for_session_created."""
        return self._wait(self._client.wait_for_session_created(timeout))

    def wait_for_next_item(self, timeout: float | None = None) -> Item:
        """See RealtimeClient.wait_for_next_item."""
        event: ItemEvent = self.wait_for_next("conversation.item.appended", timeout)
        return event.item

    def wait_for_next_completed_item(self, timeout: float | None = None) -> Item:
        """See RealtimeClient.wait_for_next_completed_item."""
        event: ItemEvent = self.wait_for_next("conversation.item.completed", timeout)
        return event.item

    def events(self, timeout: float | None = None) -> Iterator[ServerEvent]:
        """Give an iterator over typed server events from now on, until the connection ends.

        Args:
            timeout: seconds to wait for each event.

        Raises:
            RealtimeTimeoutError: none came in time.
            ConnectionClosedError, BadKeyError: the connection was lost.
        """
        events: queue.SimpleQueue[ServerEvent | BaseException] = queue.SimpleQueue()

        def put(event: Mapping[str, Any]) -> None:
            events.put(typed_event(event))

        api = self._client.realtime
        self._call(api.on, "server.*", put)
        self._call(api.on, "ended", events.put)
        return self._iterate(events, put, timeout)

    def _iterate(
        self, events: queue.SimpleQueue[ServerEvent | BaseException], put: Callback, timeout: float | None
    ) -> Iterator[ServerEvent]:
        api = self._client.realtime
        try:
            while True:
                try:
                    event = events.get(timeout=timeout)
                except queue.Empty:
                    raise RealtimeTimeoutError("the next server event", timeout or 0.0) from None
                if isinstance(event, BaseException):
                    if isinstance(event, ConnectionClosedError) and event.code == 1000:
                        return
                    raise event
                yield event
        finally:
            if not self._closed:
                self._call(api.off, "server.*", put)

    # ------------------------------------------------------------------ sending

    def send(self, event_name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See RealtimeAPI.send; gives the event."""
        return self._send(self._client.realtime.send, event_name, data)

    def update_session(self, **fields: Any) -> bool:
        """See RealtimeClient.update_session."""
        return self._send(self._client.update_session, **fields)

    def add_tool(self, definition: Mapping[str, Any], handler: ToolHandler) -> dict[str, Any]:
        """See RealtimeClient.add_tool."""
        return self._send(self._client.add_tool, definition, handler)

    def remove_tool(self, name: str) -> bool:
        """See RealtimeClient.remove_tool."""
        return self._call(self._client.remove_tool, name)

    def send_user_message_content(self, content: str | Iterable[Mapping[str, Any]] = ()) -> bool:
        """See RealtimeClient.send_user_message_content."""
        return self._send(self._client.send_user_message_content, content)

    def append_input_audio(self, audio: object, *, rate: int | None = None) -> bool:
        """See RealtimeClient.append_input_audio; waits while the network takes no more."""
        return self._send(self._client.append_input_audio, audio, rate=rate)

    def create_response(self, response: Mapping[str, Any] | None = None) -> bool:
        """See RealtimeClient.create_response."""
        return self._send(self._client.create_response, response)

    def cancel_response(self, item_id: str | None = None, sample_count: int = 0) -> Item | None:
        """See RealtimeClient.cancel_response."""
        return self._send(self._client.cancel_response, item_id, sample_count)

    def delete_item(self, item_id: str) -> bool:
        """See RealtimeClient.delete_item."""
        return self._send(self._client.delete_item, item_id)

    def ask(self, content: str | Iterable[Mapping[str, Any]], timeout: float | None = 60.0) -> Item:
        """Send a user message and wait for the assistant's completed answer: one line for notebooks.

        Raises:
            RealtimeTimeoutError: no answer within `timeout` seconds.
        """
        return self._wait(self._ask(content, timeout))

    # ------------------------------------------------------------------ between the threads

    def _record(self) -> None:
        """Keep the events that scripts wait for, in the order they come."""
        for name in REMEMBERED:
            self._client.on(name, lambda event, name=name: self._remember(name, event))

    def _remember(self, name: str, event: Any) -> None:
        self._count += 1
        self._log.append((self._count, name, event))

    async def _next(self, name: str, timeout: float | None) -> Any:
        for number, logged, event in self._log:
            if number > self._seen and logged == name:
                self._seen = number
                return event
        event = await self._client.wait_for_next(name, timeout)
        self._seen = next((n for n, _, logged in reversed(self._log) if logged is event), self._seen)
        return event

    async def _ask(self, content: str | Iterable[Mapping[str, Any]], timeout: float | None) -> Item:
        answer: asyncio.Future[Item] = self._loop.create_future()

        def completed(event: tuple[Item]) -> None:
            (item,) = event
            if item.role == "assistant" and not answer.done():
                answer.set_result(item)

        def ended(error: BaseException) -> None:
            if not answer.done():
                answer.set_exception(error)

        self._client.on("conversation.item.completed", completed)
        self._client.realtime.on("ended", ended)
        try:
            await self._client.send_user_message_content(content)
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError as error:
            if isinstance(error, RealtimeError) or timeout is None:
                raise
            raise RealtimeTimeoutError("the assistant's answer", timeout) from None
        finally:
            self._client.off("conversation.item.completed", completed)
            self._client.realtime.off("ended", ended)

    async def _end(self) -> None:
        await self._client.disconnect()
        for handler in (self._client.realtime, self._client):
            if not await handler.callbacks_done(timeout=5):
                await handler.cancel_callbacks()
        await self._loop.shutdown_default_executor()

    def _in_loop(self) -> bool:
        return threading.current_thread() is self._thread

    def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in the client's thread and give the result."""
        if self._in_loop():
            return function(*args, **kwargs)

        async def call() -> T:
            return function(*args, **kwargs)

        return self._wait(call())

    def _send(self, method: Callable[P, Sent[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a sending method; from outside the client's thread, go at the network's pace."""
        if self._in_loop():
            return method(*args, **kwargs).value

        async def send() -> T:
            self._seen = self._count
            return await method(*args, **kwargs)

        return self._wait(send())

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._closed or self._in_loop():
            coroutine.close()
            if self._closed:
                raise RealtimeError("this client was closed: make a new one")
            raise RealtimeError("a method that waits was called from a callback, which would wait for ever")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except (KeyboardInterrupt, concurrent.futures.CancelledError):
            future.cancel()
            raise
