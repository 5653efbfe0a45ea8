"""What a session remembers between two inputs, and the copy of it that a step works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from antiphon.core.config import Config
from antiphon.core.conversation import Conversation
from antiphon.core.effects import Effect, Emit
from antiphon.core.events import Event
from antiphon.core.items import INPUT_RATE, AudioRef, Item
from antiphon.core.meter import Meter
from antiphon.core.playout import Playout
from antiphon.core.response import Response
from antiphon.core.speech import Clause
from antiphon.core.timeline import Timeline, Who
from antiphon.core.turn import IDLE, TurnState

VAD_FRAME = 512
"""Samples of a VAD frame: an edge is known once its frame was heard."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the user's speech sent to STT as one job."""

    job: str
    audio: AudioRef
    asked_at: float
    text: str | None = None
    failed: str | None = None
    done_at: float | None = None

    @property
    def done(self) -> bool:
        return self.text is not None or self.failed is not None


@dataclass(frozen=True, slots=True)
class Utterance:
    """What the user is saying now."""

    start: int
    """First sample that belongs to it, prefix included."""
    piece_from: int
    """Where the piece begins that was not sent to STT for good."""
    over_agent: bool
    """It began while the agent had the floor."""
    item_id: str = ""
    """Known once it counts as speech."""
    merges: str | None = None
    """The user message it continues, whose answer nobody heard: it joins that one, if it still is there."""
    interrupted: bool = False
    softened: bool = False
    """The agent's voice is ducked or paused for it."""
    pieces: tuple[Piece, ...] = ()
    trial: Piece | None = None
    """The piece that ends in the present pause, if it is the end."""
    caption: str | None = None
    """The job of the partial transcript under way."""
    words: str = ""
    """The last partial transcript."""
    prediction: str | None = None
    last_voice_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Clock:
    """When a spoken turn passed its stages (session seconds)."""

    last_voice_at: float
    committed_at: float
    stt_asked_at: float | None
    stt_done_at: float | None


@dataclass(frozen=True, slots=True)
class Pending:
    """A committed turn whose words are not all known."""

    utterance: Utterance
    audio: AudioRef
    respond: bool
    clock: Clock
    undecided: bool
    """Spoken over the agent, and not yet told from a cough or an "uh-huh"."""
    kept: bool = False
    """It becomes an item even if no word is found in it."""
    placed: bool = False
    """Its item is in the conversation."""


@dataclass(frozen=True, slots=True)
class Want:
    """An answer that is due, and may have to wait."""

    config: Config | None = None
    explicit: bool = False
    context: tuple[Item, ...] | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    say: str | None = None
    turn: str | None = None
    clock: Clock | None = None
    pieces: tuple[Piece, ...] = ()
    """The audio in ``context`` that nobody wrote down yet: the answer waits for its words."""

    @property
    def ready(self) -> bool:
        return all(p.done for p in self.pieces)


@dataclass(frozen=True, slots=True)
class Trial:
    """An answer begun in a pause: what it would tell and play is held until the turn commits."""

    response: Response
    held: tuple[Effect, ...]
    seen: tuple[object, ...]
    """The gist of the history it was begun on; it serves only if that is the history when the turn commits."""


@dataclass(slots=True)
class State:
    """All of a session. ``step`` never changes a state it was given: it works on a copy."""

    config: Config
    seed: str
    opened_at: float
    ids: int = 0
    conversation: Conversation = field(default_factory=Conversation)
    turn: TurnState = IDLE
    utterance: Utterance | None = None
    buffer_from: int = 0
    """First sample of live audio that no turn has used."""
    pending: tuple[Pending, ...] = ()
    active: Response | None = None
    asides: tuple[Response, ...] = ()
    """Out-of-band responses under way."""
    trial: Trial | None = None
    wanted: Want | None = None
    aside_wants: tuple[Want, ...] = ()
    """Out-of-band answers that are due, and wait for the words of audio in their context."""
    clock: Clock | None = None
    """Of the turn that the active response answers, until its first audio."""
    tools: tuple[str, ...] = ()
    """Call ids of server-run tools under way."""
    playout: Playout = field(default_factory=Playout)
    spoken: Mapping[str, tuple[Clause, ...]] = field(default_factory=dict)
    """Item id to its clauses, so that it can be truncated at any later time."""
    voice_used: bool = False
    timeline: Timeline = field(default_factory=Timeline)
    meter: Meter = field(default_factory=Meter)
    ear: tuple[int, float] = (0, 0.0)
    """A sample and when it was heard: the bridge between the two clocks."""
    quiet_since: float = 0.0
    """Since when nobody said, wrote or answered anything."""
    prompted: bool = False
    """The present idle period was used for a prompt."""
    peer_gone_at: float | None = None
    ending: str | None = None
    """Why the session is about to end, once a limit was reached."""
    ending_at: float = 0.0
    ended: bool = False
    deadline: float | None = None
    """Session time at which a ``Tick`` is due."""
    audio_deadline: int | None = None
    """Sample (16 kHz) at which an ``AudioReached`` is due."""

    def fork(self) -> State:
        """A copy to work on (``copy.copy`` takes three times as long, at every step)."""
        other = object.__new__(State)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        return other

    @property
    def active_response_id(self) -> str | None:
        return self.active.id if self.active else None

    @property
    def listening_turn(self) -> bool:
        """In the middle of a turn: if no more audio comes, ``AudioStalled`` is due after ``Turn.stall``."""
        return self.turn.phase != "idle"

    @property
    def keep_from(self) -> int | None:
        """Live audio from this sample on is still needed; None when only the last seconds may be."""
        needed = [p.audio.start for p in self.pending]
        if self.utterance:
            needed.append(min(self.utterance.start, self.utterance.piece_from))
        if self.config.turn.mode == "manual":
            needed.append(self.buffer_from)
        return min(needed, default=None)


class Work:
    """A step in the making: the next state, the effects so far, and the input's two clocks."""

    __slots__ = ("at", "effects", "heard", "s")

    def __init__(self, state: State, at: float, heard: int) -> None:
        self.s = state.fork()
        self.effects: list[Effect] = []
        self.at = at
        self.heard = heard

    def do(self, *effects: Effect) -> None:
        self.effects += effects

    def emit(self, *events: Event) -> None:
        self.effects += (Emit(e) for e in events)

    def new_id(self, prefix: str) -> str:
        self.s.ids += 1
        return f"{prefix}_{self.s.seed}{self.s.ids:05x}"

    @property
    def client_plays(self) -> bool:
        return self.s.config.playout == "client"

    @property
    def position(self) -> int:
        """How much of the agent's audio stream was heard by now."""
        return self.s.playout.position(self.at, self.heard, client=self.client_plays)

    def time_of(self, sample: int) -> float:
        """When a sample of the live audio was heard."""
        known, at = self.s.ear
        return min(self.at, max(self.s.opened_at, at - (known - sample) / INPUT_RATE))

    def mark(self, at: float) -> None:
        """Note who has the floor from ``at`` on: the user before the agent."""
        who: Who = "agent" if self.s.playout.audible else "silence"
        self.s.timeline = self.s.timeline.mark("user" if self.s.turn.phase == "speech" else who, at)

    def stir(self) -> None:
        """Somebody did something: idle periods start anew."""
        self.s.quiet_since = self.at
        self.s.prompted = False
