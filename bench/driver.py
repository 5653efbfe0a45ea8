"""Plays N users against a server over WebSockets and prints one JSON line of figures.

    python bench/driver.py WIRE PORT SESSIONS CYCLES --pid SERVER_PID

Frames are made beforehand and masked with zeros, which a server cannot tell from another mask, so that the driver costs
little and its clock can be believed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import resource
from typing import Any

import uvloop

from figures import Feeder, Log, analyse, cpu_seconds, now, resident_mb, waited_seconds
from stimulus import CYCLE, chunks
from wire import WIRES, Wire


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


class User(asyncio.Protocol):
    """One client."""

    def __init__(self, wire: Wire, log: Log) -> None:
        self._wire, self._log = wire, log
        self._buffer = bytearray()
        self._open = False
        self.transport: Any = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {self._wire.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer bench\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError("closed before the session was ready"))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._open:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in buffer[:20]:
                self.ready.set_exception(ConnectionError(bytes(buffer[:300]).decode(errors="replace")))
                return
            del buffer[: end + 4]
            self._open = True
            for message in self._wire.hello:
                self.transport.write(frame(self._wire.opcode, message))
            if not self._wire.hello:
                self.ready.set_result(None)
        while len(buffer) >= 2:
            size, head = buffer[1] & 127, 2
            if size == 126:
                size, head = int.from_bytes(buffer[2:4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(buffer[2:10], "big"), 10
            if len(buffer) < head + size:
                return
            opcode, payload = buffer[0] & 15, bytes(buffer[head : head + size])
            del buffer[: head + size]
            if opcode == 9:
                self.transport.write(frame(10, payload))
            elif opcode in (1, 2):
                self._message(payload)

    def _message(self, payload: bytes) -> None:
        if seconds := self._wire.audio_seconds(payload):
            self._log.audio.append((now(), seconds))
        elif self._wire.is_speech_started(payload):
            self._log.told.append(now())
        elif not self.ready.done() and self._wire.is_ready(payload):
            self.ready.set_result(None)


async def _connect(wire: Wire, log: Log, port: int) -> User:
    loop = asyncio.get_running_loop()
    _, user = await loop.create_connection(lambda: User(wire, log), "127.0.0.1", port)
    await asyncio.wait_for(user.ready, 10)
    return user


async def drive(wire: Wire, port: int, pid: int, sessions: int, cycles: int) -> dict[str, Any]:
    """Connect, speak, measure. CPU and memory are the server's and its children's."""
    stimulus = [[frame(wire.opcode, wire.wrap(pcm)) for pcm in row] for row in chunks(wire.rate)]
    logs = [Log(number % len(stimulus)) for number in range(sessions)]
    figures: dict[str, Any] = {"sessions": sessions, "rss_before": round(resident_mb(pid), 1)}
    used, began = cpu_seconds(pid), now()
    users = [await _connect(wire, log, port) for log in logs]
    figures["setup_cpu_ms"] = round((cpu_seconds(pid) - used) / sessions * 1e3, 2)
    figures["setup_ms"] = round((now() - began) / sessions * 1e3, 2)
    await asyncio.sleep(1.0)
    figures["rss_connected"] = round(resident_mb(pid), 1)
    if cycles:
        feeder = Feeder(logs, lambda number, data: users[number].transport.write(data), stimulus, cycles)
        speaking = asyncio.create_task(feeder.run())
        await asyncio.sleep(CYCLE + 0.2)
        used, own, waited, began = cpu_seconds(pid), _own_cpu(), waited_seconds(pid), now()
        await asyncio.sleep((cycles - 1) * CYCLE)
        span = now() - began
        figures |= {
            "cpu_per_session_s": round((cpu_seconds(pid) - used) / span / sessions, 5),
            "driver_cpu_per_session_s": round((_own_cpu() - own) / span / sessions, 5),
            "waited_percent": round((waited_seconds(pid) - waited) / span * 100, 1),
        }
        await speaking
        await asyncio.sleep(2.6)
        figures |= analyse(logs) | {"feeder_late_ms": round(feeder.worst_lateness * 1e3, 1)}
        figures["rss_after"] = round(resident_mb(pid), 1)
    for user in users:
        user.transport.close()
    await asyncio.sleep(0.5)
    return figures


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wire", choices=WIRES)
    parser.add_argument("port", type=int)
    parser.add_argument("sessions", type=int)
    parser.add_argument("cycles", type=int)
    parser.add_argument("--pid", type=int, required=True)
    args = parser.parse_args()
    print(json.dumps(uvloop.run(drive(WIRES[args.wire](), args.port, args.pid, args.sessions, args.cycles))))


if __name__ == "__main__":
    main()
