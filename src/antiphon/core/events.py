"""What a session tells its observers. Protocols translate these; nothing else leaves the core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from antiphon.core.config import Config
from antiphon.core.items import AudioRef, Item, Usage

ResponseStatus = Literal["in_progress", "completed", "cancelled", "incomplete", "failed"]


@dataclass(frozen=True, slots=True)
class ResponseView:
    """A response as observers see it. ``reason``: turn_detected, client_cancelled, max_output_tokens, content_filter,
    or an error code when failed. ``output`` holds the items in the order they were added."""

    id: str
    status: ResponseStatus
    config: Config
    output: tuple[Item, ...] = ()
    reason: str | None = None
    error: str | None = None
    usage: Usage | None = None
    out_of_band: bool = False
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Configured:
    config: Config


@dataclass(frozen=True, slots=True)
class Rejected:
    """A command was illegal; nothing changed. ``code`` and ``param`` as in the contract's error table."""

    command_id: str | None
    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Something behind the session failed, and the session lives on. ``stage``: stt, llm, tts, tool, turn."""

    stage: str
    message: str


# --- the user's side ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """``sample``: where the speech began, prefix included (16 kHz, session audio clock)."""

    item_id: str
    sample: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """``sample``: where the silence that ended the turn was complete."""

    item_id: str
    sample: int


@dataclass(frozen=True, slots=True)
class Committed:
    item_id: str
    previous_item_id: str | None
    audio: tuple[AudioRef, ...]


@dataclass(frozen=True, slots=True)
class TurnDropped:
    """Speech that became no turn. ``reason``: noise, backchannel, not_understood, over_agent, cleared."""

    item_id: str
    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class InputCleared:
    pass


@dataclass(frozen=True, slots=True)
class IdleTimeout:
    item_id: str
    start: int
    end: int
    """16 kHz samples of the silent span."""


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """Live caption of the running turn, whole text so far; may be revised."""

    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class TranscriptDone:
    item_id: str
    content_index: int
    text: str
    seconds: float
    """Seconds of audio transcribed."""


@dataclass(frozen=True, slots=True)
class TranscriptFailed:
    item_id: str
    content_index: int
    message: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The user took the floor. ``response_id`` is None when only playout was left of it."""

    response_id: str | None
    item_id: str | None
    heard: str
    """The agent's words, of the item cut, that were heard."""


@dataclass(frozen=True, slots=True)
class FalseInterruption:
    """A sound over the agent's speech was none; the agent goes on."""


# --- the conversation -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ItemAdded:
    item: Item
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ItemDone:
    item: Item
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ItemChanged:
    """An item's content changed after it was done: merged turns, a transcript, heard words, an MCP result."""

    item: Item


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    item_id: str


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class ItemRetrieved:
    item: Item
    command_id: str | None = None


# --- responses ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    response: ResponseView


@dataclass(frozen=True, slots=True)
class OutputItemAdded:
    response_id: str
    index: int
    item: Item


@dataclass(frozen=True, slots=True)
class OutputItemDone:
    response_id: str
    index: int
    item: Item


@dataclass(frozen=True, slots=True)
class PartAdded:
    response_id: str
    item_id: str
    index: int
    content_index: int
    kind: Literal["text", "audio"]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Words of the agent: text where ``kind`` is text, the transcript of speech where it is audio."""

    response_id: str
    item_id: str
    index: int
    content_index: int
    kind: Literal["text", "audio"]
    delta: str


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """Samples ``start`` to ``end`` (24 kHz) of synthesis job ``job`` now belong to the item's audio."""

    response_id: str
    item_id: str
    index: int
    content_index: int
    job: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PartDone:
    response_id: str
    item_id: str
    index: int
    content_index: int
    kind: Literal["text", "audio"]
    text: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    response_id: str
    item_id: str
    index: int
    call_id: str
    delta: str
    mcp: bool = False


@dataclass(frozen=True, slots=True)
class ArgumentsDone:
    response_id: str
    item_id: str
    index: int
    call_id: str
    name: str
    arguments: str
    mcp: bool = False


@dataclass(frozen=True, slots=True)
class ResponseDone:
    response: ResponseView


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A server-run tool was started."""

    item_id: str
    index: int
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolFinished:
    item_id: str
    call_id: str
    output: str
    failed: bool


# --- playout --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlayoutStarted:
    """Server-owned: the response's audio began to flow."""

    response_id: str


@dataclass(frozen=True, slots=True)
class PlayoutStopped:
    """Server-owned: everything of the response was heard."""

    response_id: str


@dataclass(frozen=True, slots=True)
class PlayoutCleared:
    """Server-owned: what was left was thrown away."""

    response_id: str


# --- measures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnMetrics:
    """Latencies of one spoken turn, in seconds; None where a stage did not take place.

    ``end_of_turn``: last voice to commit. ``stt``: transcription asked to answered. ``llm``: generation asked to first
    token. ``tts``: first clause asked to first audio. ``voice_to_voice``: last voice to the agent's first audio.
    """

    response_id: str
    end_of_turn: float | None
    stt: float | None
    llm: float | None
    tts: float | None
    voice_to_voice: float | None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the timeline: who had the floor, from ``start`` to ``end`` seconds."""

    who: Literal["user", "agent", "silence"]
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Record:
    """What remains of a session: the timeline sums to ``seconds``; usage counts what was really consumed."""

    reason: str
    seconds: float
    timeline: tuple[Segment, ...]
    items: tuple[Item, ...]
    usage: Usage
    stt_seconds: float
    tts_characters: int
    tts_seconds: float
    speculative_usage: Usage
    """Consumed by answers that were thrown away unheard (not part of ``usage``)."""
    turns: int
    responses: int
    interruptions: int


@dataclass(frozen=True, slots=True)
class Ending:
    """A limit was reached: nothing new starts, the agent may finish its sentence within ``Config.grace``."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    record: Record


Event = (
    Configured | Rejected | Failure | SpeechStarted | SpeechStopped | Committed | TurnDropped | InputCleared
    | IdleTimeout | PartialTranscript | TranscriptDone | TranscriptFailed | Interrupted | FalseInterruption | ItemAdded
    | ItemDone | ItemChanged | ItemDeleted | ItemTruncated | ItemRetrieved | ResponseStarted | OutputItemAdded
    | OutputItemDone | PartAdded | TextDelta | AudioDelta | PartDone | ArgumentsDelta | ArgumentsDone | ResponseDone
    | ToolStarted | ToolFinished | PlayoutStarted | PlayoutStopped | PlayoutCleared | TurnMetrics | Ending | Ended
)  # fmt: skip
