"""A relay: browsers talk to it without a key, it talks to the Realtime API with one.

Frames pass as they are, in both directions, so that either dialect and every event of today and tomorrow work. What
the browser offers decides the dialect; a key it sends is not passed on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from antiphon.client.realtime.connection import (
    BETA_SUBPROTOCOL,
    DEFAULT_MODELS,
    MAX_MESSAGE_BYTES,
    ConnectionOptions,
    is_loopback,
    open_connection,
    realtime_url,
)
from antiphon.client.realtime.errors import RealtimeError
from antiphon.client.realtime.session import Dialect
from antiphon.client.realtime.utils import generate_id

logger = logging.getLogger("antiphon.client.realtime.relay")

CODE_UPSTREAM_FAILED = 1011
CODE_TOO_MANY = 1013
# Codes that stand for "no close frame" and may not be sent in one (RFC 6455, 7.4.1).
UNSENDABLE_CODES = frozenset({1004, 1005, 1006, 1015})


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """What a relay does.

    Attributes:
        upstream: address of the Realtime API (ws, wss, http or https).
        api_key: the key; browsers never see it.
        host, port: where to listen; port 0 takes a free one.
        path: the only path that is served.
        origins: web origins that may connect, e.g. `https://app.example`; `*` for all. None: pages of this machine.
        allow_missing_origin: serve clients that send no Origin header, which browsers always do. None: only when
            listening on this machine alone, for elsewhere such a client would use the key freely.
        model: instead of the one the browser asks for.
        max_connections: browsers served at a time.
    """

    upstream: str
    api_key: str | None = None
    host: str = "127.0.0.1"
    port: int = 8081
    path: str = "/"
    origins: Sequence[str] | None = None
    allow_missing_origin: bool | None = None
    model: str | None = None
    max_connections: int = 100


class Relay:
    """Serves browsers until it is closed; an async context manager.

    Args:
        options: what to do.
    """

    def __init__(self, options: RelayOptions) -> None:
        self._options = options
        self._server: Server | None = None
        self._connections = 0

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._server is None:
            return self._options.port
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        self._server = await serve(
            self._serve,
            self._options.host,
            self._options.port,
            process_request=self._check,
            select_subprotocol=_select_subprotocol,
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
        )

    async def close(self) -> None:
        """Close every connection (1001) and stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def serve_forever(self) -> None:
        """Listen until cancelled."""
        async with self:
            await asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Relay:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # ------------------------------------------------------------------ the browser's side

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        if urlsplit(request.path).path != self._options.path:
            return connection.respond(HTTPStatus.NOT_FOUND, f"The relay is at {self._options.path}\n")
        origin = request.headers.get("Origin")
        if not self._may_connect(origin):
            logger.warning("refused origin %s", origin)
            return connection.respond(HTTPStatus.FORBIDDEN, "This origin may not use the relay\n")
        return None

    def _may_connect(self, origin: str | None) -> bool:
        options = self._options
        if origin is None:
            allowed = options.allow_missing_origin
            return is_loopback(options.host) if allowed is None else allowed
        if options.origins is None:
            return is_loopback(urlsplit(origin).hostname)
        return "*" in options.origins or origin in options.origins

    async def _serve(self, browser: ServerConnection) -> None:
        if self._connections >= self._options.max_connections:
            await _tell(browser, "the relay serves as many connections as it may", CODE_TOO_MANY)
            return
        self._connections += 1
        try:
            await self._relay(browser)
        finally:
            self._connections -= 1

    async def _relay(self, browser: ServerConnection) -> None:
        request = browser.request
        assert request is not None
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        beta = BETA_SUBPROTOCOL in offered or request.headers.get("OpenAI-Beta") == "realtime=v1"
        dialect: Dialect = "beta" if beta else "ga"
        query: Mapping[str, str] = dict(parse_qsl(urlsplit(request.path).query))
        if self._options.model is not None:
            query = {**query, "model": self._options.model}
        options = ConnectionOptions(self._options.upstream, self._options.api_key, dialect)
        try:
            url = realtime_url(options.url, DEFAULT_MODELS[dialect], query)
            upstream = await open_connection(options, url)
        except RealtimeError as error:
            logger.warning("no connection upstream: %s", error)
            # The reason stays in the log: it may tell a stranger of our network.
            await _tell(browser, "the relay could not connect to the Realtime API", CODE_UPSTREAM_FAILED)
            return
        logger.info("relaying %s (%s)", request.headers.get("Origin", "a client"), dialect)
        up = asyncio.create_task(_pump(browser, upstream))
        down = asyncio.create_task(_pump(upstream, browser))
        try:
            await asyncio.wait({up, down})
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(upstream.close(), browser.close(), up, down, return_exceptions=True)


async def _pump(source: ServerConnection | ClientConnection, sink: ServerConnection | ClientConnection) -> None:
    """Carry frames until either side ends; then close the other as the one was closed."""
    try:
        async for message in source:
            # Awaiting each send lets a slow side hold up the other, instead of filling our memory.
            await sink.send(message)
    except ConnectionClosed:
        pass  # the codes are on the connections
    code = source.close_code or 1000
    await sink.close(CODE_UPSTREAM_FAILED if code in UNSENDABLE_CODES else code, source.close_reason or "")


async def _tell(browser: ServerConnection, message: str, code: int) -> None:
    error: dict[str, Any] = {
        "type": "server_error",
        "code": "relay_error",
        "message": message,
        "param": None,
        "event_id": None,
    }
    event = {"event_id": generate_id("event_"), "type": "error", "error": error}
    try:
        await browser.send(msgspec.json.encode(event).decode())
    except ConnectionClosed:
        return
    await browser.close(code, message)


def _select_subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    # Never the one with a key in it: what is chosen is echoed.
    return Subprotocol("realtime") if "realtime" in offered else None
