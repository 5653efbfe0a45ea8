"""Finding turns whose audio stopped coming: one shared look at those sessions that are in the middle of a turn."""

from __future__ import annotations

import asyncio
from typing import Protocol

INTERVAL = 0.25
"""Seconds between looks; there are none while nobody is in mid-turn."""


class Stalling(Protocol):
    """A session in mid-turn."""

    def check_stalled(self, now: float) -> None:
        """Tell the core when no audio came for long enough by ``now`` (the loop's time)."""


class StallWatch:
    """Looks after the sessions in mid-turn."""

    def __init__(self) -> None:
        self._watched: dict[Stalling, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, session: Stalling) -> None:
        """Look after ``session`` until :meth:`forget`; again is harmless."""
        self._watched[session] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._tick)

    def forget(self, session: Stalling) -> None:
        """Stop looking after ``session``, known or not."""
        self._watched.pop(session, None)
        if not self._watched:
            self.close()

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watched.clear()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(INTERVAL, self._tick)
        now = loop.time()
        for session in tuple(self._watched):
            session.check_stalled(now)
