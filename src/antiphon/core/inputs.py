"""Everything that can happen to a session. A closed union: ``step`` handles each, in each state.

``at`` is the session's time in seconds, from the runtime's clock. ``heard`` is how many samples (24 kHz) of the output
stream the person has heard by then; the runtime fills it in where it owns the playout, else it stays 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from antiphon.core.config import Config
from antiphon.core.items import AudioRef, Item, McpListTools, Tool, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    at: float
    heard: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Command(_Input):
    """Something a client asked for; ``command_id`` comes back in a ``Rejected`` event."""

    command_id: str | None = None


# --- commands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure(_Command):
    """Replace the configuration. Running responses keep their snapshot."""

    config: Config


@dataclass(frozen=True, slots=True, kw_only=True)
class AddItem(_Command):
    """Insert an item. ``after``: None appends, "root" puts it first, else the id of the item before it.

    An item whose id is empty gets one. Live speech is never added so: it becomes an item when its turn is committed.
    """

    item: Item
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteItem(_Command):
    item_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveItem(_Command):
    item_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TruncateItem(_Command):
    """The client played only the first ``audio_end_ms`` of an assistant item's audio."""

    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitAudio(_Command):
    """Push to talk: everything in the input buffer up to sample ``end`` (16 kHz) is the user's turn."""

    end: int
    minimum: int = 0
    """Samples below which the buffer counts as empty (OpenAI: 100 ms)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearAudio(_Command):
    """Forget the input buffer up to sample ``end`` and all turn state."""

    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearPlayout(_Command):
    """Stop the agent's voice at once (server-owned playout)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateResponse(_Command):
    """Ask for an answer. ``config`` overrides the session's for this response only."""

    config: Config | None = None
    out_of_band: bool = False
    context: tuple[Item, ...] | None = None
    """Replaces the conversation as the LLM's context; () is an empty one."""
    metadata: tuple[tuple[str, str], ...] = ()
    say: str | None = None
    """Speak exactly this; no LLM is asked."""
    when_busy: Literal["reject", "queue", "interrupt"] = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelResponse(_Command):
    response_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTools(_Command):
    """Add tools that became known later (an MCP server's list) to the configuration, by name."""

    tools: tuple[Tool, ...]
    listing: McpListTools | None = None
    """How the list stands in the conversation now: replaces the item of its id, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveCall(_Command):
    """The user's word on an MCP approval request; the approval item was added before."""

    approval_request_id: str
    approve: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Close(_Command):
    reason: str = "closed"


# --- the ear --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceOn(_Input):
    """The VAD crossed its threshold upwards; ``sample`` is where the first voiced frame begins."""

    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceOff(_Input):
    """The VAD fell below its lower threshold; ``sample`` is where the voice ended."""

    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioReached(_Input):
    """The audio came up to ``sample``, at or beyond the state's ``audio_deadline``, without another edge so far."""

    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioStalled(_Input):
    """No input audio came for ``Turn.stall`` seconds in the middle of a turn; ``sample`` is where it ends."""

    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(_Input):
    """The clock reached the state's ``deadline``."""


# --- engines --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPredicted(_Input):
    job: str
    probability: float | None
    """0 to 1; above 0.5 the turn is complete. None when no detector could tell: the plain silence rule holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcribed(_Input):
    """STT's text for a job; ``final`` is False for a partial of speech that goes on."""

    job: str
    text: str
    final: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptionFailed(_Input):
    job: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextGenerated(_Input):
    job: str
    delta: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallGenerated(_Input):
    """A piece of a tool call: the first for an ``index`` carries ``call_id`` and ``name``, later ones only a delta."""

    job: str
    index: int
    delta: str = ""
    call_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDone(_Input):
    job: str
    reason: Literal["stop", "length", "content_filter"] = "stop"
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationFailed(_Input):
    job: str
    message: str
    code: str = "server_error"


@dataclass(frozen=True, slots=True)
class Word:
    """A spoken word; ``end`` in samples (24 kHz) from the start of its synthesis job."""

    text: str
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesized(_Input):
    """``samples`` more of a synthesis job's audio are in the runtime's hands; ``words`` of it where the TTS tells."""

    job: str
    samples: int
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisDone(_Input):
    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisFailed(_Input):
    job: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDone(_Input):
    """A server-run tool returned, raised or timed out: either way the LLM gets bounded words."""

    call_id: str
    output: str
    failed: bool = False


# --- playout and peer -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained(_Input):
    """Server-owned playout: everything queued was heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerGone(_Input):
    """The client's media went away; it may come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerBack(_Input):
    pass


Command = (
    Configure | AddItem | DeleteItem | RetrieveItem | TruncateItem | CommitAudio | ClearAudio | ClearPlayout
    | CreateResponse | CancelResponse | SetTools | ApproveCall
)  # fmt: skip
Ear = VoiceOn | VoiceOff | AudioReached | AudioStalled | TurnPredicted | Transcribed | TranscriptionFailed
Engine = (
    TextGenerated | CallGenerated | GenerationDone | GenerationFailed | Synthesized | SynthesisDone | SynthesisFailed
)
Happening = Command | Ear | Engine | ToolDone | Drained | PeerGone | PeerBack | Tick
Input = Happening | Close

__all__ = [
    "AddItem",
    "ApproveCall",
    "AudioReached",
    "AudioRef",
    "AudioStalled",
    "CallGenerated",
    "CancelResponse",
    "ClearAudio",
    "ClearPlayout",
    "Close",
    "Command",
    "CommitAudio",
    "Configure",
    "CreateResponse",
    "DeleteItem",
    "Drained",
    "Ear",
    "Engine",
    "GenerationDone",
    "GenerationFailed",
    "Happening",
    "Input",
    "PeerBack",
    "PeerGone",
    "RetrieveItem",
    "SetTools",
    "SynthesisDone",
    "SynthesisFailed",
    "Synthesized",
    "TextGenerated",
    "Tick",
    "ToolDone",
    "Transcribed",
    "TranscriptionFailed",
    "TruncateItem",
    "TurnPredicted",
    "VoiceOff",
    "VoiceOn",
    "Word",
]  # fmt: skip
