"""The agent's voice on its way to the person: what is queued, and what was heard.

The output stream is addressed in samples (24 kHz) since the session began. Where we own the playout, the runtime tells
how far the person has heard; where a client does, it plays from arrival on, at real time, until it tells otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from antiphon.core.items import OUTPUT_RATE

Mode = Literal["stopped", "playing", "ducked", "paused"]


@dataclass(frozen=True, slots=True)
class Span:
    """Stream samples ``start`` to ``end`` are samples ``item_start`` and on of an item's audio."""

    start: int
    end: int
    item_id: str
    item_start: int
    response_id: str


@dataclass(frozen=True, slots=True)
class Playout:
    mode: Mode = "stopped"
    queued: int = 0
    """Where the stream ends."""
    spans: tuple[Span, ...] = ()
    """What may not have been heard yet, oldest first."""
    ends_at: float = 0.0
    """Client-owned: when the client will have played everything, if it plays on arrival."""
    response_id: str | None = None
    """Whose audio is playing, or played last; None once it was cleared."""
    told: str | None = None
    """The response whose first sound was told."""

    @property
    def audible(self) -> bool:
        return self.mode in ("playing", "ducked")

    def position(self, at: float, heard: int, *, client: bool) -> int:
        """How much of the stream was heard by ``at``."""
        if client:
            return self.queued - max(0, min(self.queued, round((self.ends_at - at) * OUTPUT_RATE)))
        return min(heard, self.queued)

    def append(self, span: tuple[str, int, int], response_id: str, at: float, heard: int) -> Playout:
        """With ``(item_id, item_start, samples)`` queued; spans heard before ``heard`` are forgotten."""
        item_id, item_start, samples = span
        start = self.queued
        spans = tuple(s for s in self.spans if s.end > heard)
        last = spans[-1] if spans else None
        if last and last.item_id == item_id and last.item_start + last.end - last.start == item_start:
            spans = (*spans[:-1], replace(last, end=last.end + samples))
        else:
            spans = (*spans, Span(start, start + samples, item_id, item_start, response_id))
        ends_at = max(at, self.ends_at) + samples / OUTPUT_RATE
        mode: Mode = "playing" if self.mode == "stopped" else self.mode
        return Playout(mode, start + samples, spans, ends_at, response_id, self.told)

    def unheard(self, position: int) -> tuple[tuple[str, int], ...]:
        """For each item with audio beyond ``position``: how many of its samples were heard."""
        cut: dict[str, int] = {}
        for s in self.spans:
            if s.end > position and s.item_id not in cut:
                cut[s.item_id] = s.item_start + max(0, position - s.start)
        return tuple(cut.items())

    def flushed(self, position: int, at: float) -> Playout:
        """With everything beyond ``position`` forgotten."""
        return replace(self, mode="stopped", queued=position, spans=(), ends_at=at, response_id=None)

    def stopped(self) -> Playout:
        """Everything queued was heard."""
        return replace(self, mode="stopped", spans=())
