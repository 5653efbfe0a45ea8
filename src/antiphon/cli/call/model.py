"""What is known of a call once it is over. Times are seconds since the session was opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from antiphon.audio.pcm import PCM, empty
from antiphon.core.events import Record, TurnMetrics


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it was spoken: the agent's as heard, the user's spread over the speech in proportion."""

    text: str
    start: float
    end: float


@dataclass(slots=True, eq=False)
class Turn:
    """Someone's stretch of speech.

    ``id`` is the user's item (whose parts are turns of their own) or the agent's response. ``text`` is the transcript,
    or all that the agent meant to say; ``heard`` what of it was played. ``outcome``: ``completed``; of the user's also
    ``dropped: REASON`` and ``not_understood``; of the agent's also ``interrupted``, ``unheard`` (cut short before its
    first word), ``cancelled``, ``incomplete``, ``failed``.
    """

    who: Literal["user", "agent"]
    id: str
    start: float
    end: float
    text: str = ""
    heard: str = ""
    outcome: str = "completed"
    words: list[Word] = field(default_factory=list)
    partials: list[tuple[float, str]] = field(default_factory=list)
    latency: TurnMetrics | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at one moment."""

    at: float
    kind: Literal["interruption", "false_interruption", "failure"]
    text: str = ""


@dataclass(slots=True)
class ToolCall:
    """A tool that the agent called; ``end`` and ``output`` are None while (or if never) answered."""

    call_id: str
    name: str
    arguments: str
    start: float
    end: float | None = None
    output: str | None = None
    failed: bool = False


@dataclass(slots=True)
class Call:
    """A whole call.

    Attributes:
        user: The user's channel, 16 kHz; sample 0 is at 0 s.
        agent: The agent's channel as heard, 24 kHz; sample 0 is at 0 s.
        ducked: When the agent's voice was lowered: pairs of start and end.
        events: Every event, as plain data with ``at`` and ``type``.
    """

    title: str = ""
    engines: dict[str, str] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    tools: list[ToolCall] = field(default_factory=list)
    latencies: list[TurnMetrics] = field(default_factory=list)
    ducked: list[tuple[float, float]] = field(default_factory=list)
    record: Record | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    user: PCM = field(default_factory=empty)
    agent: PCM = field(default_factory=empty)

    @property
    def seconds(self) -> float:
        """How long the call was."""
        if self.record:
            return self.record.seconds
        return max(len(self.user) / 16_000, len(self.agent) / 24_000)

    def heard_latencies(self) -> list[TurnMetrics]:
        """Latencies of the answers of which something was heard."""
        heard = {turn.id for turn in self.turns if turn.who == "agent" and turn.heard}
        return [metrics for metrics in self.latencies if metrics.response_id in heard]

    def shares(self) -> dict[str, float]:
        """Seconds of the timeline by who had the floor: user, agent, silence."""
        shares = {"user": 0.0, "agent": 0.0, "silence": 0.0}
        for segment in self.record.timeline if self.record else ():
            shares[segment.who] += segment.end - segment.start
        return shares
