"""WebSocket connections (RFC 6455, RFC 7692) beside an ASGI application on one port.

uvicorn parses HTTP and hands an upgrade over; a path in the table gets its endpoint called straight from
``data_received``: no ASGI scope, task or queue stands between the socket and a session, because at 50 messages a
second each way those cost more than the session itself. Other paths go on to uvicorn's own implementation, so the
application's own WebSocket routes work. Framing, compression and the closing handshake are the ``websockets``
library's; measured, they cost 4 microseconds for a received 20 ms chunk and 1 for a sent one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import parse_qsl

from uvicorn.protocols.utils import get_remote_addr, is_ssl
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import PayloadTooBig
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.http11 import Response
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol
from websockets.typing import Origin

from antiphon.transports.backlog import Backlog
from antiphon.transports.connection import Accept, Connection, Endpoint, Factory, Reject, Request
from antiphon.transports.sweeper import Sweeper

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

__all__ = [
    "Accept",
    "Connection",
    "Endpoint",
    "Factory",
    "Reject",
    "Request",
    "WebSocketServerProtocol",
    "WebSocketSettings",
    "websocket_protocol",
]

_log = logging.getLogger(__name__)
# The library logs headers (keys) and payloads (speech) at DEBUG: it gets a logger of its own that never is.
_wire_log = logging.getLogger(f"{__name__}.wire")
_wire_log.setLevel(logging.WARNING)

_TOO_SLOW = "reader too slow"
_REASON_BYTES = 123
"""RFC 6455 section 5.5: a control frame holds 125 bytes, two of them are the code."""


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """Bounds and habits of the connections of one server; durations in seconds, sizes in bytes."""

    max_message_bytes: int = 24 * 1024 * 1024
    """Largest message received, after decompression; a larger one closes the connection with 1009."""
    ping_interval: float = 20.0
    """Silence from the peer after which it is pinged."""
    ping_timeout: float = 20.0
    """Silence after a ping for which the connection counts as dead."""
    close_timeout: float = 5.0
    """How long the peer may take to finish the closing handshake, and to read what was sent before it."""
    blocked_timeout: float = 30.0
    """How long the peer may read nothing at all while something waits for it, before 1013."""
    control_backlog: int = 4 * 1024 * 1024
    """Control messages that wait for a slow reader, before 1013."""
    audio_backlog: int = 4 * 1024 * 1024
    """Audio messages that wait for a slow reader before the oldest are dropped: 60 s of base64 PCM at 24 kHz."""
    compression: bool = True
    """Accept permessage-deflate where it is offered. Audio is sent uncompressed all the same: base64 of PCM gains
    little and costs 30 times its framing."""
    compress_from: int = 1024
    """Control messages of at least this size are compressed where it was negotiated."""
    origins: Sequence[str] | None = None
    """Values of ``Origin`` that may connect; None lets everyone, and clients that are no browser send none."""
    sweep_period: float = 1.0
    """How late a ping or a deadline may be."""
    dropped: Callable[[int], None] | None = None
    """Told at the end of a connection how many audio messages its reader was too slow for, if any."""


class WebSocketServerProtocol(asyncio.Protocol):
    """One connection, from uvicorn's hand-over to its end; to its endpoint it is the ``Connection``.

    Use :func:`websocket_protocol` to get the class that goes into ``uvicorn.Config(ws=...)``.
    """

    routes: ClassVar[Mapping[str, Factory]] = {}
    settings: ClassVar[WebSocketSettings] = WebSocketSettings()
    sweeper: ClassVar[Sweeper] = Sweeper(WebSocketSettings().sweep_period)

    request: Request

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take the place of uvicorn's own protocol class; the arguments are uvicorn's."""
        self._uvicorn = (config, server_state, app_state)
        self._connections: set[Any] = server_state.connections
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # until connection_made
        self._delegate: WebSocketsSansIOProtocol | None = None
        self._endpoint: Endpoint | None = None
        self._too_big: Callable[[int], bytes] | None = None
        origins = None if self.settings.origins is None else [None, *map(Origin, self.settings.origins)]
        deflate = ServerPerMessageDeflateFactory(
            server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
        )
        self._wire = ServerProtocol(
            origins=origins,
            extensions=[deflate] if self.settings.compression else None,
            max_size=self.settings.max_message_bytes,
            logger=_wire_log,
        )
        self._backlog = Backlog(self.settings.audio_backlog)
        self._flushing = False
        self._closing = False  # close() was called: nothing is delivered any more
        self._last_word_queued = False
        self._fragments: tuple[Opcode, bytearray] | None = None
        self._heard = True  # since the last sweep
        self._silent_since: float | None = None
        self._pinged_at: float | None = None
        self._blocked_since: float | None = None
        self._blocked_bytes = 0
        self._close_by: float | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self.sweeper.add(self)
        accepted: socket.socket | None = transport.get_extra_info("socket")
        if accepted is not None and accepted.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio does so only for sockets made with proto=IPPROTO_TCP, and uvicorn's are not.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._delegate is not None:
            self._delegate.connection_lost(exc)
            return
        self._connections.discard(self)
        self.sweeper.discard(self)
        if self._backlog.dropped and self.settings.dropped is not None:
            self.settings.dropped(self._backlog.dropped)
        self._backlog.clear()
        self._end(1006, "connection lost" if exc is None else f"connection lost: {exc}")

    def data_received(self, data: bytes) -> None:
        if self._delegate is not None:
            self._delegate.data_received(data)
            return
        self._heard = True
        wire = self._wire
        wire.receive_data(data)
        for event in wire.events_received():
            if isinstance(event, Frame):
                self._receive(event)
            elif isinstance(event, Handshake):
                if event.path.partition("?")[0] not in self.routes:
                    self._hand_on(data)
                    return
                self._open(event)
        if wire.parser_exc is not None:
            self._failed(wire.parser_exc)
        self._send_pending()

    def eof_received(self) -> bool | None:
        if self._delegate is not None:
            self._delegate.eof_received()
            return None
        self._wire.receive_eof()
        self._wire.data_to_send()
        return None

    def pause_writing(self) -> None:
        if self._delegate is not None:
            self._delegate.pause_writing()
            return
        self._backlog.paused = True
        self._blocked_since = self._loop.time()
        self._blocked_bytes = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        if self._delegate is not None:
            self._delegate.resume_writing()
            return
        self._backlog.paused = False
        self._blocked_since = None
        self._flush()

    # uvicorn

    def shutdown(self) -> None:
        """Uvicorn is stopping: tell the peer to go elsewhere (1001)."""
        if self._delegate is not None:
            self._delegate.shutdown()
        elif self._endpoint is None and self._wire.state is State.CONNECTING:
            self._transport.close()
        else:
            self.close(1001, "server shutting down")

    # Connection

    @property
    def buffered(self) -> int:
        """Bytes that were sent and have not left this process."""
        return self._backlog.control + self._backlog.audio + self._transport.get_write_buffer_size()

    @property
    def dropped(self) -> int:
        """Audio messages dropped because the reader was too slow."""
        return self._backlog.dropped

    def send(self, data: bytes) -> None:
        """Send a text message that must arrive; see :class:`Connection`."""
        wire = self._wire
        if wire.state is not State.OPEN:
            return
        extensions = wire.extensions if len(data) >= self.settings.compress_from else ()
        self._push(Frame(Opcode.TEXT, data).serialize(mask=False, extensions=extensions))

    def send_audio(self, data: bytes) -> None:
        """Send a text message that a slow reader may miss; see :class:`Connection`."""
        if self._wire.state is State.OPEN:
            self._push(Frame(Opcode.TEXT, data).serialize(mask=False), audio=True)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Start the closing handshake; see :class:`Connection`."""
        if self._wire.state is not State.OPEN:
            return
        self._closing = True
        reason = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
        self._wire.send_close(code, reason)
        # Not from within the endpoint's own call: it is told once that call has returned.
        self._loop.call_soon(self._end, code, reason)
        self._send_pending()

    # Shared timer

    def sweep(self, now: float) -> None:
        """Ping a silent peer and end what is overdue; called by the shared timer."""
        if self._close_by is not None:
            if now >= self._close_by:
                self._transport.abort()
            return
        if self._is_blocked(now):
            self.close(1013, _TOO_SLOW)
        elif self._heard or self._silent_since is None:
            self._heard, self._silent_since, self._pinged_at = False, now, None
        elif self._pinged_at is not None:
            if now - self._pinged_at >= self.settings.ping_timeout:
                self._end(1006, "no answer to ping")
                self._transport.abort()
        elif now - self._silent_since >= self.settings.ping_interval:
            self._pinged_at = now
            self._wire.send_ping(b"")
            self._send_pending()

    # Inside

    def _is_blocked(self, now: float) -> bool:
        """Whether the peer has read nothing for too long; one that reads slowly but reads is not blocked."""
        if self._blocked_since is None:
            return False
        waiting = self._transport.get_write_buffer_size()
        if waiting < self._blocked_bytes:
            self._blocked_since, self._blocked_bytes = now, waiting
        return now - self._blocked_since >= self.settings.blocked_timeout

    def _hand_on(self, head: bytes) -> None:
        """Let uvicorn's own protocol serve a path that is not in the table.

        This object stays in between, because uvicorn makes it the transport's protocol after this call.
        """
        self._connections.discard(self)
        self.sweeper.discard(self)
        config, server_state, app_state = self._uvicorn
        self._delegate = WebSocketsSansIOProtocol(config, server_state, app_state, self._loop)
        self._delegate.connection_made(self._transport)
        self._delegate.data_received(head)

    def _open(self, handshake: Handshake) -> None:
        response = self._wire.accept(handshake)
        if response.status_code != 101:
            self._refuse(response)
            return
        self.request = _request(handshake, self._transport)
        try:
            answer = self.routes[self.request.path](self.request)
        except Exception:
            _log.exception("handshake of %s failed", self.request.path)
            answer = Reject(500, b'{"error":{"message":"internal error","type":"server_error"}}')
        if isinstance(answer, Reject):
            response = self._wire.reject(answer.status, answer.body.decode())
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            response.headers.update(answer.headers)
            self._refuse(response)
            return
        if answer.subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = answer.subprotocol
        self._too_big = answer.too_big
        self._wire.send_response(response)
        self._send_pending()
        self._endpoint = answer.endpoint
        self._call(answer.endpoint.open, self)

    def _refuse(self, response: Response) -> None:
        self._wire.send_response(response)
        self._send_pending()

    def _receive(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if frame.fin:
                self._deliver(opcode, bytes(frame.data))
            else:
                self._fragments = (opcode, bytearray(frame.data))
        elif opcode is Opcode.CONT:
            assert self._fragments is not None  # the library refuses a continuation of nothing
            kind, whole = self._fragments
            whole += frame.data
            if frame.fin:
                self._fragments = None
                self._deliver(kind, bytes(whole))
        elif opcode is Opcode.CLOSE:
            received = self._wire.close_rcvd
            assert received is not None
            self._end(received.code, received.reason)

    def _deliver(self, opcode: Opcode, data: bytes) -> None:
        endpoint = self._endpoint
        if endpoint is None or self._closing:
            return
        if opcode is Opcode.BINARY:
            self._call(endpoint.binary, data)
        elif data.isascii() or _is_utf8(data):
            self._call(endpoint.text, data)
        else:
            self._wire.fail(1007, "invalid UTF-8 in a text message")
            self._end(1007, "invalid UTF-8 in a text message")

    def _call(self, method: Any, argument: object) -> None:
        """Call the endpoint; an error of it ends this connection (1011), not the loop."""
        try:
            method(argument)
        except Exception:
            _log.exception("endpoint failed")
            self.close(1011, "internal error")

    def _failed(self, error: Exception) -> None:
        """The peer broke the protocol: the library has queued the close frame.

        Called again for whatever the peer goes on sending; by then our half of the connection is closed.
        """
        if self._endpoint is None:
            return
        sent = self._wire.close_sent
        if isinstance(error, PayloadTooBig) and self._too_big is not None and not self._closing:
            farewell = self._too_big(self.settings.max_message_bytes)
            self._push(Frame(Opcode.TEXT, farewell).serialize(mask=False))
        if sent is None:
            self._end(1006, str(error))
        else:
            self._end(sent.code, sent.reason)

    def _end(self, code: int, reason: str) -> None:
        """Tell the endpoint that it is over, once."""
        endpoint, self._endpoint, self._fragments = self._endpoint, None, None
        if endpoint is None:
            return
        try:
            endpoint.closed(code, reason)
        except Exception:
            _log.exception("endpoint failed while closing")

    def _send_pending(self) -> None:
        """Queue what the library wants sent, and end the TCP connection when it says so."""
        for data in self._wire.data_to_send():
            if data is SEND_EOF:
                self._finish()
            else:
                self._push(data)
        if self._close_by is None and self._wire.state is State.CLOSING:
            self._close_by = self._loop.time() + self.settings.close_timeout

    def _finish(self) -> None:
        """Nothing more will be queued: end the TCP connection once all is written."""
        self._last_word_queued = True
        self._close_by = self._loop.time() + self.settings.close_timeout
        self._flush()

    def _push(self, frame: bytes, audio: bool = False) -> None:
        backlog = self._backlog
        backlog.push(frame, audio)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        if not backlog.paused and backlog.control > self.settings.control_backlog:
            # One packet may hold thousands of small questions with large answers: the transport must get the chance to
            # say stop before the last of them is answered.
            self._flush()
            self._flushing = True  # the one that was scheduled is still to come
        if backlog.paused and backlog.control > self.settings.control_backlog:
            if self._wire.state is State.OPEN:
                self.close(1013, _TOO_SLOW)
            elif backlog.control > 2 * self.settings.control_backlog:
                self._transport.abort()  # it floods us with pings and reads none of the pongs

    def _flush(self) -> None:
        self._flushing = False
        if self._transport.is_closing():
            self._backlog.clear()
            return
        self._backlog.flush(self._transport)
        if not self._last_word_queued or self._backlog:
            return
        if self._wire.close_sent is not None and self._wire.close_rcvd is None and self._transport.can_write_eof():
            # The peer broke the protocol and may still be sending (a message above the limit): to close the socket on
            # unread data would reset the connection and lose our close frame, so only our half is closed.
            self._transport.write_eof()
        else:
            self._transport.close()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _request(handshake: Handshake, transport: asyncio.Transport) -> Request:
    path, _, query = handshake.path.partition("?")
    headers: dict[str, str] = {}
    for name, value in handshake.headers.raw_items():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    offered = headers.get("sec-websocket-protocol", "")
    client = get_remote_addr(transport)
    return Request(
        path=path,
        query=dict(reversed(parse_qsl(query, keep_blank_values=True))),
        headers=headers,
        subprotocols=tuple(part.strip() for part in offered.split(",") if part.strip()),
        client="" if client is None else f"{client[0]}:{client[1]}",
        secure=is_ssl(transport),
    )


def websocket_protocol(
    routes: Mapping[str, Factory], settings: WebSocketSettings | None = None
) -> type[WebSocketServerProtocol]:
    """Make the class for ``uvicorn.Config(ws=...)``.

    Args:
        routes: Path (without query) to what decides about a handshake there; read at each handshake, so that it may
            be filled later.
        settings: Bounds of the connections.

    Returns:
        A class of its own for this server, with its own timer.
    """
    chosen = settings or WebSocketSettings()
    members = {"routes": routes, "settings": chosen, "sweeper": Sweeper(chosen.sweep_period)}
    return type("RoutedWebSocketProtocol", (WebSocketServerProtocol,), members)
