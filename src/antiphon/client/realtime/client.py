"""RealtimeClient: a conversation with a voice agent in a few calls and five events."""

from __future__ import annotations

import asyncio
import base64
import copy
import ssl as ssl_module
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from antiphon.client.realtime.api import RealtimeAPI
from antiphon.client.realtime.audio_input import AudioInput
from antiphon.client.realtime.connection import Auth, Reconnect
from antiphon.client.realtime.conversation import RealtimeConversation
from antiphon.client.realtime.errors import (
    AlreadyConnectedError,
    CallbackError,
    ConversationEventError,
    ItemKindError,
    NotConnectedError,
    ServerError,
    ToolDefinitionError,
    UnknownItemError,
)
from antiphon.client.realtime.events import RealtimeEventHandler
from antiphon.client.realtime.items import Delta, Item
from antiphon.client.realtime.models import ServerEvent, typed_event
from antiphon.client.realtime.replay import replay_items
from antiphon.client.realtime.session import (
    Dialect,
    audio_format,
    default_session,
    turn_detection_type,
    wire_session,
)
from antiphon.client.realtime.stream import EventStream
from antiphon.client.realtime.tool_calls import ToolCalls
from antiphon.client.realtime.tools import ToolBox, ToolHandler
from antiphon.client.realtime.utils import Sent, now_iso


class ConversationUpdated(NamedTuple):
    """Payload of `conversation.updated`: `item, delta = event` works too. `delta` may be None."""

    item: Item
    delta: Delta | None


class ItemEvent(NamedTuple):
    """Payload of `conversation.item.appended` and `conversation.item.completed`."""

    item: Item


class ConversationInterrupted(NamedTuple):
    """Payload of `conversation.interrupted`.

    Attributes:
        item_id: id of the user item to come.
        audio_start_ms: when the speech began, in milliseconds of the audio appended in this session.
    """

    item_id: str
    audio_start_ms: int


class Reconnected(NamedTuple):
    """Payload of `reconnected`: so many items were sent to the new session."""

    replayed: int


@dataclass(frozen=True, slots=True)
class RealtimeEvent:
    """Payload of `realtime.event`.

    Attributes:
        time: ISO 8601, UTC.
        source: `client` or `server`.
        event: the raw event.
    """

    time: str
    source: str
    event: Mapping[str, Any]

    @property
    def typed(self) -> ServerEvent:
        """A server's event as a typed object."""
        return typed_event(self.event)


class RealtimeClient(RealtimeEventHandler):
    """Talks to the OpenAI Realtime API, to Antiphon, or to any server that speaks like them.

    Methods that send act at the call; what they return may be awaited to go at the network's pace (see `Sent`).

    Events:
        conversation.updated (ConversationUpdated): any change to an item.
        conversation.item.appended (ItemEvent): after the `updated` of a new item.
        conversation.item.completed (ItemEvent): once an item is complete; always after its `appended`, once.
        conversation.interrupted (ConversationInterrupted): the user started to speak (VAD): stop the playback.
        realtime.event (RealtimeEvent): every event both ways, after the cache and the events above have it.
        error (RealtimeError): the server's errors, a lost connection, a callback that raised.
        close, reconnecting, reconnected (Closed, Reconnecting, Reconnected): the connection's life.

    Args:
        tool_timeout: seconds a tool may run; None for any time.
        url, api_key, dialect, model, auth, headers, ssl, reconnect, debug, options: see RealtimeAPI.

    Attributes:
        realtime: the connection (RealtimeAPI), for sending and receiving anything.
        conversation: the cache (RealtimeConversation).
        session_config: what update_session() has set, in its own vocabulary.
        session: the session as the server last described it, None before.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        api_key: str | None = None,
        dialect: Dialect = "ga",
        model: str | None = None,
        auth: Auth = "header",
        headers: Mapping[str, str] | None = None,
        ssl: ssl_module.SSLContext | None = None,
        reconnect: Reconnect | None = None,
        debug: bool | Callable[[str], object] = False,
        tool_timeout: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.realtime = RealtimeAPI(
            url=url,
            api_key=api_key,
            dialect=dialect,
            model=model,
            auth=auth,
            headers=headers,
            ssl=ssl,
            reconnect=reconnect,
            debug=debug,
            **options,
        )
        self.conversation = RealtimeConversation()
        self.session: dict[str, Any] | None = None
        self._toolbox = ToolBox(tool_timeout)
        self._calls = ToolCalls(self._toolbox, self.realtime.send)
        self._input = AudioInput(self.realtime.send)
        self.session_config = default_session(dialect)
        self._opened_before = False
        self._listen()

    # ------------------------------------------------------------------ connection

    def is_connected(self) -> bool:
        """Whether the socket is open."""
        return self.realtime.is_connected()

    async def connect(self, model: str | None = None, query: Mapping[str, str] | None = None) -> bool:
        """Connect and send the session's configuration. Returns True.

        Raises:
            AlreadyConnectedError: use disconnect() first.
            BadKeyError, ConnectError, RealtimeTimeoutError: see RealtimeAPI.connect.
        """
        if self.is_connected():
            raise AlreadyConnectedError("Already connected, use .disconnect() first")
        self._opened_before = False
        return await self.realtime.connect(model, query)

    async def wait_for_session_created(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the server's `session.created`; gives the session.

        Raises:
            NotConnectedError: connect() first.
            RealtimeTimeoutError: it did not come within `timeout` seconds.
            BadKeyError, ConnectionClosedError: the server closed instead.
        """
        if not self.is_connected() and not self.realtime.is_reconnecting:
            raise NotConnectedError("Not connected, use .connect() first")
        if self.session is None:
            await self.realtime.wait_for_next("server.session.created", timeout)
        return dict(self.session or {})

    async def disconnect(self) -> None:
        """Close the connection and clear the conversation; handlers, tools and configuration stay."""
        self._calls.spared = asyncio.current_task()
        await self.realtime.disconnect()
        tasks = self._calls.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._calls.spared = None
        self.session = None
        self.conversation.clear()

    async def reset(self) -> bool:
        """Disconnect and be as new: no handlers (of `realtime` neither), no tools, the default configuration."""
        await self.disconnect()
        self.clear_event_handlers()
        self.realtime.clear_event_handlers()
        self._toolbox.clear()
        self.session_config = default_session(self.realtime.dialect)
        self._input.audio_format = "pcm16"
        self._listen()
        return True

    async def __aenter__(self) -> RealtimeClient:
        await self.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.disconnect()
        for handler in (self.realtime, self):
            if not await handler.callbacks_done(timeout=5):
                await handler.cancel_callbacks()

    def __aiter__(self) -> EventStream:
        return self.realtime.events()

    def events(self, max_queue: int | None = None) -> EventStream:
        """Give an async iterator over typed server events from now on; `async for event in client` is the same.

        Args:
            max_queue: events that may wait before the client stops reading from the network; None for any number.
        """
        return self.realtime.events(max_queue)

    # ------------------------------------------------------------------ session and tools

    def get_turn_detection_type(self) -> str | None:
        """Give `server_vad`, `semantic_vad`, or None for push to talk."""
        return turn_detection_type(self.session_config)

    def update_session(self, **fields: Any) -> Sent[bool]:
        """Change the session's configuration; sent now when connected, else with connect().

        Fields that are not given stay. The whole configuration is sent each time.

        Args:
            fields: modalities, instructions, voice, input_audio_format, output_audio_format,
                input_audio_transcription, turn_detection (None for push to talk), tools, tool_choice, temperature,
                max_response_output_tokens, in both dialects (`antiphon.client.realtime.session` has the table of
                where GA puts them); and any other field of the dialect's session object.
                `tools` holds definitions for calls that the application handles itself; tools of add_tool() stay
                beside them.

        Raises:
            ToolDefinitionError: `tools` names one that add_tool() has added.
        """
        config = {**self.session_config, **copy.deepcopy(fields)}
        config["tools"] = list(config.get("tools") or [])
        tools = self._toolbox.merged_with(config["tools"])
        self.session_config = config
        self._input.audio_format = audio_format(config, "input")
        if self.is_connected():
            session = wire_session({**config, "tools": tools}, self.realtime.dialect)
            self.realtime.send("session.update", {"session": session})
        return Sent(True, self.realtime.drain)

    def add_tool(self, definition: Mapping[str, Any], handler: ToolHandler) -> Sent[dict[str, Any]]:
        """Add a tool that runs by itself; its output is sent, then a response is asked for.

        Args:
            definition: `name`, `description` and `parameters` (JSON schema).
            handler: called with the arguments by keyword; async, or plain (then in a thread). Its result goes to the
                model as JSON, an exception as `{"error": message}`.

        Raises:
            ToolDefinitionError: no name, a name that is taken, or a handler that is not callable.
        """
        for own in self.session_config["tools"]:
            if isinstance(definition, Mapping) and own.get("name") == definition.get("name"):
                raise ToolDefinitionError(f'Tool "{own["name"]}" has already been defined')
        added = self._toolbox.add(definition, handler)
        self.update_session()
        return Sent(added, self.realtime.drain)

    def remove_tool(self, name: str) -> bool:
        """Remove a tool of add_tool(). The server learns it with the next update_session(). Returns True.

        Raises:
            ToolDefinitionError: there is none of this name.
        """
        self._toolbox.remove(name)
        return True

    # ------------------------------------------------------------------ conversation

    def send_user_message_content(self, content: str | Iterable[Mapping[str, Any]] = ()) -> Sent[bool]:
        """Send a user message and ask for a response.

        Args:
            content: text, or parts: `{"type": "input_text", "text": ...}`, `{"type": "input_audio", "audio": ...}`
                with audio as for append_input_audio (or base64 text), and `rate` in Hz when it is not 24000.
                Without parts, only the response is asked for.

        Raises:
            AudioTypeError, AudioValueError: audio that cannot be sent.
            NotConnectedError: no connection.
        """
        if isinstance(content, str):
            content = [{"type": "input_text", "text": content}]
        parts = [self._wire_part(part) for part in content]
        if parts:
            item = {"type": "message", "role": "user", "content": parts}
            self.realtime.send("conversation.item.create", {"item": item})
        return self.create_response()

    def append_input_audio(self, audio: object, *, rate: int | None = None) -> Sent[bool]:
        """Append to the input audio buffer.

        Args:
            audio: bytes, bytearray or memoryview of 16-bit little-endian mono PCM, an int16 array, or a float array
                in -1..1. With a G.711 input format: bytes of that format, sent as they are.
            rate: samples a second of `audio` in Hz when that is not 24000; it is resampled as one stream until the
                audio is committed, so a chunk may come out a few milliseconds later.

        Raises:
            AudioTypeError, AudioValueError: audio that cannot be sent; the message says what is expected.
            NotConnectedError: no connection.
        """
        self._input.append(audio, rate)
        return Sent(True, self.realtime.drain)

    def create_response(self, response: Mapping[str, Any] | None = None) -> Sent[bool]:
        """Ask for a response; without turn detection, audio appended so far is committed first.

        Args:
            response: parameters of this response, in the dialect's own shape, e.g.
                `{"conversation": "none", "metadata": {...}}` for one out of band.
        """
        if self.get_turn_detection_type() is None:
            self._input.flush()
            if len(self._input.buffer):
                self.realtime.send("input_audio_buffer.commit")
        self.realtime.send("response.create", None if response is None else {"response": response})
        return Sent(True, self.realtime.drain)

    def cancel_response(self, item_id: str | None = None, sample_count: int = 0) -> Sent[Item | None]:
        """Stop the response, and cut the item being played where the listener is.

        Args:
            item_id: the assistant's item; None only cancels.
            sample_count: samples of its audio that were heard.

        Returns:
            the item, None without `item_id`.

        Raises:
            UnknownItemError: no such item.
            ItemKindError: not a message of the assistant; or it has no audio to cut (the response is cancelled then).
        """
        if item_id is None:
            self.realtime.send("response.cancel")
            return Sent(None, self.realtime.drain)
        item = self.conversation.get_item(item_id)
        if item is None:
            raise UnknownItemError(item_id)
        if item.type != "message":
            raise ItemKindError(f'Can only cancel items of type "message", "{item_id}" is a {item.type}')
        if item.role != "assistant":
            raise ItemKindError(f'Can only cancel messages of role "assistant", "{item_id}" is of {item.role}')
        if sample_count < 0:
            raise ValueError(f"expected sample_count from 0, got {sample_count}")
        self.realtime.send("response.cancel")
        kinds = [part.get("type") for part in item.content]
        index = next((i for i, kind in enumerate(kinds) if kind in ("audio", "output_audio")), None)
        if index is None:
            raise ItemKindError(f'Could not find audio on item "{item_id}" to cancel')
        audio_end_ms = sample_count * 1000 // item.formatted.sample_rate
        self.realtime.send(
            "conversation.item.truncate",
            {"item_id": item_id, "content_index": index, "audio_end_ms": audio_end_ms},
        )
        return Sent(item, self.realtime.drain)

    def delete_item(self, item_id: str) -> Sent[bool]:
        """Ask the server to delete an item; the cache follows when it says so."""
        self.realtime.send("conversation.item.delete", {"item_id": item_id})
        return Sent(True, self.realtime.drain)

    async def wait_for_next_item(self, timeout: float | None = None) -> Item:
        """Wait for the next item to be appended (errors: see wait_for_next)."""
        event: ItemEvent = await self.wait_for_next("conversation.item.appended", timeout)
        return event.item

    async def wait_for_next_completed_item(self, timeout: float | None = None) -> Item:
        """Wait for the next item to be completed (errors: see wait_for_next)."""
        event: ItemEvent = await self.wait_for_next("conversation.item.completed", timeout)
        return event.item

    # ------------------------------------------------------------------ what the server says

    def _listen(self) -> None:
        api = self.realtime
        api.on("open", self._on_open)
        api.on("ended", self._on_ended)
        for name in ("close", "reconnecting", "error"):
            api.on(name, lambda event, name=name: self.dispatch(name, event))
        api.on("server.error", self._on_server_error)
        for name in ("server.session.created", "server.session.updated"):
            api.on(name, self._on_session)
        for name in RealtimeConversation.event_types():
            api.on(f"server.{name}", self._on_conversation_event)
        api.on("server.response.done", self._on_response_done)
        api.on("client.input_audio_buffer.append", self._input.appended)
        api.on("client.input_audio_buffer.commit", self._on_commit)
        api.on("client.input_audio_buffer.clear", lambda _: self._input.buffer.take())
        api.on("client.conversation.item.create", self._on_item_create)
        for source in ("client", "server"):
            api.on(f"{source}.*", lambda event, source=source: self._log_event(source, event))

    def _log_event(self, source: str, event: Mapping[str, Any]) -> None:
        if self.has_handlers("realtime.event"):
            self.dispatch("realtime.event", RealtimeEvent(now_iso(), source, event))

    def _on_open(self, _: object) -> None:
        again, self._opened_before = self._opened_before, True
        self.session = None
        self._input.reset()
        self._calls.cancel()
        policy = self.realtime.reconnect
        items = self.conversation.get_items() if again and policy is not None and policy.replay else []
        if not items:
            self.conversation.clear()
        self.update_session()
        wires = replay_items(items, self.realtime.dialect)
        for wire in wires:
            self.realtime.send("conversation.item.create", {"item": wire})
        if again:
            self.dispatch("reconnected", Reconnected(len(wires)))

    def _on_ended(self, error: BaseException) -> None:
        self._calls.cancel()
        self._fail_waiters(error)

    def _on_session(self, event: Mapping[str, Any]) -> None:
        session = event.get("session")
        if isinstance(session, Mapping):
            self.session = dict(session)

    def _on_server_error(self, event: Mapping[str, Any]) -> None:
        event_id = ServerError.from_event(event).event_id
        if event_id is not None:
            self.conversation.drop_input_audio(event_id)

    def _on_conversation_event(self, event: Mapping[str, Any]) -> None:
        try:
            item, delta, appended, completed = self.conversation.process_event(event, self._input.buffer)
        except ConversationEventError as error:
            self.dispatch("error", error)
            return
        if event["type"] == "input_audio_buffer.speech_started":
            interrupted = ConversationInterrupted(event["item_id"], event["audio_start_ms"])
            self.dispatch("conversation.interrupted", interrupted)
        if item is None:
            return
        self.dispatch("conversation.updated", ConversationUpdated(item, delta))
        if appended:
            self.dispatch("conversation.item.appended", ItemEvent(item))
        if completed:
            self.dispatch("conversation.item.completed", ItemEvent(item))
        # Definitions of update_session(tools=...) are the application's own affair.
        own = {tool.get("name") for tool in self.session_config["tools"]}
        ready = event["type"] == "response.output_item.done" and item.status == "completed"
        if ready and item.formatted.tool is not None and item.name not in own:
            self._calls.start(item, str(event.get("response_id")))

    def _on_response_done(self, event: Mapping[str, Any]) -> None:
        response = event.get("response")
        if isinstance(response, Mapping):
            self._calls.response_done(str(response.get("id")), response.get("status"))

    # ------------------------------------------------------------------ what this client says

    def _on_commit(self, event: Mapping[str, Any]) -> None:
        audio = self._input.buffer.take()
        if audio:
            self.conversation.queue_input_audio(audio, str(event["event_id"]))

    def _on_item_create(self, event: Mapping[str, Any]) -> None:
        if event.get("previous_item_id") == "root":
            item = event.get("item")
            self.conversation.expect_first(item.get("id") if isinstance(item, Mapping) else None)

    # ------------------------------------------------------------------ helpers

    def _wire_part(self, part: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(part, Mapping):
            raise TypeError(f"expected content parts as mappings, got {type(part).__name__}")
        wire = dict(part)
        rate = wire.pop("rate", None)
        if "audio" in wire and not isinstance(wire["audio"], str):
            wire["audio"] = base64.b64encode(self._input.encode(wire["audio"], rate)).decode()
        return wire

    def _waiter_resumed(self) -> None:
        self.realtime._waiter_resumed()

    def _callback_failed(self, error: CallbackError) -> None:
        super()._callback_failed(error)
        if error.event_name != "error":
            self.dispatch("error", error)
