"""The thin layer over the WebSocket: connect, authenticate, send, dispatch. No item is checked here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl as ssl_module
import sys
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from antiphon.client.realtime.connection import (
    DEFAULT_MODELS,
    DEFAULT_URL,
    RETRIABLE_CLOSES,
    Auth,
    ConnectionOptions,
    Reconnect,
    may_retry,
    open_connection,
    realtime_url,
)
from antiphon.client.realtime.errors import (
    BAD_KEY_CLOSE_CODE,
    AlreadyConnectedError,
    BadKeyError,
    CallbackError,
    ConnectionClosedError,
    NotConnectedError,
    RealtimeError,
    SendBufferFullError,
    ServerError,
)
from antiphon.client.realtime.events import RealtimeEventHandler
from antiphon.client.realtime.models import typed_event
from antiphon.client.realtime.session import Dialect
from antiphon.client.realtime.stream import EventStream
from antiphon.client.realtime.utils import Sent, generate_id, now_iso

logger = logging.getLogger("antiphon.client.realtime")

HIGH_WATER = 2**20
MAX_BUFFERED = 64 * 2**20
LOGGED_CHARACTERS = 120
WAITER_STEPS = 3
"""Turns of the loop a waiter gets to go on: one for a coroutine, more for tasks that wait for tasks."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Payload of `close`.

    Attributes:
        error: the connection was lost, or the server ended it for a fault.
        code, reason: of the close frame; 1006 without one.
    """

    error: bool
    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """Payload of `reconnecting`: try number `attempt` (from 1) starts in `delay` seconds."""

    attempt: int
    delay: float


class RealtimeAPI(RealtimeEventHandler):
    """A connection to the Realtime API.

    Events: `server.{type}` and `server.*`, `client.{type}` and `client.*`, each with the raw event; `open` (None) when
    a connection opened; `close` (Closed); `reconnecting` (Reconnecting); `error` (a RealtimeError).

    Args:
        url: address of a relay, of a server of your own (plain ws is fine on this machine), or OpenAI's by default.
        api_key: key; None where none is wanted.
        dialect: `ga`, today's events, or `beta`, those of the reference client.
        model: what to talk to; None for the dialect's default.
        auth: how to show the key: `header`, or `subprotocol` as browsers do.
        headers: further headers of the upgrade request.
        ssl: TLS context, for certificates of one's own.
        reconnect: how to come back after a loss; None for not at all.
        debug: True prints each event to stderr as the reference client does; or a function that takes the line.
        open_timeout: seconds for opening.
        ping_interval: seconds between keep-alive pings, None for none.
        high_water: bytes in the send buffer above which awaiting a send waits.
        max_buffered: bytes in the send buffer above which sending raises.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        api_key: str | None = None,
        dialect: Dialect = "ga",
        model: str | None = None,
        auth: Auth = "header",
        headers: Mapping[str, str] | None = None,
        ssl: ssl_module.SSLContext | None = None,
        reconnect: Reconnect | None = None,
        debug: bool | Callable[[str], object] = False,
        open_timeout: float = 10.0,
        ping_interval: float | None = 20.0,
        high_water: int = HIGH_WATER,
        max_buffered: int = MAX_BUFFERED,
    ) -> None:
        super().__init__()
        if dialect not in ("ga", "beta"):
            raise ValueError(f'expected the dialect "ga" or "beta", got {dialect!r}')
        if auth not in ("header", "subprotocol"):
            raise ValueError(f'expected auth "header" or "subprotocol", got {auth!r}')
        self._options = ConnectionOptions(
            url or DEFAULT_URL, api_key, dialect, auth, headers, ssl, open_timeout, ping_interval
        )
        self.model = model or DEFAULT_MODELS[dialect]
        self.reconnect = reconnect
        self.debug = debug
        self._high_water = high_water
        self._max_buffered = max_buffered
        self._socket: ClientConnection | None = None
        self._connecting = False
        self._closing = False
        self._supervisor: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: deque[str] = deque()
        self._buffered = 0
        self._new_events()
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._key_error: BadKeyError | None = None
        self._attempt = 0
        self._resumed = False

    @property
    def url(self) -> str:
        """Where this connects to, without query."""
        return self._options.url

    @property
    def api_key(self) -> str | None:
        """The key in use."""
        return self._options.api_key

    @property
    def dialect(self) -> Dialect:
        """`ga` or `beta`."""
        return self._options.dialect

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent."""
        return self._buffered

    @property
    def is_reconnecting(self) -> bool:
        """Whether the connection was lost and is being sought again."""
        return self._supervisor is not None and self._socket is None

    def is_connected(self) -> bool:
        """Whether the socket is open."""
        return self._socket is not None

    async def connect(self, model: str | None = None, query: Mapping[str, str] | None = None) -> bool:
        """Open the connection. Returns True.

        Args:
            model: instead of the one given at construction.
            query: further fields of the address, e.g. `{"call_id": "rtc_..."}` or `{"intent": "transcription"}`,
                which take the model's place.

        Raises:
            AlreadyConnectedError: there is a connection (or one is being opened).
            BadKeyError, ConnectError, RealtimeTimeoutError: it did not open. A server may also accept a bad key, say
                so in an `error` event and close, as OpenAI's does.
        """
        if self._socket is not None or self._connecting or self._supervisor is not None:
            raise AlreadyConnectedError("Already connected")
        if self._options.api_key is None and self._options.url == DEFAULT_URL:
            logger.warning('no api_key given for a connection to "%s"', self._options.url)
        self._connecting = True
        self._closing = False
        self._key_error = None
        self._loop = asyncio.get_running_loop()
        self._new_events()  # those of an earlier connection may belong to an earlier loop
        url = realtime_url(self._options.url, model or self.model, query)
        try:
            socket = await self._open(url)
        finally:
            self._connecting = False
        self._supervisor = asyncio.create_task(self._run(socket, url))
        return True

    async def disconnect(self) -> bool:
        """Send what waits, close, and wait until that is done. Returns True, also without a connection."""
        self._closing = True
        self._room.set()
        supervisor = self._supervisor
        if supervisor is None:
            return True
        if self._socket is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self._drain_below(0)
        if self._socket is not None:
            await self._socket.close()
        else:
            supervisor.cancel()
        await asyncio.wait({supervisor})
        return True

    def send(self, event_name: str, data: Mapping[str, Any] | None = None) -> Sent[dict[str, Any]]:
        """Send a client event; `client.{event_name}` and `client.*` are dispatched before it is written.

        Args:
            event_name: the type, e.g. `response.create`.
            data: further fields; its own event_id wins. bytes become base64.

        Returns:
            the event, awaitable for back-pressure (see Sent).

        Raises:
            NotConnectedError: no connection.
            TypeError: data is not a mapping, or holds what JSON cannot.
            SendBufferFullError: more than `max_buffered` bytes wait; nothing was sent.
        """
        if self._socket is None:
            state = ", it was lost and is being opened again" if self.is_reconnecting else ""
            raise NotConnectedError(f"RealtimeAPI is not connected{state}")
        if data is not None and not isinstance(data, Mapping):
            raise TypeError(f"data must be an object, expected a mapping, got {type(data).__name__}")
        self._check_thread()
        event = {"event_id": generate_id("evt_"), "type": event_name, **(data or {})}
        text = msgspec.json.encode(event).decode()
        if self._buffered + len(text) > self._max_buffered:
            raise SendBufferFullError(self._buffered, self._max_buffered)
        self.dispatch(f"client.{event_name}", event)
        self.dispatch("client.*", event)
        self._log("sent:", event_name, event)
        self._outbox.append(text)
        self._buffered += len(text)
        self._outbox_drained.clear()
        self._outbox_filled.set()
        return Sent(event, self.drain)

    async def drain(self) -> None:
        """Wait until the send buffer is below its high-water mark, or the connection is gone."""
        await self._drain_below(self._high_water)

    def receive(self, event_name: str, event: Mapping[str, Any]) -> bool:
        """Dispatch a server event as `server.{event_name}` and `server.*`. Returns True."""
        self._log("received:", event_name, event)
        if event_name == "error":
            error = ServerError.from_event(event)
            if isinstance(error, BadKeyError):
                self._key_error = error
            self.dispatch("error", error)
        else:
            self._attempt = 0
        self.dispatch(f"server.{event_name}", event)
        self.dispatch("server.*", event)
        if self._streams:
            typed = typed_event(event)
            for stream in tuple(self._streams):
                stream.push(typed)
        return True

    def events(self, max_queue: int | None = None) -> EventStream:
        """Give an async iterator over the server's events, typed, from now on (see EventStream).

        Args:
            max_queue: events that may wait before this client stops reading from the network; None for any number.
        """
        stream = EventStream(max_queue, self._make_room)
        self._streams.add(stream)
        return stream

    def __aiter__(self) -> EventStream:
        return self.events()

    # ------------------------------------------------------------------ the connection's life

    async def _open(self, url: str) -> ClientConnection:
        self._log("connecting to", url)
        socket = await open_connection(self._options, url)
        self._log("connected to", url)
        self._socket = socket
        self.dispatch("open", None)
        return socket

    async def _run(self, socket: ClientConnection, url: str) -> None:
        """Read until the connection ends, again and again when it is to be reopened."""
        failure: RealtimeError | None = None
        try:
            current: ClientConnection | None = socket
            while current is not None:
                failure = await self._serve(current)
                current = None
                if failure is not None and self._may_reconnect(failure):
                    current, failure = await self._reopen(url, failure)
        except asyncio.CancelledError:
            if not self._closing:
                raise
        finally:
            self._supervisor = None
            ended = failure or ConnectionClosedError(1000, "disconnected")
            self._fail_waiters(ended)
            for stream in tuple(self._streams):
                stream.end(failure)
            self.dispatch("ended", ended)

    async def _serve(self, socket: ClientConnection) -> RealtimeError | None:
        """Carry events until the connection ends. Returns why, None for a normal end."""
        writer = asyncio.create_task(self._write(socket))
        try:
            async for message in socket:
                self._incoming(message)
                if self._resumed:
                    # Whoever waited for this event may wait for the next one: let them, before it is dispatched.
                    self._resumed = False
                    for _ in range(WAITER_STEPS):
                        await asyncio.sleep(0)
                while not self._closing and any(stream.full for stream in self._streams):
                    self._room.clear()
                    await self._room.wait()
        except ConnectionClosed:
            pass  # the code is on the socket, for this end and for the normal one
        finally:
            self._socket = None
            writer.cancel()
            await asyncio.wait({writer})
            if socket.state.name != "CLOSED":
                socket.transport.abort()
            self._outbox.clear()
            self._buffered = 0
            self._outbox_drained.set()
        closed = self._closed(socket)
        self._log("disconnected from", self.url, {"code": closed.code, "reason": closed.reason})
        failure: RealtimeError | None = None
        if closed.error:
            lost = ConnectionClosedError(closed.code, closed.reason)
            failure = self._key_error or lost
            if failure is lost and closed.code == BAD_KEY_CLOSE_CODE:
                failure = BadKeyError({"message": closed.reason, "code": "invalid_api_key"})
        self.dispatch("close", closed)
        if failure is not None and failure is not self._key_error:
            self.dispatch("error", failure)
        return failure

    def _closed(self, socket: ClientConnection) -> Closed:
        code = socket.close_code or 1006
        return Closed(not self._closing and code != 1000, code, socket.close_reason or "")

    async def _write(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):  # the reader sees it too, and tells
            while True:
                while self._outbox:
                    text = self._outbox[0]
                    await socket.send(text)
                    self._outbox.popleft()
                    self._buffered -= len(text)
                    self._outbox_drained.set()
                self._outbox_filled.clear()
                await self._outbox_filled.wait()

    def _incoming(self, message: str | bytes) -> None:
        try:
            event = msgspec.json.decode(message)
            event_type = event["type"]
        except (msgspec.DecodeError, RecursionError, TypeError, KeyError) as error:
            self.dispatch("error", RealtimeError(f"expected a JSON object with a type, got {message[:80]!r} ({error})"))
            return
        self.receive(str(event_type), event)

    def _may_reconnect(self, failure: RealtimeError) -> bool:
        lost = isinstance(failure, ConnectionClosedError) and failure.code in RETRIABLE_CLOSES
        return self.reconnect is not None and not self._closing and lost

    async def _reopen(self, url: str, failure: RealtimeError) -> tuple[ClientConnection | None, RealtimeError | None]:
        policy = self.reconnect
        while policy is not None and self._attempt < policy.attempts:
            self._attempt += 1
            delay = policy.delay(self._attempt)
            self.dispatch("reconnecting", Reconnecting(self._attempt, delay))
            await asyncio.sleep(delay)
            try:
                return await self._open(url), None
            except RealtimeError as error:
                failure = error
                self.dispatch("error", error)
                if not may_retry(error):
                    break
        return None, failure

    # ------------------------------------------------------------------ helpers

    def _new_events(self) -> None:
        self._outbox_filled = asyncio.Event()
        self._outbox_drained = asyncio.Event()
        self._room = asyncio.Event()

    async def _drain_below(self, mark: int) -> None:
        while self._buffered > mark and self._socket is not None:
            self._outbox_drained.clear()
            await self._outbox_drained.wait()

    def _make_room(self) -> None:
        # May come from the garbage collector, in whatever thread it runs.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._room.set)

    def _check_thread(self) -> None:
        try:
            loop: object = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self._loop:
            raise RuntimeError(
                "this client belongs to another event loop: expected a call from a coroutine or callback of that loop, "
                "got one from elsewhere; SyncRealtimeClient may be called from any thread"
            )

    def _log(self, what: str, name: str, event: Mapping[str, Any] | None = None) -> None:
        if not self.debug and not logger.isEnabledFor(logging.DEBUG):
            return
        body = "" if event is None else " " + json.dumps(_shortened(event), default=repr)
        line = f"[Websocket/{now_iso()}] {what} {name}{body}"
        if callable(self.debug):
            self.debug(line)
        elif self.debug:
            print(line, file=sys.stderr)
        logger.debug("%s", line)

    def _waiter_resumed(self) -> None:
        self._resumed = True

    def _callback_failed(self, error: CallbackError) -> None:
        super()._callback_failed(error)
        # An `error` callback that fails must not be told of its own failure, for ever.
        if error.event_name != "error":
            self.dispatch("error", error)


def _shortened(value: Any) -> Any:
    """Copy an event with long strings (audio) cut."""
    if isinstance(value, str) and len(value) > LOGGED_CHARACTERS:
        return f"{value[: LOGGED_CHARACTERS // 2]}… ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {key: _shortened(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_shortened(entry) for entry in value]
    return value
