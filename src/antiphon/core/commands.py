"""What clients ask for. An illegal command is told why, and changes nothing (invariant 9)."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from antiphon.core import answering, hearing, response, turn
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config
from antiphon.core.conversation import ROOT
from antiphon.core.effects import RunTool
from antiphon.core.items import (
    INPUT_RATE,
    Audio,
    FunctionCallOutput,
    McpApprovalRequest,
    McpCall,
    McpListTools,
    Message,
)
from antiphon.core.state import Clock, Pending, Utterance, Want, Work


def command(w: Work, c: inp.Command) -> None:
    """Carry out one command, or reject it."""
    match c:
        case inp.Configure():
            _configure(w, c)
        case inp.SetTools():
            _set_tools(w, c)
        case inp.AddItem():
            _add(w, c)
        case inp.DeleteItem():
            _delete(w, c)
        case inp.RetrieveItem():
            item = w.s.conversation.get(c.item_id)
            if item is None:
                _unknown_item(w, c, c.item_id, "item_retrieve_invalid_item_id")
            else:
                w.emit(ev.ItemRetrieved(item, c.command_id))
        case inp.TruncateItem():
            _truncate(w, c)
        case inp.CommitAudio():
            _commit(w, c)
        case inp.ClearAudio():
            hearing.reset(w, "cleared")
            w.s.buffer_from = max(w.s.buffer_from, c.end)
            w.emit(ev.InputCleared())
        case inp.ClearPlayout():
            _clear_playout(w)
        case inp.CreateResponse():
            _create(w, c)
        case inp.CancelResponse():
            _cancel(w, c)
        case inp.ApproveCall():
            _approve(w, c)
        case _:
            assert_never(c)


def _reject(w: Work, c: inp.Command, code: str, message: str, param: str | None = None) -> None:
    w.emit(ev.Rejected(c.command_id, code, message, param))


def _unknown_item(w: Work, c: inp.Command, item_id: str, code: str, param: str = "item_id") -> None:
    _reject(w, c, code, f"Item with id {item_id!r} does not exist in the conversation.", param)


_VOICE_LOCKED = "Cannot update a conversation's voice if assistant audio is present."


def _locked(w: Work, config: Config) -> bool:
    """Whether the configuration wants another voice than the one that was heard."""
    return w.s.config.lock_voice and w.s.voice_used and config.voice != w.s.config.voice


# --- configuration ----------------------------------------------------------------------------------------------------


def _configure(w: Work, c: inp.Configure) -> None:
    s = w.s
    if _locked(w, c.config):
        return _reject(w, c, "cannot_update_voice", _VOICE_LOCKED, "session.voice")
    was, s.config = s.config, c.config
    if c.config.turn.mode == "manual" and was.turn.mode != "manual":
        hearing.reset(w, "cleared")
    if c.config.turn.idle != was.turn.idle:
        w.stir()
    w.emit(ev.Configured(c.config))
    return None


def _set_tools(w: Work, c: inp.SetTools) -> None:
    named = {t.name for t in c.tools}
    tools = (*(t for t in w.s.config.tools if t.name not in named), *c.tools)
    w.s.config = replace(w.s.config, tools=tools)
    w.emit(ev.Configured(w.s.config))
    if c.listing and isinstance(w.s.conversation.get(c.listing.id), McpListTools):
        w.s.conversation = w.s.conversation.replace(c.listing)
        w.emit(ev.ItemChanged(c.listing))


# --- items ------------------------------------------------------------------------------------------------------------


def _add(w: Work, c: inp.AddItem) -> None:
    s, item = w.s, c.item
    if item.id and s.conversation.get(item.id) is not None:
        return _reject(w, c, "item_create_duplicate_id", f"An item with id {item.id!r} already exists.", "item.id")
    if isinstance(item, FunctionCallOutput) and s.conversation.call(item.call_id) is None:
        message = f"Tool call ID {item.call_id!r} not found in conversation."
        return _reject(w, c, "invalid_tool_call_id", message, "item.call_id")
    if c.after not in (None, ROOT) and s.conversation.get(c.after) is None:
        return _unknown_item(w, c, c.after, "item_create_invalid_previous_item_id", "previous_item_id")
    item = item if item.id else replace(item, id=w.new_id("item"))
    answering.add_item(w, item, c.after)
    w.stir()
    if isinstance(item, Message):
        _transcribe_parts(w, item)
    return None


def _unheard(item: Message, part: Audio) -> bool:
    return item.role == "user" and part.transcript is None and part.ref.samples > 0


def _transcribe_parts(w: Work, item: Message) -> None:
    """Audio that a client put into a user item is heard like speech, but never answered by itself."""
    for part in item.content:
        if isinstance(part, Audio) and _unheard(item, part):
            piece = hearing.ask(w, part.ref)
            u = Utterance(part.ref.start, part.ref.start, over_agent=False, item_id=item.id, pieces=(piece,))
            clock = Clock(w.at, w.at, w.at, None)
            w.s.pending = (*w.s.pending, Pending(u, part.ref, False, clock, undecided=False, placed=True))


def _delete(w: Work, c: inp.DeleteItem) -> None:
    if w.s.conversation.get(c.item_id) is None:
        return _unknown_item(w, c, c.item_id, "item_delete_invalid_item_id")
    w.s.conversation = w.s.conversation.delete(c.item_id)
    w.emit(ev.ItemDeleted(c.item_id))
    return None


def _truncate(w: Work, c: inp.TruncateItem) -> None:
    item = w.s.conversation.get(c.item_id)
    if item is None:
        return _unknown_item(w, c, c.item_id, "item_truncate_invalid_item_id")
    if not isinstance(item, Message) or item.role != "assistant" or not _spoken(w, item):
        message = "Only model output audio messages can be truncated."
        return _reject(w, c, "invalid_value", message, "item_id")
    if c.content_index != 0:
        message = f"Expected content_index 0, the item's only audio part, but got {c.content_index}."
        return _reject(w, c, "invalid_value", message, "content_index")
    if c.audio_end_ms < 0:
        message = f"Expected audio_end_ms of 0 or more, but got {c.audio_end_ms}."
        return _reject(w, c, "integer_below_min_value", message, "audio_end_ms")
    w.emit(ev.ItemTruncated(item.id, 0, answering.truncate(w, item, c.audio_end_ms)))
    return None


def _spoken(w: Work, item: Message) -> bool:
    running = w.s.active and w.s.active.message
    if running and running.item.id == item.id and w.s.active:
        return w.s.active.config.modality == "audio"
    return any(isinstance(p, Audio) for p in item.content)


# --- input audio ------------------------------------------------------------------------------------------------------


def _commit(w: Work, c: inp.CommitAudio) -> None:
    s = w.s
    samples = c.end - s.buffer_from
    if samples < max(1, c.minimum):
        need, got = c.minimum * 1000 // INPUT_RATE, max(0, samples) * 1000 / INPUT_RATE
        message = (
            f"Error committing input audio buffer: buffer too small. Expected at least {need}ms of audio, "
            f"but buffer only has {got:.2f}ms of audio."
        )
        return _reject(w, c, "input_audio_buffer_commit_empty", message)
    u, s.utterance, s.turn = s.utterance, None, turn.IDLE
    answering.discard_trial(w)
    if u is None or not u.item_id:
        u = replace(u or Utterance(s.buffer_from, s.buffer_from, over_agent=False), item_id=w.new_id("item"))
    u = replace(u, start=s.buffer_from, piece_from=u.piece_from if u.pieces else s.buffer_from, trial=None)
    if u.softened:
        answering.unsoften(w)
    hearing.commit(w, replace(u, over_agent=False), c.end, respond=False, keep=True)
    w.mark(w.at)
    return None


# --- responses --------------------------------------------------------------------------------------------------------


def _create(w: Work, c: inp.CreateResponse) -> None:
    s = w.s
    if not s.config.respond:
        return _reject(w, c, "invalid_event", "A transcription session cannot create responses.")
    if c.config is not None and _locked(w, c.config):
        return _reject(w, c, "cannot_update_voice", _VOICE_LOCKED, "response.voice")
    wanted = Want(c.config, True, c.context, c.metadata, c.say)
    if c.out_of_band:
        s.aside_wants = (*s.aside_wants, _with_pieces(w, wanted))
        return None
    busy = s.active.id if s.active else None
    if c.when_busy == "interrupt" and s.config.turn.interrupt_response:
        answering.interrupt(w, "client_cancelled")
    elif (busy and c.when_busy == "reject" and s.active and not s.active.calls_done) or _waiting(s.wanted):
        message = (
            f"Conversation already has an active response in progress: {busy or 'queued'}. "
            "Wait until the response is finished before creating a new one."
        )
        return _reject(w, c, "conversation_already_has_active_response", message)
    answering.want(w, _with_pieces(w, wanted))
    w.stir()
    return None


def _with_pieces(w: Work, wanted: Want) -> Want:
    """Have the audio in the answer's own context transcribed: the LLM reads, it does not hear."""
    messages = (i for i in wanted.context or () if isinstance(i, Message))
    refs = {p.ref: None for m in messages for p in m.content if isinstance(p, Audio) and _unheard(m, p)}
    return replace(wanted, pieces=tuple(hearing.ask(w, ref) for ref in refs))


def _waiting(wanted: Want | None) -> bool:
    return wanted is not None and wanted.explicit


def _cancel(w: Work, c: inp.CancelResponse) -> None:
    s = w.s
    named = next((r for r in (s.active, *s.asides) if r and r.id == c.response_id), None)
    r = s.active if c.response_id is None else named
    if r is None:
        if c.response_id is None and s.wanted and s.wanted.explicit:
            answering.withdraw(w, s.wanted)
            return None
        return _reject(w, c, "response_cancel_not_active", "Cancellation failed: no active response found")
    r, effects = response.cancel(r, "client_cancelled", r.audio_samples)
    answering.keep(w, r)
    answering.publish(w, r, effects)
    return None


def _clear_playout(w: Work) -> None:
    """Silence the agent at once; what was queued was not heard."""
    if w.s.active or w.s.playout.mode != "stopped":
        answering.interrupt(w, "client_cancelled")


# --- approvals --------------------------------------------------------------------------------------------------------


def _approve(w: Work, c: inp.ApproveCall) -> None:
    s = w.s
    request = s.conversation.get(c.approval_request_id)
    if not isinstance(request, McpApprovalRequest):
        message = f"No approval request with id {c.approval_request_id!r} is waiting."
        return _reject(w, c, "invalid_value", message, "item.approval_request_id")
    if any(isinstance(i, McpCall) and i.approval_request_id == request.id for i in s.conversation.items):
        message = f"The approval request {request.id!r} was answered before."
        return _reject(w, c, "invalid_value", message, "item.approval_request_id")
    label, name, arguments = request.server_label, request.name, request.arguments
    refused = None if c.approve else "The user did not approve this call."
    call = McpCall(w.new_id("mcp"), label, name, arguments, error=refused, approval_request_id=request.id)
    answering.add_item(w, call, None)
    if not c.approve:
        answering.want(w, Want())
        return None
    tool = response.tool_named(s.config, name)
    s.tools = (*s.tools, call.id)
    w.emit(ev.ToolStarted(call.id, 0, call.id, name, arguments))
    w.do(RunTool(call.id, name, arguments, tool.timeout if tool else 30.0, label))
    return None
