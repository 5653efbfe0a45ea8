"""A uvicorn server in the test's own loop, and a raw client that can break the rules."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
import uvloop
from fastapi import FastAPI, WebSocket
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from antiphon.transports.connection import Accept, Connection, Factory, Reject, Request
from antiphon.transports.websocket import WebSocketServerProtocol, WebSocketSettings, websocket_protocol


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test on both loops: uvloop is what is served on, asyncio what Windows has."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass
class Recorder:
    """An endpoint that keeps what it is told; ``@name`` texts make it do something."""

    texts: list[bytes] = field(default_factory=list)
    binaries: list[bytes] = field(default_factory=list)
    ends: list[tuple[int, str]] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    connection: Connection | None = None

    def open(self, connection: Connection) -> None:
        self.connection = connection
        self.opened.set()

    @property
    def wire(self) -> WebSocketServerProtocol:
        assert isinstance(self.connection, WebSocketServerProtocol)
        return self.connection

    def text(self, data: bytes) -> None:
        assert self.connection is not None
        self.texts.append(data)
        if data == b"@fail":
            raise RuntimeError("the endpoint is broken")
        if data == b"@close":
            self.connection.close(4000, "invalid_request_error.x" + "y" * 200)
            self.connection.close(1000, "a second close changes nothing")
            self.connection.send(b"after close")
        elif data == b"@big":
            self.connection.send(b"abc " * 50_000)
            self.connection.send_audio(b"abc " * 50_000)
        else:
            self.connection.send(data)

    def binary(self, data: bytes) -> None:
        assert self.connection is not None
        self.binaries.append(data)
        self.connection.send(b"binary %d" % len(data))

    def closed(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))
        self.over.set()


class _Connections(set[Any]):
    """Uvicorn's set of connections, which tells when one leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.left = asyncio.Event()

    def discard(self, element: object) -> None:
        super().discard(element)
        self.left.set()

    def remove(self, element: object) -> None:
        super().remove(element)
        self.left.set()


@dataclass
class Server:
    """A running server.

    Attributes:
        endpoints: Those of the connections so far.
        requests: The handshakes so far.
        routes: The table.
    """

    port: int
    state: ServerState
    protocol: type[WebSocketServerProtocol]
    routes: dict[str, Factory]
    endpoints: list[Recorder]
    requests: list[Request]
    clients: list[Raw] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def raw(self, path: str = "/v1/realtime", **headers: str) -> Raw:
        client = await Raw.connect(self.port, path, headers)
        self.clients.append(client)
        return client


class Raw:
    """A client that writes any frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    async def connect(cls, port: int, path: str, headers: dict[str, str], limit: int = 2**16) -> Raw:
        client = cls(*await asyncio.open_connection("127.0.0.1", port, limit=limit))
        fields = {
            "Host": "antiphon",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        client.writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        head = (await client.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        client.status = int(head[0].split(" ")[1])
        client.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
        return client

    def frame(
        self, opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = b"\1\2\3\4"
    ) -> bytes:
        size = len(data)
        bit = 0x80 if mask is not None else 0
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        if size < 126:
            head += bytes([bit | size])
        elif size < 65536:
            head += bytes([bit | 126]) + struct.pack("!H", size)
        else:
            head += bytes([bit | 127]) + struct.pack("!Q", size)
        if mask is None:
            return head + data
        pad = (mask * (size // 4 + 1))[:size]
        masked = int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")
        return head + mask + masked.to_bytes(size, "big")

    def send(self, opcode: int, data: bytes = b"", **options: Any) -> None:
        self.writer.write(self.frame(opcode, data, **options))

    async def receive(self) -> tuple[int, bytes]:
        """The next frame's first byte's opcode, and its payload."""
        head = await self.reader.readexactly(2)
        size = head[1] & 127
        assert not head[1] & 128, "a server must not mask"
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return head[0] & 15, await self.reader.readexactly(size)

    async def receive_close(self) -> tuple[int, str]:
        """Skip to the close frame."""
        while True:
            opcode, data = await self.receive()
            if opcode == 8:
                return (struct.unpack("!H", data[:2])[0], data[2:].decode()) if data else (1005, "")

    async def at_eof(self) -> bool:
        return await self.reader.read() == b""

    def drop(self) -> None:
        """Cut the connection without a word (a TCP reset)."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Server]]


def _application() -> FastAPI:
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.websocket("/ordinary")
    async def ordinary(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("ordinary " + await socket.receive_text())
        await socket.close(4321)

    return app


@contextlib.asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Server]:
    endpoints: list[Recorder] = []
    requests: list[Request] = []

    def factory(request: Request) -> Accept | Reject:
        requests.append(request)
        if request.query.get("refuse"):
            return Reject(int(request.query["refuse"]), b'{"error":"no"}', {"Retry-After": "7"})
        if request.query.get("crash"):
            raise RuntimeError("the factory is broken")
        endpoints.append(Recorder())
        echo = "realtime" if "realtime" in request.subprotocols else None
        return Accept(endpoints[-1], echo, too_big=lambda limit: b"no more than %d" % limit)

    routes: dict[str, Factory] = {"/v1/realtime": factory}
    protocol = websocket_protocol(routes, WebSocketSettings(**settings))
    config = uvicorn.Config(_application(), ws=protocol, log_config=None, lifespan="off")
    config.load()
    state = ServerState()
    state.connections = connections = _Connections()
    loop = asyncio.get_running_loop()
    # As uvicorn's own start does, without its main loop, which looks every 100 ms whether to stop.
    listening = await loop.create_server(lambda: HttpToolsProtocol(config, state, {}), "127.0.0.1", 0)
    running = Server(listening.sockets[0].getsockname()[1], state, protocol, routes, endpoints, requests)
    try:
        yield running
    finally:
        for client in running.clients:
            client.writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await client.writer.wait_closed()
        for endpoint in endpoints:
            await endpoint.over.wait()
        await asyncio.gather(*state.tasks)
        for connection in list(state.connections):
            connection.shutdown()
        while state.connections:
            connections.left.clear()
            await connections.left.wait()
        listening.close()
        await listening.wait_closed()


@pytest.fixture
def serve() -> Serve:
    return serving
