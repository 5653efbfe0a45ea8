"""What one message costs in the WebSocket transport alone: no session behind it.

    python bench/transport.py [--sessions 50] [--seconds 6]

Users send 20 ms chunks to an endpoint that ignores them, then to one that sends them back. CPU is the server's,
with the kernel's part.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import uvicorn
import uvloop
from fastapi import FastAPI

import servers
from antiphon.transports.websocket import Accept, Connection, websocket_protocol
from driver import frame
from figures import cpu_seconds
from wire import OpenAI


class Sink:
    """Ignores everything, or sends it back as audio."""

    def __init__(self, echo: bool) -> None:
        self._echo = echo
        self._connection: Connection | None = None

    def open(self, connection: Connection) -> None:
        self._connection = connection
        connection.send(b'{"type":"session.updated"}')

    def text(self, data: bytes) -> None:
        if self._echo and self._connection is not None:
            self._connection.send_audio(data)

    def binary(self, data: bytes) -> None:
        self.text(data)

    def closed(self, code: int, reason: str) -> None:
        self._connection = None


def serve(port: int) -> None:
    routes = {"/sink": lambda request: Accept(Sink(False)), "/echo": lambda request: Accept(Sink(True))}
    protocol = websocket_protocol(routes)
    uvicorn.run(FastAPI(), host="127.0.0.1", port=port, ws=protocol, log_level="warning", loop="uvloop")


async def measure(path: str, port: int, pid: int, sessions: int, seconds: float) -> float:
    """CPU microseconds of the server for one chunk."""
    message = frame(1, OpenAI().wrap(bytes(960)))
    ends = []
    for _ in range(sessions):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        ends.append((asyncio.create_task(_drain(reader)), writer))
    used, begin, sent = cpu_seconds(pid), time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        for slot in range(4):
            for _, writer in ends[slot::4]:
                writer.write(message)
                sent += 1
            await asyncio.sleep(max(0.0, begin + (sent / sessions) * 0.02 - time.monotonic()))
    used = cpu_seconds(pid) - used
    for task, writer in ends:
        task.cancel()
        writer.close()
    return used / sent * 1e6


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        serve(args.serve)
        return
    with servers.own(__file__) as server:
        for path, title in (("/sink", "received"), ("/echo", "received and sent back")):
            cost = uvloop.run(measure(path, server.port, server.pid, args.sessions, args.seconds))
            print(f"{title}: {cost:.1f} us CPU a chunk")


if __name__ == "__main__":
    main()
