"""``antiphon serve`` in a process of its own, as composed, and a client that does to it what no client should."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

__all__ = ["SCRIPTED", "Caller", "Target", "alive", "attacked", "b64", "call", "children_of"]

SCRIPTED = ("--stt", "scripted", "--llm", "scripted", "--tts", "scripted")
PATIENCE = 10.0
"""Seconds in which anything that is waited for must have happened."""


def b64(audio: bytes) -> str:
    """Audio as events carry it."""
    return base64.b64encode(audio).decode()


@dataclass(frozen=True, slots=True)
class Target:
    """A running server."""

    process: subprocess.Popen[str]
    address: str
    log_file: Path

    @property
    def ws(self) -> str:
        """Where sessions are opened."""
        return f"ws://{self.address}/v1/realtime?model=antiphon"

    @property
    def log(self) -> str:
        """What it logged so far."""
        return self.log_file.read_text()

    def get(self, path: str) -> str:
        """Ask one of the operator's routes."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=PATIENCE) as answer:
            return str(answer.read().decode())

    def figure(self, name: str) -> float:
        """One of the figures of ``/metrics``; 0 as long as it is not there."""
        found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", self.get("/metrics"))
        return float(found[1]) if found else 0.0

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def reaches(self, name: str, value: float) -> bool:
        """Ask again and again until a figure is as wanted; each question is a round trip."""
        end = time.monotonic() + PATIENCE
        while (found := self.figure(name)) != value:
            if time.monotonic() > end:
                raise AssertionError(f"{name} stays at {found}, expected {value}")
        return True

    async def idle(self) -> bool:
        """Whether no session is left, once the server has had the time to notice."""
        return await asyncio.to_thread(self.reaches, "antiphon_sessions_active", 0)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def attacked(directory: Path, *flags: str, engines: Sequence[str] = SCRIPTED, **variables: str) -> Iterator[Target]:
    """Start the command on a free port; at the end nothing of it may be left, nor a traceback in its log."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    log_file = directory / "server.log"
    with log_file.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "antiphon.cli", "serve", "--port", "0", "--allow-anonymous", *engines, *flags],
            cwd=directory,
            env=own | {"ANTIPHON_DATA__DATA_DIR": str(directory / "data")} | variables,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        assert "listens" in process.stdout.readline(), log_file.read_text()
        address = process.stdout.readline().split()[0].removeprefix("http://")
        yield Target(process, address, log_file)
        children = children_of(process.pid)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert not [pid for pid in children if alive(pid)]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert "Traceback" not in log_file.read_text(), log_file.read_text()


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid: int) -> list[int]:
    """Processes that a process started and that still run."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return [child for child in found if alive(child)]


@dataclass(slots=True)
class Caller:
    """One client, that remembers what it was told."""

    socket: ClientConnection
    heard: list[dict[str, Any]]

    async def send(self, type: str, **fields: Any) -> None:
        """Send a client event."""
        await self.raw(json.dumps({"type": type, **fields}))

    async def raw(self, message: str | bytes) -> None:
        """Send a frame as it is."""
        await self.socket.send(message)

    async def next(self) -> dict[str, Any]:
        """The next server event."""
        async with asyncio.timeout(PATIENCE):
            event: dict[str, Any] = json.loads(await self.socket.recv())
        assert event["event_id"].startswith("event_")
        self.heard.append(event)
        return event

    async def until(self, *types: str) -> dict[str, Any]:
        """Read on to the next event of one of these types."""
        while (event := await self.next())["type"] not in types:
            pass
        return event

    async def error(self) -> dict[str, Any]:
        """The ``error`` of the next event, which must be one."""
        event = await self.next()
        assert event["type"] == "error", event
        error: dict[str, Any] = event["error"]
        assert {"type", "code", "message", "param", "event_id"} <= error.keys()
        assert error["message"]
        return error

    async def say(self, text: str, **fields: Any) -> str:
        """Put a user's text into the conversation; the item's id."""
        content = [{"type": "input_text", "text": text}]
        await self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        item_id: str = (await self.until("conversation.item.done"))["item"]["id"]
        return item_id

    async def answer(self, text: str = "hello", **response: Any) -> dict[str, Any]:
        """Have a text answered; the finished response."""
        await self.say(text)
        await self.send("response.create", **({"response": response} if response else {}))
        answer: dict[str, Any] = (await self.until("response.done"))["response"]
        return answer

    async def lives(self) -> bool:
        """Whether the session still does its work: one question in text, one answer."""
        mark = f"are you there {len(self.heard)}"
        answer = await self.answer(mark, output_modalities=["text"])
        assert answer["status"] == "completed", answer
        return mark in str(answer["output"][0]["content"][0]["text"])

    async def closed(self) -> tuple[int, str]:
        """Read to the close; its code and reason."""
        try:
            while True:
                await self.next()
        except websockets.ConnectionClosed as end:
            assert end.rcvd is not None, end
            return end.rcvd.code, end.rcvd.reason


@asynccontextmanager
async def call(target: Target, **options: Any) -> AsyncIterator[Caller]:
    """Open a session, read ``session.created``, and hang up at the end."""
    async with connect(target.ws, **({"max_size": None, "proxy": None} | options)) as socket:
        caller = Caller(socket, [])
        assert (await caller.next())["type"] == "session.created"
        yield caller
