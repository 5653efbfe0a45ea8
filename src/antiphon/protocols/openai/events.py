"""Core events to server events, in the words of one dialect.

What has no word in the protocol (metrics, interruptions, partial transcripts) is not sent: strict clients take an
unknown event for an error (rule 8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from antiphon.core import events as ev
from antiphon.core.items import Item, McpApprovalRequest, McpCall, McpListTools, Usage
from antiphon.protocols.openai.dialect import Dialect
from antiphon.protocols.openai.errors import WireError, error_event
from antiphon.protocols.openai.items import AudioBytes, item_view
from antiphon.protocols.openai.session_object import SessionObject, ga_format
from antiphon.protocols.openai.settings import RealtimeSettings

__all__ = ["Translator", "usage_view"]

Wire = dict[str, Any]

_REASONS = {
    "cancelled": ("turn_detected", "client_cancelled"),
    "incomplete": ("max_output_tokens", "content_filter"),
}
"""Strict clients refuse any other reason with the status; a response that ended for another one has failed."""

_GA_PARAMS = {"session.voice": "session.audio.output.voice", "response.voice": "response.audio.output.voice"}
"""Fields that the core names as beta does."""

_INPUT_PER_MS = 16
"""Samples of the input clock per millisecond."""


class Translator:
    """One connection's translation of core events.

    Args:
        dialect: Whose words to use.
        settings: Rate limits, defaults.
        conversation_id: The id shown in response objects.
        audio: Gives the audio of retrieved items.
        owns_playout: The server plays (WebRTC), so that ``output_audio_buffer.*`` is sent.

    Attributes:
        session: What holds now; transcripts are shown while its transcription is on.
        formats: Output formats of responses that do not use the session's, by response id.
    """

    def __init__(
        self,
        dialect: Dialect,
        settings: RealtimeSettings,
        conversation_id: str,
        session: SessionObject,
        audio: AudioBytes,
        *,
        owns_playout: bool = False,
    ) -> None:
        self._dialect = dialect
        self._settings = settings
        self._conversation_id = conversation_id
        self._audio = audio
        self.session = session
        self.formats: dict[str, str] = {}
        self._owns_playout = owns_playout
        self._approvals: set[str] = set()
        self._tools: dict[str, int] = {}
        self._running: dict[str, _Unfinished] = {}
        self._held: ev.ResponseView | None = None
        self._by_type: dict[type, Callable[[Any], list[Wire]]] = {
            ev.Rejected: self._rejected,
            ev.SpeechStarted: self._speech_started,
            ev.SpeechStopped: self._speech_stopped,
            ev.Committed: self._committed,
            ev.InputCleared: self._input_cleared,
            ev.IdleTimeout: self._idle_timeout,
            ev.TranscriptDone: self._transcript_done,
            ev.TranscriptFailed: self._transcript_failed,
            ev.ItemAdded: self._item_added,
            ev.ItemDone: self._item_done,
            ev.ItemChanged: self._item_changed,
            ev.ItemDeleted: self._item_deleted,
            ev.ItemTruncated: self._item_truncated,
            ev.ItemRetrieved: self._item_retrieved,
            ev.ResponseStarted: self._response_started,
            ev.OutputItemAdded: self._output_item_added,
            ev.OutputItemDone: self._output_item_done,
            ev.PartAdded: self._part_added,
            ev.TextDelta: self._text_delta,
            ev.PartDone: self._part_done,
            ev.ArgumentsDelta: self._arguments_delta,
            ev.ArgumentsDone: self._arguments_done,
            ev.ToolStarted: self._tool_started,
            ev.ToolFinished: self._tool_finished,
            ev.ResponseDone: self._response_done,
            ev.PlayoutStarted: self._playout("output_audio_buffer.started"),
            ev.PlayoutStopped: self._playout("output_audio_buffer.stopped"),
            ev.PlayoutCleared: self._playout("output_audio_buffer.cleared"),
        }

    def translate(self, event: ev.Event) -> list[Wire]:
        """The server events that say `event`, in order, without their ``event_id``; often none."""
        handler = self._by_type.get(type(event))
        return handler(event) if handler else []

    def audio_delta(self, event: ev.AudioDelta, data: bytes) -> Wire:
        """The delta that carries `data`, the encoded samples of `event`."""
        return {
            "type": f"{self._dialect.audio}.delta",
            "response_id": event.response_id,
            "item_id": event.item_id,
            "output_index": event.index,
            "content_index": event.content_index,
            "delta": data,
        }

    def format_of(self, response_id: str) -> str:
        """The format that a response's audio is sent in."""
        return self.formats.get(response_id, self.session.output_format)

    # --- the user's side ----------------------------------------------------------------------------------------------

    def _rejected(self, e: ev.Rejected) -> list[Wire]:
        param = e.param if self._dialect.beta or e.param is None else _GA_PARAMS.get(e.param, e.param)
        return [error_event(WireError(e.code, e.message, param, e.command_id))]

    def _speech_started(self, e: ev.SpeechStarted) -> list[Wire]:
        return [
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": e.sample // _INPUT_PER_MS,
                "item_id": e.item_id,
            }
        ]

    def _speech_stopped(self, e: ev.SpeechStopped) -> list[Wire]:
        return [
            {
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": e.sample // _INPUT_PER_MS,
                "item_id": e.item_id,
            }
        ]

    def _committed(self, e: ev.Committed) -> list[Wire]:
        return [{"type": "input_audio_buffer.committed", "item_id": e.item_id, "previous_item_id": e.previous_item_id}]

    def _input_cleared(self, e: ev.InputCleared) -> list[Wire]:
        return [{"type": "input_audio_buffer.cleared"}]

    def _idle_timeout(self, e: ev.IdleTimeout) -> list[Wire]:
        if self._dialect.beta:  # came with GA
            return []
        return [
            {
                "type": "input_audio_buffer.timeout_triggered",
                "audio_start_ms": e.start // _INPUT_PER_MS,
                "audio_end_ms": e.end // _INPUT_PER_MS,
                "item_id": e.item_id,
            }
        ]

    def _transcript_done(self, e: ev.TranscriptDone) -> list[Wire]:
        # One delta with everything: partial texts may be revised, and deltas must add up to the transcript.
        if self.session.transcription is None:
            return []
        where = {"item_id": e.item_id, "content_index": e.content_index}
        prefix = "conversation.item.input_audio_transcription"
        delta: list[Wire] = [{"type": f"{prefix}.delta", **where, "delta": e.text}] if e.text else []
        usage = {"type": "duration", "seconds": round(e.seconds, 3)}
        return [*delta, {"type": f"{prefix}.completed", **where, "transcript": e.text, "usage": usage}]

    def _transcript_failed(self, e: ev.TranscriptFailed) -> list[Wire]:
        if self.session.transcription is None:
            return []
        return [
            {
                "type": "conversation.item.input_audio_transcription.failed",
                "item_id": e.item_id,
                "content_index": e.content_index,
                "error": {"type": "transcription_error", "code": "transcription_failed", "message": e.message},
            }
        ]

    # --- the conversation ---------------------------------------------------------------------------------------------

    def _item(self, item: Any) -> Wire:
        return item_view(item, self._dialect, transcripts=False)

    def _item_added(self, e: ev.ItemAdded) -> list[Wire]:
        return [{"type": self._dialect.item_added, "previous_item_id": e.previous_item_id, "item": self._item(e.item)}]

    def _item_done(self, e: ev.ItemDone) -> list[Wire]:
        if self._dialect.item_done is None:
            return []
        if _runs(e.item):
            self._running.setdefault(e.item.id, _Unfinished()).previous_item_id = e.previous_item_id
            return []
        return [{"type": self._dialect.item_done, "previous_item_id": e.previous_item_id, "item": self._item(e.item)}]

    def _item_changed(self, e: ev.ItemChanged) -> list[Wire]:
        """An MCP call has its result, or a list its tools: only now are item and output final."""
        call = self._running.pop(e.item.id, None)
        if call is None or self._dialect.item_done is None:
            return []
        done = self._item_done(ev.ItemDone(e.item, call.previous_item_id))
        if call.response_id is None:  # it was approved, and called outside any response
            return done
        done += self._output_item_done(ev.OutputItemDone(call.response_id, call.index, e.item))
        if self._held is None or self._held.id != call.response_id:
            return done
        output = tuple(e.item if item.id == e.item.id else item for item in self._held.output)
        self._held = replace(self._held, output=output)
        return done if any(item.id in self._running for item in output) else done + self.let_go()

    def let_go(self) -> list[Wire]:
        """End the response whose end waits for its MCP calls; before another begins, whatever becomes of them."""
        held, self._held = self._held, None
        return [] if held is None else [self._ended(held)]

    def _item_deleted(self, e: ev.ItemDeleted) -> list[Wire]:
        return [{"type": "conversation.item.deleted", "item_id": e.item_id}]

    def _item_truncated(self, e: ev.ItemTruncated) -> list[Wire]:
        return [
            {
                "type": "conversation.item.truncated",
                "item_id": e.item_id,
                "content_index": e.content_index,
                "audio_end_ms": e.audio_end_ms,
            }
        ]

    def _item_retrieved(self, e: ev.ItemRetrieved) -> list[Wire]:
        shown = self.session.transcription is not None
        item = item_view(e.item, self._dialect, transcripts=shown, audio=self._audio)
        return [{"type": "conversation.item.retrieved", "item": item}]

    # --- responses ----------------------------------------------------------------------------------------------------

    def _response_started(self, e: ev.ResponseStarted) -> list[Wire]:
        limits = [
            {"name": r.name, "limit": r.limit, "remaining": r.remaining, "reset_seconds": r.reset_seconds}
            for r in self._settings.rate_limits
        ]
        before = [] if e.response.out_of_band else self.let_go()
        return [
            *before,
            {"type": "response.created", "response": self._response(e.response)},
            {"type": "rate_limits.updated", "rate_limits": limits},
        ]

    def _response_done(self, e: ev.ResponseDone) -> list[Wire]:
        if any(item.id in self._running for item in e.response.output):
            self._held = e.response  # the calls' results belong to it, and nothing may come after its end
            return []
        return [self._ended(e.response)]

    def _ended(self, response: ev.ResponseView) -> Wire:
        shown = self._response(response)
        self.formats.pop(response.id, None)
        return {"type": "response.done", "response": shown}

    def _output_item_added(self, e: ev.OutputItemAdded) -> list[Wire]:
        if isinstance(e.item, McpApprovalRequest):
            self._approvals.add(e.item.id)
        return [
            {
                "type": "response.output_item.added",
                "response_id": e.response_id,
                "output_index": e.index,
                "item": self._item(e.item),
            }
        ]

    def _output_item_done(self, e: ev.OutputItemDone) -> list[Wire]:
        self._approvals.discard(e.item.id)
        if _runs(e.item):
            call = self._running.setdefault(e.item.id, _Unfinished())
            call.response_id, call.index = e.response_id, e.index
            return []
        return [
            {
                "type": "response.output_item.done",
                "response_id": e.response_id,
                "output_index": e.index,
                "item": self._item(e.item),
            }
        ]

    def _part_added(self, e: ev.PartAdded) -> list[Wire]:
        part = {"type": "text", "text": ""} if e.kind == "text" else {"type": "audio", "transcript": ""}
        return [{"type": "response.content_part.added", **_where(e), "part": part}]

    def _text_delta(self, e: ev.TextDelta) -> list[Wire]:
        prefix = self._dialect.text if e.kind == "text" else self._dialect.transcript
        return [{"type": f"{prefix}.delta", **_where(e), "delta": e.delta}]

    def _part_done(self, e: ev.PartDone) -> list[Wire]:
        where = _where(e)
        done = "response.content_part.done"
        if e.kind == "text":
            return [
                {"type": f"{self._dialect.text}.done", **where, "text": e.text},
                {"type": done, **where, "part": {"type": "text", "text": e.text}},
            ]
        return [
            {"type": f"{self._dialect.audio}.done", **where},
            {"type": f"{self._dialect.transcript}.done", **where, "transcript": e.text},
            {"type": done, **where, "part": {"type": "audio", "transcript": e.text}},
        ]

    def _arguments_delta(self, e: ev.ArgumentsDelta) -> list[Wire]:
        if e.item_id in self._approvals:
            return []
        where = {"response_id": e.response_id, "item_id": e.item_id, "output_index": e.index}
        if e.mcp:
            # The JavaScript Agents SDK drops the event without an obfuscation string.
            return [{"type": "response.mcp_call_arguments.delta", **where, "delta": e.delta, "obfuscation": ""}]
        return [{"type": "response.function_call_arguments.delta", **where, "call_id": e.call_id, "delta": e.delta}]

    def _arguments_done(self, e: ev.ArgumentsDone) -> list[Wire]:
        if e.item_id in self._approvals:
            return []
        where = {"response_id": e.response_id, "item_id": e.item_id, "output_index": e.index}
        if e.mcp:
            return [{"type": "response.mcp_call_arguments.done", **where, "arguments": e.arguments}]
        return [
            {
                "type": "response.function_call_arguments.done",
                **where,
                "call_id": e.call_id,
                "name": e.name,
                "arguments": e.arguments,
            }
        ]

    def _tool_started(self, e: ev.ToolStarted) -> list[Wire]:
        if e.item_id != e.call_id:  # only MCP calls have events of their own; their item is their call
            return []
        self._tools[e.item_id] = e.index
        return [{"type": "response.mcp_call.in_progress", "output_index": e.index, "item_id": e.item_id}]

    def _tool_finished(self, e: ev.ToolFinished) -> list[Wire]:
        index = self._tools.pop(e.item_id, None)
        if index is None:
            return []
        outcome = "failed" if e.failed else "completed"
        return [{"type": f"response.mcp_call.{outcome}", "output_index": index, "item_id": e.item_id}]

    def _playout(self, name: str) -> Callable[[Any], list[Wire]]:
        return lambda e: [{"type": name, "response_id": e.response_id}] if self._owns_playout else []

    def _response(self, view: ev.ResponseView) -> Wire:
        status, details = _outcome(view)
        format = self.format_of(view.id)
        cap = view.config.max_output_tokens
        shown: Wire = {
            "object": "realtime.response",
            "id": view.id,
            "status": status,
            "status_details": details,
            "output": [] if view.status == "in_progress" else [self._item(item) for item in view.output],
            "conversation_id": None if view.out_of_band else self._conversation_id,
            "usage": None if view.status == "in_progress" else usage_view(view.usage or Usage()),
            "max_output_tokens": "inf" if cap is None else cap,
        }
        if view.metadata:
            shown["metadata"] = dict(view.metadata)
        spoken = view.config.modality == "audio"
        if self._dialect.beta:
            temperature = 0.8 if view.config.temperature is None else view.config.temperature
            return shown | {
                "modalities": ["text", "audio"] if spoken else ["text"],
                "voice": view.config.voice,
                "output_audio_format": format,
                "temperature": temperature,
            }
        return shown | {
            "output_modalities": [view.config.modality],
            "audio": {"output": {"format": ga_format(format), "voice": view.config.voice}},
        }


def usage_view(usage: Usage) -> Wire:
    """Tokens by direction and modality (section 4.8)."""
    taken = usage.input_text_tokens + usage.input_audio_tokens + usage.input_image_tokens
    made = usage.output_text_tokens + usage.output_audio_tokens
    return {
        "total_tokens": taken + made,
        "input_tokens": taken,
        "output_tokens": made,
        "input_token_details": {
            "text_tokens": usage.input_text_tokens,
            "audio_tokens": usage.input_audio_tokens,
            "image_tokens": usage.input_image_tokens,
            "cached_tokens": usage.cached_tokens,
            "cached_tokens_details": {"text_tokens": usage.cached_tokens, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": usage.output_text_tokens, "audio_tokens": usage.output_audio_tokens},
    }


@dataclass(slots=True)
class _Unfinished:
    """What to say of an MCP call once it has its result, or of a list once it has the tools."""

    previous_item_id: str | None = None
    response_id: str | None = None
    index: int = 0


def _runs(item: Item) -> bool:
    """Whether it is an MCP call that was made and has no result yet, or a list of tools that has none."""
    if isinstance(item, McpListTools):
        return item.status == "in_progress"
    return isinstance(item, McpCall) and item.status == "completed" and item.output is None and item.error is None


def _where(e: ev.PartAdded | ev.TextDelta | ev.PartDone) -> Wire:
    return {
        "response_id": e.response_id,
        "item_id": e.item_id,
        "output_index": e.index,
        "content_index": e.content_index,
    }


def _outcome(view: ev.ResponseView) -> tuple[str, Wire | None]:
    """The status and its details."""
    if view.status in ("in_progress", "completed"):
        return view.status, None
    allowed = _REASONS.get(view.status, ())
    if view.reason in allowed:
        return view.status, {"type": view.status, "reason": view.reason}
    if view.status == "cancelled":
        return "cancelled", {"type": "cancelled", "reason": "client_cancelled"}
    error = {
        "type": "server_error",
        "code": view.reason or "server_error",
        "message": view.error or "the answer failed",
    }
    return "failed", {"type": "failed", "error": error}
