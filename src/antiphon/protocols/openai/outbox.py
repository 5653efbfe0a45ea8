"""Sending, in order; in the beta dialect not faster than its reference client can follow.

That client registers for an event only after the one before it was handled, and looks every millisecond; answered in
no time at all it misses events (section 10). So four kinds of event keep a floor from what they answer. Everything
behind a held event waits too, since order matters more than speed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from antiphon.protocols.openai.ids import Ids
from antiphon.transports.connection import Connection

__all__ = ["Outbox"]

_ENCODER = msgspec.json.Encoder()

Mark = Literal["session.created", "user item", "agent item"]


@dataclass(frozen=True, slots=True)
class _Held:
    data: bytes
    audio: bool
    asked_at: float | None
    after: Mark | None
    mark: Mark | None


class Outbox:
    """The way out of one connection.

    Args:
        connection: Where to.
        floor: Seconds kept at the four points of section 10; 0 sends everything at once (GA).
    """

    def __init__(self, connection: Connection, floor: float) -> None:
        self._connection = connection
        self._floor = floor
        self._ids = Ids("event")
        self._held: deque[_Held] = deque()
        self._sent_at: dict[Mark, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closing: tuple[int, str] | None = None
        self.closed = False

    def send(self, event: dict[str, Any]) -> None:
        """Send a control event; it gets its ``event_id`` here."""
        event["event_id"] = self._ids.next()
        data = _ENCODER.encode(event)
        if self._floor <= 0:
            if not self.closed:
                self._connection.send(data)
            return
        asked_at, after, mark = _pacing(event)
        now = asyncio.get_running_loop().time()
        self._put(_Held(data, False, now if asked_at else None, after, mark), now)

    def send_audio(self, event: dict[str, Any]) -> None:
        """Send a delta of audio, which a client too slow to read may miss."""
        event["event_id"] = self._ids.next()
        data = _ENCODER.encode(event)
        if self._floor <= 0:
            if not self.closed:
                self._connection.send_audio(data)
            return
        self._put(_Held(data, True, None, None, None), asyncio.get_running_loop().time())

    def close(self, code: int, reason: str) -> None:
        """Close the connection once everything sent before is on its way. Idempotent."""
        if self.closed or self._closing:
            return
        if self._held:
            self._closing = (code, reason)
            return
        self.closed = True
        self._connection.close(code, reason)

    def stop(self) -> None:
        """Forget what waits: the connection is gone."""
        self.closed = True
        self._held.clear()
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _put(self, held: _Held, now: float) -> None:
        if self.closed:
            return
        self._held.append(held)
        if self._timer is None:
            self._drain(now)

    def _drain(self, now: float) -> None:
        while self._held:
            first = self._held[0]
            due = self._due(first)
            if due > now:
                self._timer = asyncio.get_running_loop().call_at(due, self._wake)
                return
            self._held.popleft()
            if first.mark:
                self._sent_at[first.mark] = now
            if first.audio:
                self._connection.send_audio(first.data)
            else:
                self._connection.send(first.data)
        if self._closing:
            self.closed = True
            self._connection.close(*self._closing)

    def _wake(self) -> None:
        self._timer = None
        self._drain(asyncio.get_running_loop().time())

    def _due(self, held: _Held) -> float:
        since = [t for t in (held.asked_at, self._sent_at.get(held.after) if held.after else None) if t is not None]
        return max(since) + self._floor if since else 0.0


def _pacing(event: dict[str, Any]) -> tuple[bool, Mark | None, Mark | None]:
    """Whether the event keeps its distance from now, from which earlier event, and what it is to later ones."""
    match event["type"]:
        case "session.created":
            return False, None, "session.created"
        case "session.updated":
            return True, "session.created", None
        case "conversation.item.created":
            item = event["item"]
            if item.get("role") == "assistant" or item["type"] == "function_call":
                return False, "user item", "agent item"
            return True, None, "user item"
        case "response.output_item.done":
            return False, "agent item", None
        case _:
            return False, None, None
