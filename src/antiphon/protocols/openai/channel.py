"""One open session and its client: events in become commands, events of the core become events out.

It knows no socket: what it sends goes to an outbox, so that a data channel or a second socket can use it as well.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Literal, cast

from antiphon.audio.formats import FormatName
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config
from antiphon.core.items import (
    INPUT_RATE,
    OUTPUT_RATE,
    AudioRef,
    FunctionCall,
    FunctionCallOutput,
    Item,
    McpApprovalResponse,
    McpCall,
    McpListTools,
    Message,
)
from antiphon.protocols.openai.codec import Ear, Voice, clip_samples, encoded
from antiphon.protocols.openai.dialect import Dialect
from antiphon.protocols.openai.errors import WireError, error_event
from antiphon.protocols.openai.events import Translator
from antiphon.protocols.openai.ids import new_id
from antiphon.protocols.openai.items import core_item
from antiphon.protocols.openai.mapping import Override, config_of, override_of
from antiphon.protocols.openai.mcp import servers_of
from antiphon.protocols.openai.outbox import Outbox
from antiphon.protocols.openai.ports import Session
from antiphon.protocols.openai.session_object import (
    SessionObject,
    beta_view,
    ga_view,
    merge_beta,
    merge_beta_transcription,
    merge_ga,
)
from antiphon.protocols.openai.session_wire import FunctionTool, McpTool, Prompt
from antiphon.protocols.openai.settings import PromptStore, RealtimeSettings, StoredPrompt
from antiphon.protocols.openai.wire import (
    Append,
    Clear,
    ClearOutput,
    Commit,
    ItemCreate,
    ItemDelete,
    ItemReference,
    ItemRetrieve,
    ItemTruncate,
    ResponseCancel,
    ResponseCreate,
    ResponseParams,
    SessionUpdate,
    TranscriptionSessionUpdate,
    decode_event,
)
from antiphon.runtime.mcp import Listing, McpServers

__all__ = ["Channel"]

_OVERRIDES = 16
"""Responses that may wait to be started with a format of their own; the core lets very few wait."""

_REFLEX_SECONDS = 5.0
"""How late after an MCP call a ``response.create`` may come to be one that clients send by themselves."""

_COMMIT_MINIMUM = INPUT_RATE // 10
"""100 ms: what a commit takes at least."""

Later = Coroutine[Any, Any, None] | None
"""What handling an event leaves to do: nothing, or a wait (for a prompt's text) that the next events stand behind."""


class Channel:
    """A client's session.

    Args:
        dialect: The words it speaks.
        settings: Defaults and limits.
        session: What the session is to be from the start; its prompt, if it names one, is in `prompt`.
        outbox: The way to the client.
        project_id: Whose session it is.
        prompts: Where prompts are looked up, or None where there are none.
        prompt: The stored prompt that `session` names.
        owns_playout: The server plays what the agent says (WebRTC): no audio in events, ``output_audio_buffer.*`` sent.
    """

    def __init__(
        self,
        dialect: Dialect,
        settings: RealtimeSettings,
        session: SessionObject,
        outbox: Outbox,
        *,
        project_id: str = "",
        prompts: PromptStore | None = None,
        prompt: StoredPrompt | None = None,
        owns_playout: bool = False,
    ) -> None:
        self._dialect = dialect
        self._settings = settings
        self._outbox = outbox
        self._project_id = project_id
        self._prompts = prompts
        self._prompt = prompt
        self._owns_playout = owns_playout
        self._session: Session = cast(Session, None)  # until attach
        self._events = Translator(dialect, settings, new_id("conv"), session, self._audio_of, owns_playout=owns_playout)
        self._ear = Ear(session.input_format, settings.max_append_bytes)
        self._voices: dict[str, Voice] = {}
        self._proposed: SessionObject | None = None
        self._mcp = McpServers(self._listed, allow_private=settings.allow_private_addresses, limits=settings.mcp)
        self._awaited: deque[float] = deque(maxlen=_OVERRIDES)
        self._listing: dict[str, str] = {}
        self._overrides: deque[Override] = deque(maxlen=_OVERRIDES)
        self._cut_short: str | None = None  # the response that a truncation ended
        self._creating: Override | None = None
        self._by_type: dict[type, Callable[[Any], Later]] = {
            SessionUpdate: self._session_update,
            TranscriptionSessionUpdate: self._transcription_session_update,
            Commit: self._commit,
            Clear: self._clear,
            ClearOutput: self._clear_output,
            ItemCreate: self._item_create,
            ItemRetrieve: self._item_retrieve,
            ItemTruncate: self._item_truncate,
            ItemDelete: self._item_delete,
            ResponseCreate: self._response_create,
            ResponseCancel: self._response_cancel,
        }

    @property
    def object(self) -> SessionObject:
        """The session as it holds now."""
        return self._events.session

    @property
    def tools(self) -> Mapping[str, Callable[..., Any]]:
        """The functions behind tools that the server runs, as the manager takes them; more may come later."""
        return self._mcp

    def config(self) -> Config:
        """The core's configuration of the session as it holds now.

        Raises:
            WireError: The prompt wants a variable that the client did not give, or a tool cannot be.
        """
        return self._config_of(self.object, self._prompt)

    def _config_of(self, session: SessionObject, prompt: StoredPrompt | None) -> Config:
        labels = {server.label for server in servers_of(session.tools)}
        taken = {tool.name for tool in session.tools if isinstance(tool, FunctionTool)}
        offered = (tool for tool in self._mcp.tools if tool.mcp_server in labels and tool.name not in taken)
        config = config_of(session, self._settings, prompt, tuple(offered))
        return replace(config, playout="server") if self._owns_playout else config

    def close(self) -> None:
        """Let go of what outlives a call: connections to MCP servers."""
        self._mcp.close()

    def attach(self, session: Session) -> None:
        """Join the running session and greet the client: ``session.created``."""
        self._session = session
        seconds = session.state.config.max_seconds  # the manager may allow less than was asked for
        self._events.session = replace(
            self.object, id=f"sess_{session.id}", expires_at=0 if seconds is None else int(time.time() + seconds)
        )
        self._send_session("created")
        self._find_tools()

    # --- from the client ----------------------------------------------------------------------------------------------

    def handle(self, data: bytes) -> Later:
        """Do what one text message asks for; what cannot be done is answered by an ``error`` event, never raised.

        Returns:
            None, or something to await before the next message is handled.
        """
        try:
            event = decode_event(data)
        except WireError as error:
            self._outbox.send(error_event(error))
            return None
        try:
            if type(event) is Append:
                pcm = self._ear.push(event.audio)
                if len(pcm):
                    self._session.hear(pcm)
                return None
            later = self._by_type[type(event)](event)
        except WireError as error:
            self._refuse(error, event.event_id)
            return None
        return None if later is None else self._later(later, event.event_id)

    async def _later(self, later: Coroutine[Any, Any, None], event_id: str | None) -> None:
        try:
            await later
        except WireError as error:
            self._refuse(error, event_id)

    def _refuse(self, error: WireError, event_id: str | None) -> None:
        error.event_id = event_id
        self._outbox.send(error_event(error))

    def _session_update(self, event: SessionUpdate) -> Later:
        merge = merge_beta if self._dialect.beta else merge_ga
        return self._propose(merge(self.object, event.session, self._settings), event.event_id)

    def _transcription_session_update(self, event: TranscriptionSessionUpdate) -> Later:
        return self._propose(merge_beta_transcription(self.object, event.session, self._settings), event.event_id)

    def _propose(self, session: SessionObject, event_id: str | None) -> Later:
        if session.prompt is not None and session.prompt != self.object.prompt:
            return self._propose_with_prompt(session, session.prompt, event_id)
        self._configure(session, self._prompt if session.prompt else None, event_id)
        return None

    async def _propose_with_prompt(self, session: SessionObject, prompt: Prompt, event_id: str | None) -> None:
        self._configure(session, await self._stored(prompt, "session.prompt"), event_id)

    async def _stored(self, prompt: Prompt, param: str) -> StoredPrompt:
        found = None
        if self._prompts is not None:
            found = await self._prompts.get(self._project_id, prompt.id, prompt.version)
        if found is None:
            version = f" in version {prompt.version!r}" if prompt.version else ""
            raise WireError("invalid_value", f"There is no prompt {prompt.id!r}{version}.", f"{param}.id")
        return found

    def _configure(self, session: SessionObject, prompt: StoredPrompt | None, event_id: str | None) -> None:
        config = self._config_of(session, prompt)
        # The core answers within the call: Configured makes the proposal hold, Rejected leaves what held.
        self._proposed = session
        self._session.do(inp.Configure, config=config, command_id=event_id)
        if self._proposed is None:
            self._prompt = prompt
            self._find_tools()
        self._proposed = None

    def _find_tools(self) -> None:
        """Ask servers that the session names anew for their tools, and say so."""
        for label in self._mcp.update(servers_of(self.object.tools)):
            self._listing[label] = item_id = new_id("mcpl")
            self._session.do(inp.AddItem, item=McpListTools(item_id, label, status="in_progress"))
            self._outbox.send({"type": "mcp_list_tools.in_progress", "item_id": item_id})

    def _listed(self, listing: Listing) -> None:
        item_id = self._listing.pop(listing.label)
        outcome = "completed" if listing.problem is None else "failed"
        self._outbox.send({"type": f"mcp_list_tools.{outcome}", "item_id": item_id})
        status: Literal["completed", "incomplete"] = "completed" if listing.problem is None else "incomplete"
        item = McpListTools(item_id, listing.label, listing.definitions, listing.problem, status)
        # A tool that has the name of one there is, of the client or of a server named before, is not offered.
        taken = {tool.name for tool in self._session.state.config.tools}
        tools = tuple(tool for tool in listing.tools if tool.name not in taken)
        self._session.do(inp.SetTools, tools=tools, listing=item)

    def _commit(self, event: Commit) -> Later:
        self._flush_ear()
        self._session.do(
            inp.CommitAudio,
            end=self._session.heard_samples,
            minimum=_COMMIT_MINIMUM,
            command_id=event.event_id,
        )
        return None

    def _clear(self, event: Clear) -> Later:
        self._flush_ear()
        self._session.do(inp.ClearAudio, end=self._session.heard_samples, command_id=event.event_id)
        return None

    def _flush_ear(self) -> None:
        tail = self._ear.flush()
        if len(tail):
            self._session.hear(tail)

    def _clear_output(self, event: ClearOutput) -> Later:
        if not self._owns_playout:
            raise WireError(
                "invalid_event", "output_audio_buffer.clear is for WebRTC and SIP: over WebSocket the client plays."
            )
        self._session.do(inp.ClearPlayout, command_id=event.event_id)
        return None

    def _item_create(self, event: ItemCreate) -> Later:
        item = core_item(event.item, self._clip)
        if self._dialect.beta and not isinstance(item, Message | FunctionCall | FunctionCallOutput):
            raise WireError("invalid_value", "Expected an item without MCP, which came after beta.", "item.type")
        self._session.do(inp.AddItem, item=item, after=event.previous_item_id, command_id=event.event_id)
        self._awaited.clear()
        if isinstance(item, McpApprovalResponse):
            self._session.do(
                inp.ApproveCall,
                approval_request_id=item.approval_request_id,
                approve=item.approve,
                command_id=event.event_id,
            )
        return None

    def _item_retrieve(self, event: ItemRetrieve) -> Later:
        self._session.do(inp.RetrieveItem, item_id=event.item_id, command_id=event.event_id)
        return None

    def _item_truncate(self, event: ItemTruncate) -> Later:
        running = self._session.state.active_response_id
        self._session.do(
            inp.TruncateItem,
            item_id=event.item_id,
            content_index=event.content_index,
            audio_end_ms=event.audio_end_ms,
            command_id=event.event_id,
        )
        if running is not None and self._session.state.active_response_id is None:
            self._cut_short = running
        return None

    def _item_delete(self, event: ItemDelete) -> Later:
        self._session.do(inp.DeleteItem, item_id=event.item_id, command_id=event.event_id)
        return None

    def _response_create(self, event: ResponseCreate) -> Later:
        if self.object.type == "transcription":
            raise WireError("invalid_value", "A transcription session makes no responses: response.create was refused.")
        if event.response is None:
            if self._awaited and self._awaited.popleft() > time.monotonic() - _REFLEX_SECONDS:
                # The answer to an MCP call comes by itself. Clients that ask for it nevertheless, once a call, as the
                # JavaScript Agents SDK does, get that one, not an error and not a second answer.
                return None
            self._session.do(inp.CreateResponse, command_id=event.event_id)
            return None
        if event.response.prompt is not None:
            return self._create_with_prompt(event.response, event.response.prompt, event.event_id)
        self._create(event.response, None, event.event_id)
        return None

    async def _create_with_prompt(self, params: ResponseParams, prompt: Prompt, event_id: str | None) -> None:
        self._create(params, await self._stored(prompt, "response.prompt"), event_id)

    def _create(self, params: ResponseParams, prompt: StoredPrompt | None, event_id: str | None) -> None:
        known = {server.label for server in servers_of(self.object.tools)}
        for n, tool in enumerate(params.tools or ()):
            if isinstance(tool, McpTool) and tool.server_label not in known:
                message = (
                    f"Expected a server that the session names: name {tool.server_label!r} by session.update first."
                )
                raise WireError("invalid_value", message, f"response.tools[{n}].server_label")
        override = override_of(params, self._session.state.config, self.object.output_format, prompt)
        context: tuple[Item, ...] | None = None
        if isinstance(params.input, list):
            context = tuple(self._input_item(item, n) for n, item in enumerate(params.input))
        self._overrides.append(override)
        self._creating = override
        self._session.do(
            inp.CreateResponse,
            config=override.config,
            out_of_band=params.conversation == "none",
            context=context,
            metadata=tuple((params.metadata or {}).items()),
            command_id=event_id,
        )
        self._creating = None

    def _input_item(self, item: Any, index: int) -> Item:
        param = f"response.input[{index}]"
        if not isinstance(item, ItemReference):
            return core_item(item, self._clip, param)
        found = self._session.state.conversation.get(item.id) if item.id else None
        if found is None:
            raise WireError("invalid_value", f"Item with id {item.id!r} does not exist.", f"{param}.id")
        return found

    def _response_cancel(self, event: ResponseCancel) -> Later:
        if ended := self._events.let_go():
            for wire in ended:
                self._outbox.send(wire)
            return None
        cut, self._cut_short = self._cut_short, None
        if cut is not None and event.response_id in (None, cut) and self._session.state.active_response_id is None:
            return None  # the Agents SDK truncates first, which ended the response: it must not be told of an error
        self._session.do(inp.CancelResponse, response_id=event.response_id, command_id=event.event_id)
        return None

    def _clip(self, data: bytes, param: str) -> AudioRef:
        pcm = clip_samples(data, self.object.input_format, self._settings.max_append_bytes, param)
        return self._session.clip(pcm)

    def _audio_of(self, ref: AudioRef, who: Literal["user", "assistant"]) -> tuple[bytes, str]:
        name = self.object.input_format if who == "user" else self.object.output_format
        rate = INPUT_RATE if who == "user" else OUTPUT_RATE
        return encoded(self._session.audio(ref), rate, name), name

    # --- from the core ------------------------------------------------------------------------------------------------

    def observe(self, event: ev.Event) -> None:
        """Tell the client what happened."""
        match event:
            case ev.AudioDelta():
                if not self._owns_playout:
                    self._speak(event)
                return
            case ev.Configured():
                self._configured()
                return
            case ev.ResponseStarted():
                self._events.formats[event.response.id] = self._format_for(event.response.config)
            case ev.PartDone(kind="audio"):
                self._hush(event)
            case ev.ItemChanged(item=McpCall()) | ev.ItemDone(item=McpCall(error=str())):
                self._awaited.append(time.monotonic())
            case ev.SpeechStarted() | ev.Committed():
                self._awaited.clear()
            case ev.Rejected():
                if self._creating is not None and self._creating in self._overrides:
                    self._overrides.remove(self._creating)
            case _:
                pass
        for wire in self._events.translate(event):
            self._outbox.send(wire)

    def _configured(self) -> None:
        session, self._proposed = self._proposed, None
        if session is None:  # tools that became known later: nothing the client wrote
            return
        self._events.session = session
        if session.input_format != self._ear.name:
            self._flush_ear()
            self._ear = Ear(session.input_format, self._settings.max_append_bytes)
        self._send_session("updated")

    def _send_session(self, what: Literal["created", "updated"]) -> None:
        if not self._dialect.beta:
            self._outbox.send({"type": f"session.{what}", "session": ga_view(self.object, self._settings)})
            return
        prefix = "transcription_session" if self.object.type == "transcription" else "session"
        self._outbox.send({"type": f"{prefix}.{what}", "session": beta_view(self.object, self._settings)})

    def _format_for(self, config: Config) -> FormatName:
        # A response that had to wait starts with the very configuration that was made for it.
        for n, override in enumerate(self._overrides):
            if override.config is config:
                del self._overrides[n]
                return override.format
        return self.object.output_format

    def _speak(self, event: ev.AudioDelta) -> None:
        voice = self._voices.get(event.item_id)
        if voice is None:
            name = cast(FormatName, self._events.format_of(event.response_id))
            voice = self._voices[event.item_id] = Voice(name, self._settings.max_delta_bytes)
        for data in voice.push(self._session.synthesized(event.job, event.start, event.end)):
            self._outbox.send_audio(self._events.audio_delta(event, data))

    def _hush(self, event: ev.PartDone) -> None:
        voice = self._voices.pop(event.item_id, None)
        if voice is None:
            return
        where = ev.AudioDelta(event.response_id, event.item_id, event.index, event.content_index, "", 0, 0)
        for data in voice.flush():
            self._outbox.send_audio(self._events.audio_delta(where, data))
