"""One timer for every connection: pings, and deadlines that nobody else watches."""

from __future__ import annotations

import asyncio
from typing import Protocol

__all__ = ["Sweeper", "Swept"]


class Swept(Protocol):
    """Something with deadlines."""

    def sweep(self, now: float) -> None:
        """Look at the deadlines; ``now`` is the loop's time in seconds."""
        ...


class Sweeper:
    """Calls ``sweep`` of all its members every period; there is a timer only while there are members."""

    def __init__(self, period: float) -> None:
        """Start without members.

        Args:
            period: Seconds between two sweeps: how late a deadline may be noticed.
        """
        self._period = period
        self._members: set[Swept] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._members)

    @property
    def ticking(self) -> bool:
        """Whether the timer is set."""
        return self._timer is not None

    def add(self, member: Swept) -> None:
        """Watch a member; must be called on a running loop."""
        self._members.add(member)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._period, self._tick)

    def discard(self, member: Swept) -> None:
        """Watch a member no more; unknown members are fine."""
        self._members.discard(member)
        if not self._members and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def sweep(self, now: float) -> None:
        """Sweep every member once.

        Args:
            now: Seconds on the loop's clock.
        """
        for member in tuple(self._members):
            member.sweep(now)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._period, self._tick)
        self.sweep(loop.time())
