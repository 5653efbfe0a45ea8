"""What is supported, as tables for the documentation: ``python -m antiphon.protocols.openai.reference`` prints them.

Names and fields are read from the code; the words beside them are here, and tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from antiphon.protocols.openai.session_wire import BetaSession, BetaTranscriptionSession, GaSession
from antiphon.protocols.openai.wire import CLIENT_EVENTS

__all__ = ["SERVER_EVENTS", "ServerEvent", "tables"]


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """A row of the table of server events.

    Attributes:
        ga: Its name, or None where GA has none.
        beta: Its name in the beta dialect, or None.
        note: When it is sent.
    """

    ga: str | None
    beta: str | None
    note: str


def _same(name: str, note: str) -> ServerEvent:
    return ServerEvent(name, name, note)


def _stream(kind: str, note: str) -> tuple[ServerEvent, ServerEvent]:
    return (
        ServerEvent(f"response.output_{kind}.delta", f"response.{kind}.delta", note),
        ServerEvent(f"response.output_{kind}.done", f"response.{kind}.done", "The stream is over."),
    )


_TRANSCRIPTION = "conversation.item.input_audio_transcription"

SERVER_EVENTS: tuple[ServerEvent, ...] = (
    _same("session.created", "First, once the key was found good."),
    _same("session.updated", "After each accepted update, with every field at its effective value."),
    ServerEvent(None, "transcription_session.created", "First, in a transcription session."),
    ServerEvent(None, "transcription_session.updated", "After each accepted update of one."),
    ServerEvent("conversation.item.added", "conversation.item.created", "An item is in the conversation."),
    ServerEvent("conversation.item.done", None, "The item is final."),
    _same("conversation.item.retrieved", "With the audio that is still kept."),
    _same("conversation.item.deleted", "After a deletion."),
    _same("conversation.item.truncated", "With the milliseconds that count: at most the item's audio."),
    _same(f"{_TRANSCRIPTION}.delta", "The words of the user; the deltas add up to the transcript."),
    _same(f"{_TRANSCRIPTION}.completed", "With usage in seconds. Before `response.created`."),
    _same(f"{_TRANSCRIPTION}.failed", "Instead, when no words could be had."),
    _same("input_audio_buffer.speech_started", "60 ms of voice were heard; interrupts a running answer."),
    _same("input_audio_buffer.speech_stopped", "The turn is over."),
    _same("input_audio_buffer.committed", "The buffer became a user item."),
    _same("input_audio_buffer.cleared", "After a clear, also of an empty buffer."),
    ServerEvent("input_audio_buffer.timeout_triggered", None, "Nobody spoke for `idle_timeout_ms`."),
    _same("output_audio_buffer.started", "WebRTC: the answer is heard from here on."),
    _same("output_audio_buffer.stopped", "WebRTC: everything of it was heard."),
    _same("output_audio_buffer.cleared", "WebRTC: the rest of it was thrown away."),
    _same("response.created", "`output` is empty."),
    _same("rate_limits.updated", "Right after, with the configured rows, or none."),
    _same("response.output_item.added", "In progress, without content."),
    _same("response.content_part.added", "Of type `text` or `audio`, empty."),
    *_stream("text", "Words, when the answer is written."),
    *_stream("audio_transcript", "Words, when the answer is spoken; they run ahead of the audio."),
    *_stream("audio", "Base64 in the response's format, each below 1 MiB."),
    _same("response.content_part.done", "The whole part."),
    _same("response.function_call_arguments.delta", "As the model writes them."),
    _same("response.function_call_arguments.done", "With the function's name."),
    ServerEvent("mcp_list_tools.in_progress", None, "An MCP server is asked for its tools."),
    ServerEvent("mcp_list_tools.completed", None, "They are known; the item holds them."),
    ServerEvent("mcp_list_tools.failed", None, "They could not be had."),
    ServerEvent("response.mcp_call_arguments.delta", None, "Likewise, of a tool on an MCP server."),
    ServerEvent("response.mcp_call_arguments.done", None, "Likewise."),
    ServerEvent("response.mcp_call.in_progress", None, "The server runs the tool."),
    ServerEvent("response.mcp_call.completed", None, "It returned."),
    ServerEvent("response.mcp_call.failed", None, "It failed; the model is told why."),
    _same("response.output_item.done", "Completed, or incomplete when it was cut short."),
    _same("response.done", "Exactly once for each response, whatever became of it, with usage."),
    _same("error", "With the `event_id` of what caused it; the session goes on unless a close follows."),
)

_CLIENT_NOTES: Mapping[str, str] = {
    "session.update": "Only present keys change; null clears; `turn_detection`, `transcription`, `tools` change whole.",
    "transcription_session.update": "Beta's way to configure a transcription session.",
    "input_audio_buffer.append": "Base64, up to 15 MiB decoded, whole samples.",
    "input_audio_buffer.commit": "At least 100 ms. Makes a user item, and no answer.",
    "input_audio_buffer.clear": "Forgets the buffer and the turn in it.",
    "output_audio_buffer.clear": "WebRTC only; an error over WebSocket, where the client plays.",
    "conversation.item.create": "At the end, after an item, or first (`root`).",
    "conversation.item.retrieve": "Audio is kept for half a minute after its last use.",
    "conversation.item.truncate": "Cut to what was played; more than there is counts as all of it.",
    "conversation.item.delete": "Any item.",
    "response.create": "With overrides for this answer; `conversation: none` runs beside the conversation.",
    "response.cancel": "The running answer, or any by its id.",
}

_NO_EFFECT: Mapping[str, str] = {
    "model": "shown; counts only when the session starts",
    "tracing": "shown; nothing is traced",
    "include": "shown; log probabilities are not had from these engines",
    "reasoning": "shown; left to the model",
    "noise_reduction": "shown; the voice detector copes without",
    "input_audio_noise_reduction": "shown; the voice detector copes without",
}


def tables() -> str:
    """The three tables, in Markdown."""
    return "\n\n".join(
        [
            "### Client events\n\n" + _table(("event", "fields", "notes"), _client_rows()),
            "### Server events\n\n" + _table(("GA", "beta", "when"), _server_rows()),
            "### Session fields\n\n" + _table(("field", "takes", "where", "notes"), _session_rows()),
        ]
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _client_rows() -> Iterable[tuple[str, ...]]:
    for event in CLIENT_EVENTS:
        name = str(event.__struct_config__.tag)
        fields = [
            f"`{f.name}`" + ("" if f.default is msgspec.NODEFAULT else "?")
            for f in msgspec.structs.fields(event)
            if f.name != "event_id"
        ]
        yield f"`{name}`", ", ".join(fields) or "none", _CLIENT_NOTES[name]


def _server_rows() -> Iterable[tuple[str, ...]]:
    for event in SERVER_EVENTS:
        beta = "same" if event.ga == event.beta else _code(event.beta)
        yield _code(event.ga), beta, event.note


def _session_rows() -> Iterable[tuple[str, ...]]:
    for where, session in (("GA", GaSession), ("beta", BetaSession), ("beta transcription", BetaTranscriptionSession)):
        for path, kind in _fields(session):
            yield f"`{path}`", kind, where, _NO_EFFECT.get(path.rsplit(".", 1)[-1], "")


def _fields(struct: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    for field in msgspec.structs.fields(struct):
        nested = [k for k in _members(field.type) if _is_struct(k) and k.__name__.startswith("Ga")]
        if nested and nested[0].__name__ != "GaFormat":
            yield from _fields(nested[0], f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, " or ".join(dict.fromkeys(_kind(k) for k in _members(field.type)))


def _members(type: Any) -> list[Any]:
    """The alternatives of a type, without the sign for absent."""
    if hasattr(type, "__metadata__"):
        return [type]
    if get_origin(type) in (Union, UnionType):
        return [m for part in get_args(type) for m in _members(part) if m is not msgspec.UnsetType]
    return [type]


def _kind(type: Any) -> str:
    if type is None or type is None.__class__:
        return "null"
    if hasattr(type, "__metadata__"):
        meta = type.__metadata__[0]
        bounds = f"{_number(meta.ge)} to {_number(meta.le)}" if meta.ge is not None and meta.le is not None else ""
        return f"{_kind(type.__origin__)} {bounds}".strip()
    if _is_struct(type):
        return "format" if type.__name__ == "GaFormat" else "object"
    origin = get_origin(type)
    if origin is list:
        return "list"
    if origin is not None:
        return ", ".join(f"`{value}`" for value in get_args(type))
    names = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
    return names.get(getattr(type, "__name__", ""), str(type))


def _number(value: float | None) -> str:
    return f"{value:g}" if value is not None else ""


def _is_struct(type: Any) -> bool:
    return isinstance(type, msgspec.StructMeta)


def _code(name: str | None) -> str:
    return "none" if name is None else f"`{name}`"


if __name__ == "__main__":
    print(tables())
