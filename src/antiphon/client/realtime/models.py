"""Server events as typed objects, for `match` and for editors; the raw event is always beside them.

A class stands for a meaning, not for a spelling: `response.audio.delta` (beta) and `response.output_audio.delta` (GA)
are both `ResponseAudioDelta`, and `type` says which it was. What has no class here, or does not fit its class, comes
as `UnknownEvent`. Objects inside events (session, item, response, part) stay in the wire's shape: they grow with
every version of the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class ServerEvent(msgspec.Struct, kw_only=True):
    """Any server event.

    Attributes:
        type: the wire's name of the event.
        event_id: the server's id of the event, None when it sent none.
        raw: the event as it came.
    """

    type: str
    event_id: str | None = None
    raw: dict[str, Any] = msgspec.field(name="antiphon.raw", default_factory=dict)


class UnknownEvent(ServerEvent, kw_only=True):
    """An event this client has no class for, or one that does not fit it; `problem` says why, None for no class."""

    problem: str | None = None


class ErrorDetails(msgspec.Struct, kw_only=True):
    """What went wrong: section "Errors" of the API reference."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    event_id: str | None = None


class ErrorEvent(ServerEvent, kw_only=True):
    """`error`: the session goes on unless a close follows."""

    error: ErrorDetails


class SessionEvent(ServerEvent, kw_only=True):
    """`session.created`, `session.updated` and the transcription session's beta twins."""

    session: dict[str, Any]


class ConversationCreated(ServerEvent, kw_only=True):
    """`conversation.created`."""

    conversation: dict[str, Any]


class ItemAdded(ServerEvent, kw_only=True):
    """`conversation.item.added` (GA) or `conversation.item.created` (beta)."""

    item: dict[str, Any]
    previous_item_id: str | None = None


class ItemDone(ServerEvent, kw_only=True):
    """`conversation.item.done` (GA): the final content."""

    item: dict[str, Any]
    previous_item_id: str | None = None


class ItemRetrieved(ServerEvent, kw_only=True):
    """`conversation.item.retrieved`: the item with its audio."""

    item: dict[str, Any]


class ItemDeleted(ServerEvent, kw_only=True):
    """`conversation.item.deleted`."""

    item_id: str


class ItemTruncated(ServerEvent, kw_only=True):
    """`conversation.item.truncated`: what comes after `audio_end_ms` is gone, the transcript too."""

    item_id: str
    content_index: int
    audio_end_ms: int


class TranscriptionDelta(ServerEvent, kw_only=True):
    """`conversation.item.input_audio_transcription.delta`."""

    item_id: str
    delta: str
    content_index: int = 0


class TranscriptionCompleted(ServerEvent, kw_only=True):
    """`conversation.item.input_audio_transcription.completed`."""

    item_id: str
    transcript: str
    content_index: int = 0
    usage: dict[str, Any] | None = None


class TranscriptionFailed(ServerEvent, kw_only=True):
    """`conversation.item.input_audio_transcription.failed`."""

    item_id: str
    error: ErrorDetails
    content_index: int = 0


class InputAudioCommitted(ServerEvent, kw_only=True):
    """`input_audio_buffer.committed`: becomes the item `item_id`."""

    item_id: str
    previous_item_id: str | None = None


class InputAudioCleared(ServerEvent, kw_only=True):
    """`input_audio_buffer.cleared`."""


class SpeechStarted(ServerEvent, kw_only=True):
    """`input_audio_buffer.speech_started`; milliseconds of all audio appended in this session."""

    item_id: str
    audio_start_ms: int


class SpeechStopped(ServerEvent, kw_only=True):
    """`input_audio_buffer.speech_stopped`; milliseconds of all audio appended in this session."""

    item_id: str
    audio_end_ms: int


class InputTimeout(ServerEvent, kw_only=True):
    """`input_audio_buffer.timeout_triggered`: nobody spoke for the idle timeout."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int


class OutputAudioBuffer(ServerEvent, kw_only=True):
    """`output_audio_buffer.started`, `.stopped`, `.cleared` (WebRTC and SIP)."""

    response_id: str | None = None


class RateLimitsUpdated(ServerEvent, kw_only=True):
    """`rate_limits.updated`."""

    rate_limits: list[dict[str, Any]]


class ResponseCreated(ServerEvent, kw_only=True):
    """`response.created`."""

    response: dict[str, Any]


class ResponseDone(ServerEvent, kw_only=True):
    """`response.done`: always comes, whatever the outcome (`response["status"]`)."""

    response: dict[str, Any]


class OutputItemAdded(ServerEvent, kw_only=True):
    """`response.output_item.added`."""

    response_id: str
    item: dict[str, Any]
    output_index: int = 0


class OutputItemDone(ServerEvent, kw_only=True):
    """`response.output_item.done`."""

    response_id: str
    item: dict[str, Any]
    output_index: int = 0


class _PartEvent(ServerEvent, kw_only=True):
    item_id: str
    response_id: str | None = None
    output_index: int = 0
    content_index: int = 0


class ContentPartAdded(_PartEvent, kw_only=True):
    """`response.content_part.added`."""

    part: dict[str, Any]


class ContentPartDone(_PartEvent, kw_only=True):
    """`response.content_part.done`."""

    part: dict[str, Any]


class ResponseTextDelta(_PartEvent, kw_only=True):
    """`response.output_text.delta` (GA), `response.text.delta` (beta)."""

    delta: str


class ResponseTextDone(_PartEvent, kw_only=True):
    """`response.output_text.done` (GA), `response.text.done` (beta)."""

    text: str


class ResponseTranscriptDelta(_PartEvent, kw_only=True):
    """`response.output_audio_transcript.delta` (GA), `response.audio_transcript.delta` (beta)."""

    delta: str


class ResponseTranscriptDone(_PartEvent, kw_only=True):
    """`response.output_audio_transcript.done` (GA), `response.audio_transcript.done` (beta)."""

    transcript: str


class ResponseAudioDelta(_PartEvent, kw_only=True):
    """`response.output_audio.delta` (GA), `response.audio.delta` (beta); `delta` is the audio, decoded."""

    delta: bytes


class ResponseAudioDone(_PartEvent, kw_only=True):
    """`response.output_audio.done` (GA), `response.audio.done` (beta)."""


class FunctionArgumentsDelta(ServerEvent, kw_only=True):
    """`response.function_call_arguments.delta`."""

    item_id: str
    delta: str
    call_id: str | None = None
    response_id: str | None = None
    output_index: int = 0


class FunctionArgumentsDone(ServerEvent, kw_only=True):
    """`response.function_call_arguments.done`; `arguments` is JSON text."""

    item_id: str
    arguments: str
    name: str | None = None
    call_id: str | None = None
    response_id: str | None = None
    output_index: int = 0


EVENT_TYPES: dict[str, type[ServerEvent]] = {
    "error": ErrorEvent,
    "session.created": SessionEvent,
    "session.updated": SessionEvent,
    "transcription_session.created": SessionEvent,
    "transcription_session.updated": SessionEvent,
    "conversation.created": ConversationCreated,
    "conversation.item.added": ItemAdded,
    "conversation.item.created": ItemAdded,
    "conversation.item.done": ItemDone,
    "conversation.item.retrieved": ItemRetrieved,
    "conversation.item.deleted": ItemDeleted,
    "conversation.item.truncated": ItemTruncated,
    "conversation.item.input_audio_transcription.delta": TranscriptionDelta,
    "conversation.item.input_audio_transcription.completed": TranscriptionCompleted,
    "conversation.item.input_audio_transcription.failed": TranscriptionFailed,
    "input_audio_buffer.committed": InputAudioCommitted,
    "input_audio_buffer.cleared": InputAudioCleared,
    "input_audio_buffer.speech_started": SpeechStarted,
    "input_audio_buffer.speech_stopped": SpeechStopped,
    "input_audio_buffer.timeout_triggered": InputTimeout,
    "output_audio_buffer.started": OutputAudioBuffer,
    "output_audio_buffer.stopped": OutputAudioBuffer,
    "output_audio_buffer.cleared": OutputAudioBuffer,
    "rate_limits.updated": RateLimitsUpdated,
    "response.created": ResponseCreated,
    "response.done": ResponseDone,
    "response.output_item.added": OutputItemAdded,
    "response.output_item.done": OutputItemDone,
    "response.content_part.added": ContentPartAdded,
    "response.content_part.done": ContentPartDone,
    "response.output_text.delta": ResponseTextDelta,
    "response.text.delta": ResponseTextDelta,
    "response.output_text.done": ResponseTextDone,
    "response.text.done": ResponseTextDone,
    "response.output_audio_transcript.delta": ResponseTranscriptDelta,
    "response.audio_transcript.delta": ResponseTranscriptDelta,
    "response.output_audio_transcript.done": ResponseTranscriptDone,
    "response.audio_transcript.done": ResponseTranscriptDone,
    "response.output_audio.delta": ResponseAudioDelta,
    "response.audio.delta": ResponseAudioDelta,
    "response.output_audio.done": ResponseAudioDone,
    "response.audio.done": ResponseAudioDone,
    "response.function_call_arguments.delta": FunctionArgumentsDelta,
    "response.function_call_arguments.done": FunctionArgumentsDone,
}


def typed_event(raw: Mapping[str, Any]) -> ServerEvent:
    """Give the typed object of a raw server event. Never raises: what does not fit is an UnknownEvent."""
    event_type, event_id = str(raw.get("type")), raw.get("event_id")
    known = EVENT_TYPES.get(event_type)
    problem = None
    event: ServerEvent | None = None
    if known is not None:
        try:
            event = msgspec.convert(raw, known)
        except msgspec.ValidationError as error:
            problem = str(error)
    if event is None:
        event = UnknownEvent(type=event_type, event_id=event_id if isinstance(event_id, str) else None, problem=problem)
    event.raw = dict(raw)
    return event
