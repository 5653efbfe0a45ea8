"""The client's cache of the conversation: server events in, items out. No socket, no clock, no task."""

from __future__ import annotations

import base64
import binascii
import copy
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from antiphon.client.realtime.errors import ConversationEventError
from antiphon.client.realtime.input_buffer import InputAudioBuffer
from antiphon.client.realtime.items import AUDIO_PARTS, TEXT_PARTS, Delta, Item, Response, Tool
from antiphon.client.realtime.session import audio_format

T = TypeVar("T")
Event = Mapping[str, Any]
FINAL = ("completed", "incomplete")
QUEUE_LIMIT = 256
"""Speech and transcripts kept for items that never came."""


class ConversationChange(NamedTuple):
    """What an event did to the cache.

    Attributes:
        item: the item it was about, None when nothing in the conversation changed.
        delta: what was added to it, or None.
        appended: the item is new in the conversation.
        completed: the item's status became `completed` with this event.
    """

    item: Item | None = None
    delta: Delta | None = None
    appended: bool = False
    completed: bool = False


NOTHING = ConversationChange()


@dataclass(slots=True)
class _Speech:
    start_ms: int
    audio: bytes = b""


class RealtimeConversation:
    """Items and responses as the server tells them, in either dialect.

    Events come in through `process_event`. It validates first and changes then: an event that does not fit raises
    ConversationEventError and leaves the cache as it was. Speech and transcripts may come before their item. Items of
    an out-of-band response are kept with their response only.

    Attributes:
        input_format, output_format: pcm16, g711_ulaw or g711_alaw, as the session events say.
    """

    def __init__(self) -> None:
        self.input_format = "pcm16"
        self.output_format = "pcm16"
        self.clear()

    def clear(self) -> bool:
        """Forget everything. Returns True."""
        self._items: list[Item] = []
        self._lookup: dict[str, Item] = {}
        self._detached: dict[str, Item] = {}
        self._finished: set[str] = set()
        self._responses: dict[str, Response] = {}
        self._speech: dict[str, _Speech] = {}
        self._transcripts: dict[str, dict[int, str]] = {}
        self._input_audio: deque[tuple[str | None, bytes]] = deque()
        self._expected_first: list[str | None] = []
        return True

    def get_item(self, item_id: str) -> Item | None:
        """Give the item with this id, None when it is not in the conversation."""
        return self._lookup.get(item_id)

    def get_items(self) -> list[Item]:
        """Give the items in their order, in a new list."""
        return list(self._items)

    def get_response(self, response_id: str) -> Response | None:
        """Give the response with this id, out-of-band ones too; None when there is none."""
        return self._responses.get(response_id)

    def get_responses(self) -> list[Response]:
        """Give the responses in the order they began, in a new list."""
        return list(self._responses.values())

    def queue_input_audio(self, audio: bytes, key: str | None = None) -> bytes:
        """Keep committed audio (in `input_format`) for the user item that comes of it. Returns it.

        Args:
            audio: what was committed.
            key: event_id of the commit, for `drop_input_audio`.
        """
        self._input_audio.append((key, audio))
        return audio

    def drop_input_audio(self, key: str) -> None:
        """Forget the audio of a commit that the server refused."""
        self._input_audio = deque(entry for entry in self._input_audio if entry[0] != key)

    def expect_first(self, item_id: str | None = None) -> None:
        """Say that an item was created with `previous_item_id: root`: its event has a null predecessor."""
        self._expected_first.append(item_id)

    @staticmethod
    def event_types() -> tuple[str, ...]:
        """Give the types of events that `process_event` takes."""
        return tuple(_PROCESSORS)

    @staticmethod
    def handles(event_type: str) -> bool:
        """Whether `process_event` takes events of this type."""
        return event_type in _PROCESSORS

    def process_event(self, event: Event, input_audio: InputAudioBuffer | None = None) -> ConversationChange:
        """Apply one server event.

        Args:
            event: as it came; not changed, and nothing of it is shared.
            input_audio: what this client appended; a user's item gets its audio from it.

        Raises:
            ConversationEventError: no `event_id` or `type`, a type without a rule here, an item the cache does not
                know, or a field that is not what the contract says. The cache did not change.
        """
        if not isinstance(event, Mapping):
            raise ConversationEventError(f"expected an event object, got {type(event).__name__}", event)
        _get(event, "event_id", str)
        event_type = _get(event, "type", str)
        processor = _PROCESSORS.get(event_type)
        if processor is None:
            raise ConversationEventError(f'no rule for events of type "{event_type}"', event)
        if event_type == "input_audio_buffer.speech_stopped":
            return self._speech_stopped(event, input_audio)
        return processor(self, event)

    # ------------------------------------------------------------------ items

    def _item_added(self, event: Event) -> ConversationChange:
        wire = _wire_item(event)
        known = self._lookup.get(wire["id"])
        if known is not None:  # said before, or replayed after a reconnection
            return ConversationChange(known, completed=self._merge(known, wire, final=False))
        item = self._detached.pop(wire["id"], None)
        if item is None:
            item = self._new_item(wire)
        else:
            self._merge(item, wire, final=False)
        self._insert(item, event)
        self._attach_waiting(item)
        if item.status in FINAL:
            item.formatted.write_file()
        return ConversationChange(item, appended=True, completed=item.status == "completed")

    def _item_done(self, event: Event) -> ConversationChange:
        wire = _wire_item(event)
        item = self._lookup.get(wire["id"])
        if item is None:
            wire_status = wire.get("status")
            change = self._item_added(event)
            added = change.item
            assert added is not None
            completed = self._merge(added, {**wire, "status": wire_status or "completed"}, final=True)
            return ConversationChange(added, appended=True, completed=change.completed or completed)
        completed = self._merge(item, {**wire, "status": wire.get("status") or "completed"}, final=True)
        return ConversationChange(item, completed=completed)

    def _item_retrieved(self, event: Event) -> ConversationChange:
        wire = _wire_item(event)
        item = self._lookup.get(wire["id"])
        if item is None:
            return self._item_added(event)
        audio = _audio_of(wire)
        completed = self._merge(item, wire, final=item.id in self._finished)
        if audio and not item.formatted.audio_bytes:
            item.formatted.append_audio(audio)
            item.formatted.write_file()
        return ConversationChange(item, completed=completed)

    def _item_deleted(self, event: Event) -> ConversationChange:
        item = self._known(event, attached=True)
        self._items.remove(item)
        del self._lookup[item.id]
        self._finished.discard(item.id)
        return ConversationChange(item)

    def _item_truncated(self, event: Event) -> ConversationChange:
        item = self._known(event)
        index = _index(event)
        ms = _get(event, "audio_end_ms", int)
        if ms < 0:
            raise ConversationEventError(f"expected audio_end_ms from 0, got {ms}", event)
        item.truncated_ms = ms
        part = item.part(index)
        if part is not None and "transcript" in part:
            part["transcript"] = ""
        item.formatted.transcript = ""
        item.formatted.cut_audio(ms)
        if item.status in FINAL:
            item.formatted.write_file()
        return self._change(item)

    # ------------------------------------------------------------------ the user's audio

    def _speech_started(self, event: Event) -> ConversationChange:
        item_id, ms = _get(event, "item_id", str), _get(event, "audio_start_ms", int)
        if item_id not in self._lookup:
            self._speech[item_id] = _Speech(ms)
            _bound(self._speech)
        return NOTHING

    def _speech_stopped(self, event: Event, input_audio: InputAudioBuffer | None = None) -> ConversationChange:
        item_id, ms = _get(event, "item_id", str), _get(event, "audio_end_ms", int)
        speech = self._speech.setdefault(item_id, _Speech(ms))
        if input_audio is not None:
            speech.audio = input_audio.slice(speech.start_ms, ms)
        item = self._lookup.get(item_id)
        if item is None:
            _bound(self._speech)
            return NOTHING
        self._attach_waiting(item)
        return ConversationChange(item)

    def _committed(self, event: Event) -> ConversationChange:
        item_id = _get(event, "item_id", str)
        if self._input_audio and item_id not in self._speech and item_id not in self._lookup:
            _, audio = self._input_audio.popleft()
            self._speech[item_id] = _Speech(0, audio)
            _bound(self._speech)
        return NOTHING

    def _transcription_delta(self, event: Event) -> ConversationChange:
        return self._transcribe(event, _get(event, "delta", str), more=True)

    def _transcription_completed(self, event: Event) -> ConversationChange:
        return self._transcribe(event, _get(event, "transcript", str), more=False)

    def _transcribe(self, event: Event, text: str, *, more: bool) -> ConversationChange:
        item_id, index = _get(event, "item_id", str), _index(event)
        item = self._lookup.get(item_id)
        if item is None:
            queue = self._transcripts.setdefault(item_id, {})
            queue[index] = queue.get(index, "") + text if more else text
            _bound(self._transcripts)
            return NOTHING
        part = self._part(item, index, "input_audio", event)
        part["transcript"] = (part.get("transcript") or "") + text if more else text
        _refresh(item)
        if not more:
            # The audio had no words: a space tells "transcribed" from "not yet", as in the reference client.
            item.formatted.transcript = item.formatted.transcript or " "
        return ConversationChange(item, Delta(transcript=text))

    def _transcription_failed(self, event: Event) -> ConversationChange:
        item_id = _get(event, "item_id", str)
        self._transcripts.pop(item_id, None)
        return ConversationChange(self._lookup.get(item_id))

    # ------------------------------------------------------------------ responses

    def _response_created(self, event: Event) -> ConversationChange:
        raw = _object(event, "response")
        self._response(_get(raw, "id", str)).raw = copy.deepcopy(dict(raw))
        return NOTHING

    def _response_done(self, event: Event) -> ConversationChange:
        raw = _object(event, "response")
        response = self._response(_get(raw, "id", str))
        response.raw = copy.deepcopy(dict(raw))
        changed = None
        for item in response.output:
            if item.status == "in_progress":
                # Every item is closed before response.done; a server that did not say how left it incomplete.
                item.raw["status"] = "incomplete"
                item.formatted.write_file()
                changed = item if item.id in self._lookup else changed
            self._finished.add(item.id)
            self._detached.pop(item.id, None)
        return ConversationChange(changed)

    def _output_item_added(self, event: Event) -> ConversationChange:
        response_id, wire = _get(event, "response_id", str), _wire_item(event)
        item = self._lookup.get(wire["id"]) or self._detached.get(wire["id"])
        if item is None:
            item = self._detached[wire["id"]] = self._new_item(wire)
            _bound(self._detached)
        output = self._response(response_id).output
        if item not in output:
            output.append(item)
        return NOTHING

    def _output_item_done(self, event: Event) -> ConversationChange:
        wire = _wire_item(event)
        item = self._lookup.get(wire["id"]) or self._detached.get(wire["id"])
        if item is None:
            raise ConversationEventError(f'{event["type"]}: item "{wire["id"]}" not found', event)
        completed = self._merge(item, {**wire, "status": wire.get("status") or "completed"}, final=True)
        if item.id not in self._lookup:
            return NOTHING
        return ConversationChange(item, completed=completed)

    def _part_added(self, event: Event) -> ConversationChange:
        item, index = self._known(event), _index(event)
        wire = dict(_object(event, "part"))
        kind = _get(wire, "type", str)
        if item.id in self._finished:
            return NOTHING
        part = self._part(item, index, kind, event)
        for key in ("text", "transcript"):
            if isinstance(wire.get(key), str) and not part.get(key):
                part[key] = wire[key]
        _refresh(item)
        return NOTHING

    def _text_delta(self, event: Event) -> ConversationChange:
        delta = _get(event, "delta", str)
        item = self._grow(event, "text", delta)
        return self._change(item, Delta(text=delta)) if item else NOTHING

    def _transcript_delta(self, event: Event) -> ConversationChange:
        delta = _get(event, "delta", str)
        item = self._grow(event, "transcript", delta)
        return self._change(item, Delta(transcript=delta)) if item else NOTHING

    def _audio_delta(self, event: Event) -> ConversationChange:
        audio = _base64(_get(event, "delta", str), event)
        item = self._grow(event, "transcript", "")
        if item is None:
            return NOTHING
        item.formatted.append_audio(audio)
        return self._change(item, Delta(audio_bytes=audio, audio_format=item.formatted.audio_format))

    def _text_done(self, event: Event) -> ConversationChange:
        return self._settle(event, "text", _get(event, "text", str))

    def _transcript_done(self, event: Event) -> ConversationChange:
        return self._settle(event, "transcript", _get(event, "transcript", str))

    def _arguments_delta(self, event: Event) -> ConversationChange:
        item, delta = self._known(event), _get(event, "delta", str)
        tool = item.formatted.tool
        if tool is None:
            raise ConversationEventError(f'expected a function_call, item "{item.id}" is a {item.type}', event)
        if item.id in self._finished:
            return NOTHING
        tool.arguments += delta
        item.raw["arguments"] = tool.arguments
        return self._change(item, Delta(arguments=delta))

    def _arguments_done(self, event: Event) -> ConversationChange:
        item, arguments = self._known(event), _get(event, "arguments", str)
        tool = item.formatted.tool
        if tool is None:
            raise ConversationEventError(f'expected a function_call, item "{item.id}" is a {item.type}', event)
        if tool.arguments == arguments or item.id in self._finished:
            return NOTHING
        tool.arguments = item.raw["arguments"] = arguments
        return self._change(item)

    def _session(self, event: Event) -> ConversationChange:
        session = _object(event, "session")
        self.input_format = audio_format(session, "input")
        self.output_format = audio_format(session, "output")
        return NOTHING

    # ------------------------------------------------------------------ helpers

    def _new_item(self, wire: dict[str, Any]) -> Item:
        by_user = wire.get("role") == "user"
        item = Item(wire, self.input_format if by_user else self.output_format)
        audio = _audio_of(wire)
        if audio:
            item.formatted.append_audio(audio)
        if by_user or wire["type"] == "function_call_output":
            wire["status"] = "completed"
        elif wire.get("status") not in FINAL:
            # What the model writes is in progress until it is done; a system message has nothing to wait for.
            wire["status"] = "completed" if wire.get("role") == "system" else "in_progress"
        if wire["type"] == "message":
            wire.setdefault("content", [])
        elif wire["type"] == "function_call":
            wire["arguments"] = wire.get("arguments") or ""
            name, call_id = str(wire.get("name") or ""), str(wire.get("call_id") or "")
            item.formatted.tool = Tool(name, call_id, wire["arguments"])
        elif wire["type"] == "function_call_output":
            item.formatted.output = str(wire.get("output") or "")
        _refresh(item)
        return item

    def _insert(self, item: Item, event: Event) -> None:
        previous = event.get("previous_item_id")
        position = len(self._items)
        if previous == "root":
            position = 0
        elif isinstance(previous, str) and previous in self._lookup:
            position = self._items.index(self._lookup[previous]) + 1
        elif previous is None and self._expected_first:
            # Null means "first" only where we asked for it: some servers send null for every item.
            key = item.id if item.id in self._expected_first else None
            if key in self._expected_first:
                self._expected_first.remove(key)
                position = 0
        self._items.insert(position, item)
        self._lookup[item.id] = item

    def _attach_waiting(self, item: Item) -> None:
        """Give the item what came before it: speech, committed audio, transcripts."""
        speech = self._speech.pop(item.id, None)
        audio = speech.audio if speech else b""
        takes_audio = item.role == "user" and (
            not item.content or any(part.get("type") == "input_audio" for part in item.content)
        )
        if speech is None and takes_audio and self._input_audio:
            _, audio = self._input_audio.popleft()
        if audio and not item.formatted.audio_bytes:
            item.formatted.append_audio(audio)
            item.formatted.write_file()
        for index, transcript in sorted(self._transcripts.pop(item.id, {}).items()):
            part = item.part(index)
            if part is None and index == len(item.content):
                part = {"type": "input_audio"}
                item.content.append(part)
            if part is not None:
                part["transcript"] = transcript
                _refresh(item)
                item.formatted.transcript = item.formatted.transcript or " "

    def _merge(self, item: Item, wire: dict[str, Any], *, final: bool) -> bool:
        """Take what the wire knows better. Returns whether the item became completed."""
        before = item.status
        if item.id not in self._finished and item.truncated_ms is None:
            self._merge_content(item, wire.get("content") or [], final=final)
            if item.formatted.tool is not None:
                tool = item.formatted.tool
                tool.name = str(wire.get("name") or tool.name)
                tool.call_id = str(wire.get("call_id") or tool.call_id)
                tool.arguments = str(wire.get("arguments") or tool.arguments)
                item.raw |= {"name": tool.name, "call_id": tool.call_id, "arguments": tool.arguments}
        if final:
            for key, value in wire.items():
                if key not in ("content", "status", "id", "type", "role", "name", "call_id", "arguments"):
                    item.raw[key] = value
        status = wire.get("status")
        if status in FINAL and before != "completed":
            item.raw["status"] = status
        if final:
            self._finished.add(item.id)
        if item.status in FINAL and (final or before not in FINAL):
            item.formatted.write_file()
        return before != "completed" and item.status == "completed"

    def _merge_content(self, item: Item, wire_parts: list[dict[str, Any]], *, final: bool) -> None:
        if not wire_parts or (item.content and not final):
            return
        merged = []
        for index, wire_part in enumerate(wire_parts):
            own = item.part(index) or {}
            part = {key: value for key, value in wire_part.items() if key != "audio"}
            for key in ("text", "transcript"):
                if not part.get(key) and own.get(key) is not None:
                    part[key] = own[key]
            merged.append(part)
        item.raw["content"] = merged
        _refresh(item)

    def _known(self, event: Event, *, attached: bool = False) -> Item:
        item_id = _get(event, "item_id", str)
        item = self._lookup.get(item_id) or (None if attached else self._detached.get(item_id))
        if item is None:
            raise ConversationEventError(f'{event["type"]}: item "{item_id}" not found', event)
        return item

    def _part(self, item: Item, index: int, kind: str, event: Event) -> dict[str, Any]:
        part = item.part(index)
        if part is not None:
            return part
        if item.type != "message":
            raise ConversationEventError(f'expected a message, item "{item.id}" is a {item.type}', event)
        if index != len(item.content):
            raise ConversationEventError(
                f'expected content_index up to {len(item.content)} for item "{item.id}", got {index}', event
            )
        part = {"type": kind, "text": ""} if kind in TEXT_PARTS else {"type": kind, "transcript": ""}
        item.content.append(part)
        return part

    def _grow(self, event: Event, key: str, delta: str) -> Item | None:
        """Add to a part. None when the item takes nothing more: it is done, or was cut."""
        item, index = self._known(event), _index(event)
        if item.id in self._finished or (item.truncated_ms is not None and key == "transcript"):
            return None
        part = self._part(item, index, "text" if key == "text" else "audio", event)
        if delta:
            part[key] = (part.get(key) or "") + delta
            _refresh(item)
        return item

    def _settle(self, event: Event, key: str, value: str) -> ConversationChange:
        """Take the final text of a part, when deltas did not give it."""
        item, index = self._known(event), _index(event)
        if item.id in self._finished or (item.truncated_ms is not None and key == "transcript"):
            return NOTHING
        part = self._part(item, index, "text" if key == "text" else "audio", event)
        if part.get(key) == value:
            return NOTHING
        part[key] = value
        _refresh(item)
        return self._change(item)

    def _change(self, item: Item, delta: Delta | None = None) -> ConversationChange:
        return ConversationChange(item, delta) if item.id in self._lookup else NOTHING

    def _response(self, response_id: str) -> Response:
        return self._responses.setdefault(response_id, Response({"id": response_id, "status": "in_progress"}))


def _get(source: Mapping[str, Any], key: str, kind: type[T]) -> T:
    value = source.get(key)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    if key not in source:
        raise ConversationEventError(f'Missing "{key}" in {source.get("type", "event")}', source)
    raise ConversationEventError(f'expected "{key}" as {kind.__name__}, got {type(value).__name__}', source)


def _object(source: Event, key: str) -> Event:
    value = source.get(key)
    if not isinstance(value, Mapping):
        raise ConversationEventError(f'expected "{key}" as an object, got {type(value).__name__}', source)
    return value


def _index(event: Event) -> int:
    index = _get(event, "content_index", int) if "content_index" in event else 0
    if index < 0:
        raise ConversationEventError(f"expected content_index from 0, got {index}", event)
    return index


def _wire_item(event: Event) -> dict[str, Any]:
    """Give a copy of the event's item, after looking that the cache can hold it."""
    wire = _object(event, "item")
    _get(wire, "id", str)
    _get(wire, "type", str)
    content = wire.get("content")
    if content is not None and not (isinstance(content, list) and all(isinstance(p, Mapping) for p in content)):
        raise ConversationEventError('expected "content" as a list of objects', event)
    for part in content or ():
        for key in ("text", "transcript"):
            if part.get(key) is not None:
                _get(part, key, str)
        if part.get("audio") is not None:
            _base64(_get(part, "audio", str), event)
    for key in ("arguments", "name", "call_id", "status"):
        if wire.get(key) is not None:
            _get(wire, key, str)
    item = copy.deepcopy(dict(wire))
    if content is None:
        item.pop("content", None)
    return item


def _audio_of(wire: dict[str, Any]) -> bytes:
    """Take the audio out of the parts: it lives in `formatted`, not in the raw item."""
    return b"".join(base64.b64decode(part.pop("audio") or "") for part in wire.get("content", ()) if "audio" in part)


def _base64(text: str, event: Event) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConversationEventError(f"expected base64 audio: {error}", event) from error


def _refresh(item: Item) -> None:
    """Make the formatted texts what the parts say."""
    parts = item.raw.get("content", ())
    item.formatted.text = "".join(p.get("text") or "" for p in parts if p.get("type") in TEXT_PARTS)
    transcript = "".join(p.get("transcript") or "" for p in parts if p.get("type") in AUDIO_PARTS)
    if transcript or item.formatted.transcript != " ":
        item.formatted.transcript = transcript


def _bound(queue: dict[str, Any]) -> None:
    while len(queue) > QUEUE_LIMIT:
        del queue[next(iter(queue))]


_C = RealtimeConversation
_PROCESSORS: dict[str, Callable[[RealtimeConversation, Event], ConversationChange]] = {
    "session.created": _C._session,
    "session.updated": _C._session,
    "conversation.item.created": _C._item_added,  # beta
    "conversation.item.added": _C._item_added,
    "conversation.item.done": _C._item_done,
    "conversation.item.retrieved": _C._item_retrieved,
    "conversation.item.deleted": _C._item_deleted,
    "conversation.item.truncated": _C._item_truncated,
    "conversation.item.input_audio_transcription.delta": _C._transcription_delta,
    "conversation.item.input_audio_transcription.completed": _C._transcription_completed,
    "conversation.item.input_audio_transcription.failed": _C._transcription_failed,
    "input_audio_buffer.speech_started": _C._speech_started,
    "input_audio_buffer.speech_stopped": _C._speech_stopped,
    "input_audio_buffer.committed": _C._committed,
    "response.created": _C._response_created,
    "response.done": _C._response_done,
    "response.output_item.added": _C._output_item_added,
    "response.output_item.done": _C._output_item_done,
    "response.content_part.added": _C._part_added,
    "response.text.delta": _C._text_delta,  # beta
    "response.output_text.delta": _C._text_delta,
    "response.audio.delta": _C._audio_delta,  # beta
    "response.output_audio.delta": _C._audio_delta,
    "response.audio_transcript.delta": _C._transcript_delta,  # beta
    "response.output_audio_transcript.delta": _C._transcript_delta,
    "response.text.done": _C._text_done,  # beta
    "response.output_text.done": _C._text_done,
    "response.audio_transcript.done": _C._transcript_done,  # beta
    "response.output_audio_transcript.done": _C._transcript_done,
    "response.function_call_arguments.delta": _C._arguments_delta,
    "response.function_call_arguments.done": _C._arguments_done,
}
