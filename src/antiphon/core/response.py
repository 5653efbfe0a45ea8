"""One answer: from the LLM's words to items, clauses and audio, ending in exactly one terminal event.

``Response`` is frozen; each function here returns the next one and the effects. Nothing here knows of turns or playout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.clauses import cut
from antiphon.core.config import Config
from antiphon.core.effects import Cancel, Effect, Emit, Play, RunTool, Synthesize
from antiphon.core.items import (
    Audio,
    AudioRef,
    FunctionCall,
    Item,
    McpApprovalRequest,
    McpCall,
    Message,
    Status,
    Text,
    Tool,
    Usage,
)
from antiphon.core.speech import Clause, grown, heard_text

NewId = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Output:
    """An item in the making. ``call`` is the LLM's index of a tool call, None for the message."""

    item: Item
    index: int
    call: int | None = None
    clauses: tuple[Clause, ...] = ()
    open: bool = True

    @property
    def samples(self) -> int:
        return self.clauses[-1].start + self.clauses[-1].samples if self.clauses else 0


@dataclass(frozen=True, slots=True)
class Response:
    id: str
    config: Config
    job: str
    """The LLM job; empty when the words were given (``say``)."""
    asked_at: float
    in_conversation: bool = True
    metadata: tuple[tuple[str, str], ...] = ()
    turn: str | None = None
    """The user item it answers, when it answers a spoken turn."""
    outputs: tuple[Output, ...] = ()
    text: str = ""
    """Words not yet cut into a clause."""
    waiting: tuple[str, ...] = ()
    """Clauses not yet asked of the TTS."""
    speaking: str | None = None
    """The synthesis job that runs."""
    hold: bool = False
    """Enough audio is made ahead of playout: the next clause waits for ``resume``."""
    generated: Literal["", "stop", "length", "content_filter", "failed"] = ""
    status: ev.ResponseStatus = "in_progress"
    reason: str | None = None
    error: str | None = None
    usage: Usage = Usage()
    first_token_at: float | None = None
    speech_asked_at: float | None = None
    first_audio_at: float | None = None

    @property
    def done(self) -> bool:
        return self.status != "in_progress"

    @property
    def message(self) -> Output | None:
        return next((o for o in self.outputs if o.call is None), None)

    @property
    def audio_samples(self) -> int:
        return self.message.samples if self.message else 0

    @property
    def calls_done(self) -> bool:
        """A call was handed out whole: its output may come before the response has ended."""
        return any(o.call is not None and not o.open for o in self.outputs)

    def view(self) -> ev.ResponseView:
        return ev.ResponseView(
            id=self.id,
            status=self.status,
            config=self.config,
            output=tuple(o.item for o in self.outputs),
            reason=self.reason,
            error=self.error,
            usage=self.usage if self.done else None,
            out_of_band=not self.in_conversation,
            metadata=self.metadata,
        )


Step = tuple[Response, tuple[Effect, ...]]


def handle(r: Response, i: inp.Engine, new_id: NewId) -> Step:
    """What an engine's answer makes of the response. Answers to other jobs, or after the end, change nothing."""
    if r.done or not _expected(r, i):
        return r, ()
    match i:
        case inp.TextGenerated():
            if r.first_token_at is None:
                r = replace(r, first_token_at=i.at)
            return _then(_text(r, i.delta, new_id), new_id, i.at)
        case inp.CallGenerated():
            if r.first_token_at is None:
                r = replace(r, first_token_at=i.at)
            return _call(r, i, new_id)
        case inp.GenerationDone():
            r = replace(r, generated=i.reason, usage=r.usage + i.usage)
            return _then(_generated(r), new_id, i.at)
        case inp.GenerationFailed():
            failure = Emit(ev.Failure("llm", i.message))
            r = replace(r, generated="failed", reason=i.code, error=i.message, text="")
            r, effects = _close_calls(r, "incomplete")
            return _then((r, (failure, *effects)), new_id, i.at)
        case inp.Synthesized():
            return _audio(r, i)
        case inp.SynthesisDone():
            r = _clause(r, done=True)
            return _then((replace(r, speaking=None), ()), new_id, i.at)
        case inp.SynthesisFailed():
            return _speech_failed(r, i)
        case _:
            assert_never(i)


def _expected(r: Response, i: inp.Engine) -> bool:
    if isinstance(i, inp.Synthesized | inp.SynthesisDone | inp.SynthesisFailed):
        return i.job == r.speaking
    return bool(r.job) and i.job == r.job and not r.generated


def say(r: Response, words: str, new_id: NewId, at: float) -> Step:
    """Give the response its words instead of asking an LLM."""
    r, effects = _text(replace(r, first_token_at=at), words, new_id)
    r, more = _generated(replace(r, generated="stop"))
    return _then((r, (*effects, *more)), new_id, at)


def resume(r: Response, new_id: NewId, at: float) -> Step:
    """Go on with the next clause, after playout caught up with what was made ahead."""
    return (r, ()) if r.done else _then((replace(r, hold=False), ()), new_id, at)


def cancel(r: Response, reason: str, heard: int | None) -> Step:
    """End it now. ``heard``: how many samples of the message's audio were; None leaves the words as they are."""
    if r.done:
        return r, ()
    stop: tuple[Effect, ...] = tuple(Cancel(j) for j in (r.job if not r.generated else "", r.speaking) if j)
    r = replace(r, text="", waiting=(), speaking=None, generated=r.generated or "stop")
    if heard is not None:
        r = _cut_message(r, heard)
    r, calls = _close_calls(r, "incomplete")
    r, message = _close_message(r, "incomplete")
    r = replace(r, status="cancelled", reason=reason)
    return r, (*stop, *calls, *message, Emit(ev.ResponseDone(r.view())))


# --- text -------------------------------------------------------------------------------------------------------------


def _text(r: Response, delta: str, new_id: NewId) -> Step:
    if not delta or (r.message is None and not delta.strip()):
        return r, ()
    r, effects = _open_message(r, new_id) if r.message is None else (r, ())
    out = r.message
    assert out is not None and isinstance(out.item, Message)
    kind = r.config.modality
    effects = (*effects, Emit(ev.TextDelta(r.id, out.item.id, out.index, 0, kind, delta)))
    r = _put(r, replace(out, item=replace(out.item, content=(_grown(out.item, kind, delta),))))
    if kind == "text":
        return r, effects
    clauses, rest = cut(r.text + delta, first=not out.clauses and not r.waiting)
    return replace(r, text=rest, waiting=r.waiting + clauses), effects


def _open_message(r: Response, new_id: NewId) -> Step:
    item = Message(new_id("item"), "assistant", (), "in_progress")
    out = Output(item, len(r.outputs))
    added = Emit(ev.OutputItemAdded(r.id, out.index, item))
    part = Emit(ev.PartAdded(r.id, item.id, out.index, 0, r.config.modality))
    return replace(r, outputs=(*r.outputs, out)), (added, part)


def _grown(item: Message, kind: Literal["text", "audio"], delta: str) -> Text | Audio:
    part = item.content[0] if item.content else None
    if kind == "text":
        return Text((part.text if isinstance(part, Text) else "") + delta)
    if isinstance(part, Audio):
        return replace(part, transcript=(part.transcript or "") + delta)
    return Audio(AudioRef(item.id, 0, 0), delta)


def _generated(r: Response) -> Step:
    """No more words come: what is left is a clause, open calls are whole (unless the LLM was cut short)."""
    clauses, rest = cut(r.text, first=False, final=True) if r.config.modality == "audio" else ((), "")
    r = replace(r, text=rest, waiting=r.waiting + clauses)
    return _close_calls(r, "completed" if r.generated == "stop" else "incomplete")


def _then(step: Step, new_id: NewId, at: float) -> Step:
    """Whatever comes next by itself: the next clause, or the end."""
    r, effects = step
    if r.speaking is None and r.waiting and not r.hold:
        text, job = r.waiting[0], new_id("job")
        out = r.message
        assert out is not None
        r = _put(r, replace(out, clauses=(*out.clauses, Clause(job, text, out.samples))))
        r = replace(r, speaking=job, waiting=r.waiting[1:], speech_asked_at=r.speech_asked_at or at)
        return r, (*effects, Synthesize(job, text.strip(), r.config))
    if r.generated and r.speaking is None and not r.waiting:
        r, end = _finish(r)
        return r, (*effects, *end)
    return r, effects


def _finish(r: Response) -> Step:
    if r.generated == "failed":
        # What was already said stays as it was heard; the rest of the sentence was never spoken.
        r = _cut_message(r, r.audio_samples)
        r, closing = _close_message(r, "incomplete")
        r = replace(r, status="incomplete" if r.audio_samples else "failed")
    elif r.generated == "stop":
        r, closing = _close_message(r, "completed")
        r = replace(r, status="completed")
    else:
        r, closing = _close_message(r, "incomplete")
        r = replace(r, status="incomplete", reason="max_output_tokens" if r.generated == "length" else r.generated)
    return r, (*closing, Emit(ev.ResponseDone(r.view())))


def _close_message(r: Response, status: Status) -> Step:
    out = r.message
    if out is None or not out.open:
        return r, ()
    assert isinstance(out.item, Message)
    part = out.item.content[0] if out.item.content else _grown(out.item, r.config.modality, "")
    if isinstance(part, Audio):
        part = replace(part, ref=AudioRef(out.item.id, 0, out.samples))
    item = replace(out.item, content=(part,), status=status)
    kind: Literal["text", "audio"] = "audio" if isinstance(part, Audio) else "text"
    words = (part.transcript if isinstance(part, Audio) else item.text) or ""
    r = _put(r, replace(out, item=item, open=False))
    done = Emit(ev.PartDone(r.id, item.id, out.index, 0, kind, words))
    return r, (done, Emit(ev.OutputItemDone(r.id, out.index, item)))


def _cut_message(r: Response, heard: int) -> Response:
    """Mark the message as heard only up to ``heard`` samples of its audio (spoken answers only)."""
    out = r.message
    if out is None or not isinstance(out.item, Message) or r.config.modality == "text":
        return r
    return _put(r, replace(out, item=replace(out.item, heard=heard_text(out.clauses, heard))))


# --- audio ------------------------------------------------------------------------------------------------------------


def _clause(r: Response, *, samples: int = 0, words: tuple[inp.Word, ...] = (), done: bool = False) -> Response:
    out = r.message
    assert out is not None
    last = replace(grown(out.clauses[-1], samples, words), done=done)
    return _put(r, replace(out, clauses=(*out.clauses[:-1], last)))


def _audio(r: Response, i: inp.Synthesized) -> Step:
    out = r.message
    if out is None or i.samples <= 0:
        return r, ()
    last = out.clauses[-1]
    item_start = last.start + last.samples
    r = _clause(replace(r, first_audio_at=r.first_audio_at or i.at), samples=i.samples, words=i.words)
    end = last.samples + i.samples
    play = Play(i.job, last.samples, end, out.item.id, item_start)
    return r, (play, Emit(ev.AudioDelta(r.id, out.item.id, out.index, 0, i.job, last.samples, end)))


def _speech_failed(r: Response, i: inp.SynthesisFailed) -> Step:
    """No voice for the rest: what was spoken stays, the rest was never said."""
    stop: tuple[Effect, ...] = (Cancel(r.job),) if r.job and not r.generated else ()
    r = _cut_message(replace(r, text="", waiting=(), speaking=None), r.audio_samples)
    r, calls = _close_calls(r, "incomplete")
    r, closing = _close_message(r, "incomplete")
    r = replace(
        r,
        generated="failed",
        status="incomplete" if r.audio_samples else "failed",
        reason="server_error",
        error=i.message,
    )
    failure = Emit(ev.Failure("tts", i.message))
    return r, (failure, *stop, *calls, *closing, Emit(ev.ResponseDone(r.view())))


# --- tool calls -------------------------------------------------------------------------------------------------------


def _call(r: Response, i: inp.CallGenerated, new_id: NewId) -> Step:
    out = next((o for o in r.outputs if o.call == i.index), None)
    effects: tuple[Effect, ...] = ()
    if out is None:
        r, effects = _close_calls(r, "completed")  # calls stream one after the other
        item = _new_call(r, i, new_id)
        out = Output(item, len(r.outputs), i.index)
        r = replace(r, outputs=(*r.outputs, out))
        effects = (*effects, Emit(ev.OutputItemAdded(r.id, out.index, item)))
    if not i.delta or not out.open:
        return r, effects
    assert isinstance(out.item, FunctionCall | McpCall | McpApprovalRequest)
    item = replace(out.item, arguments=out.item.arguments + i.delta)
    r = _put(r, replace(out, item=item))
    mcp = not isinstance(item, FunctionCall)
    return r, (*effects, Emit(ev.ArgumentsDelta(r.id, item.id, out.index, _call_id(item), i.delta, mcp)))


def _new_call(r: Response, i: inp.CallGenerated, new_id: NewId) -> FunctionCall | McpCall | McpApprovalRequest:
    tool = tool_named(r.config, i.name)
    if tool and tool.mcp_server and tool.needs_approval:
        return McpApprovalRequest(new_id("mcpr"), tool.mcp_server, i.name, "", "in_progress")
    if tool and tool.mcp_server:
        return McpCall(new_id("mcp"), tool.mcp_server, i.name, "", status="in_progress")
    return FunctionCall(new_id("item"), i.call_id or new_id("call"), i.name, "", "in_progress")


def _close_calls(r: Response, status: Status) -> Step:
    """Close the open calls; those that came whole and that we run are run, once."""
    effects: tuple[Effect, ...] = ()
    for out in r.outputs:
        if out.call is None or not out.open:
            continue
        assert isinstance(out.item, FunctionCall | McpCall | McpApprovalRequest)
        item = replace(out.item, status=status)
        r = _put(r, replace(out, item=item, open=False))
        if status == "completed":
            mcp = not isinstance(item, FunctionCall)
            done = ev.ArgumentsDone(r.id, item.id, out.index, _call_id(item), item.name, item.arguments, mcp)
            effects = (*effects, Emit(done))
        effects = (*effects, Emit(ev.OutputItemDone(r.id, out.index, item)))
        if status == "completed" and not isinstance(item, McpApprovalRequest):
            effects = (*effects, *_run(r, out.index, item))
    return r, effects


def _run(r: Response, index: int, item: FunctionCall | McpCall) -> tuple[Effect, ...]:
    tool = tool_named(r.config, item.name)
    if tool is None or tool.run != "server" or not r.in_conversation:
        return ()  # an answer out of band leaves the conversation alone, so nobody would see the result
    call_id = _call_id(item)
    started = ev.ToolStarted(item.id, index, call_id, item.name, item.arguments)
    return (Emit(started), RunTool(call_id, item.name, item.arguments, tool.timeout, tool.mcp_server))


def _call_id(item: FunctionCall | McpCall | McpApprovalRequest) -> str:
    return item.call_id if isinstance(item, FunctionCall) else item.id


def tool_named(config: Config, name: str) -> Tool | None:
    return next((t for t in config.tools if t.name == name), None)


def _put(r: Response, out: Output) -> Response:
    return replace(r, outputs=tuple(out if o.index == out.index else o for o in r.outputs))
