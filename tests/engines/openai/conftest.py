"""A small HTTP server that answers exactly what a test says, malformed answers included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

HANG = object()
"""In an answer: send nothing more, and keep the connection until the client leaves."""
CUT = object()
"""In an answer: drop the connection without ending the answer."""


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    parts: list[object]
    status: int = 200
    kind: str = "application/json"


@dataclass
class Server:
    """Answers requests in order with what ``queue`` holds, by chunked encoding."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client hung up on an answer that hangs."""

    def json(self, body: object, status: int = 200) -> None:
        self.answers.append(Answer([json.dumps(body).encode()], status))

    def events(self, *data: object, done: bool = True) -> None:
        """Server-sent events: dicts as JSON, strings as they are, HANG and CUT as what they mean."""
        parts: list[object] = []
        for piece in data:
            if isinstance(piece, dict):
                parts.append(b"data: " + json.dumps(piece).encode() + b"\n\n")
            else:
                parts.append(f"data: {piece}\n\n".encode() if isinstance(piece, str) else piece)
        if done:
            parts.append(b"data: [DONE]\n\n")
        self.answers.append(Answer(parts, kind="text/event-stream"))

    def audio(self, *parts: object, kind: str = "audio/pcm") -> None:
        self.answers.append(Answer(list(parts), kind=kind))

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.received.append(Received(method, path, headers, body))
        self.asked.set()
        answer = self.answers.pop(0)
        writer.write(
            f"HTTP/1.1 {answer.status} X\r\nContent-Type: {answer.kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for part in answer.parts:
            if part is HANG:
                await writer.drain()
                await reader.read()
                self.left.set()
                raise ConnectionError
            if part is CUT:
                await writer.drain()
                raise ConnectionError
            assert isinstance(part, bytes)
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await server.handle(reader, writer)

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    yield server
    listening.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await listening.wait_closed()


@pytest.fixture
def special() -> Iterable[object]:
    """(HANG, CUT), for tests that cannot import this module."""
    return HANG, CUT
