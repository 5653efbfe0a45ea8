"""Who had the floor, when: segments without gaps that sum to the session's length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from antiphon.core.events import Segment

Who = Literal["user", "agent", "silence"]


@dataclass(frozen=True, slots=True)
class Timeline:
    """``closed`` segments, and since when (seconds) ``who`` has the floor."""

    closed: tuple[Segment, ...] = ()
    who: Who = "silence"
    since: float = 0.0

    def mark(self, who: Who, at: float) -> Timeline:
        """From ``at`` on it is ``who``. An ``at`` in the past rewrites what was assumed since."""
        if who == self.who:
            return self
        closed, since = self.closed, self.since
        if at > since:
            return Timeline((*closed, Segment(self.who, since, at)), who, at)
        while closed and at <= closed[-1].start:
            closed = closed[:-1]
        if closed and at < closed[-1].end:
            closed = (*closed[:-1], replace(closed[-1], end=at))
        start = closed[-1].end if closed else 0.0
        if closed and closed[-1].who == who:
            return Timeline(closed[:-1], who, closed[-1].start)
        return Timeline(closed, who, start)

    def segments(self, at: float) -> tuple[Segment, ...]:
        """All segments up to ``at``."""
        return (*self.closed, Segment(self.who, self.since, at)) if at > self.since else self.closed
