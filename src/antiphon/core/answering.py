"""The agent's side: when an answer starts, what of it is told and played, and how it is cut short."""

from __future__ import annotations

from dataclasses import replace

from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core import response as responses
from antiphon.core.config import Config
from antiphon.core.conversation import gist, history
from antiphon.core.effects import Cancel, Duck, Effect, Emit, Flush, Generate, Pause, Play, Resume, RunTool
from antiphon.core.items import (
    LIVE,
    OUTPUT_RATE,
    Audio,
    AudioRef,
    FunctionCallOutput,
    Item,
    McpCall,
    Message,
    Part,
)
from antiphon.core.response import Response
from antiphon.core.speech import heard_text
from antiphon.core.state import Clock, Trial, Want, Work

# --- starting ---------------------------------------------------------------------------------------------------------


def want(w: Work, wanted: Want) -> None:
    """An answer is due. Two that wait are one, and what a client asked for outranks what a turn did."""
    if w.s.wanted is None or wanted.explicit or not w.s.wanted.explicit:
        unwant(w)
        w.s.wanted = wanted


def unwant(w: Work) -> None:
    """The answer that is due and did not begin is not wanted any more."""
    if w.s.wanted is not None:
        _give_up(w, w.s.wanted)
        w.s.wanted = None


def withdraw(w: Work, wanted: Want) -> None:
    """A client took back, before it began, the answer that it asked for: told as cancelled, so that nobody waits."""
    unwant(w)
    config = wanted.config or w.s.config
    r = Response(
        id=w.new_id("resp"), config=config, job="", asked_at=w.at, in_conversation=True, metadata=wanted.metadata
    )
    w.emit(ev.ResponseStarted(r.view()))
    publish(w, *responses.cancel(r, "client_cancelled", None))


def unwant_all(w: Work) -> None:
    """Nothing that did not begin is wanted any more, out of band or not."""
    unwant(w)
    for wanted in w.s.aside_wants:
        _give_up(w, wanted)
    w.s.aside_wants = ()


def _give_up(w: Work, wanted: Want) -> None:
    w.do(*(Cancel(p.job) for p in wanted.pieces if not p.done))


def start_asides(w: Work) -> None:
    """Start the out-of-band answers that wait for nothing more, beside whatever else runs."""
    for wanted in (x for x in w.s.aside_wants if x.ready):
        items = w.s.conversation.items if wanted.context is None else _with_words(wanted)
        r, effects = begin(w, wanted.config or w.s.config, items, wanted, aside=True)
        w.s.asides = (*w.s.asides, r)
        publish(w, r, effects)
    w.s.aside_wants = tuple(x for x in w.s.aside_wants if not x.ready)


def _with_words(wanted: Want) -> tuple[Item, ...]:
    """The context of an answer with what its audio says, where that could be understood."""
    words = {p.audio: p.text for p in wanted.pieces}

    def told(part: Part) -> Part:
        if isinstance(part, Audio) and part.transcript is None:
            return replace(part, transcript=words.get(part.ref))
        return part

    return tuple(
        replace(i, content=tuple(map(told, i.content))) if isinstance(i, Message) else i for i in wanted.context or ()
    )


def start_wanted(w: Work) -> None:
    """Start the answer that is due, unless something must come first."""
    wanted = w.s.wanted
    if wanted is None or w.s.active or w.s.pending or w.s.ending or w.s.ended or w.s.peer_gone_at is not None:
        return
    if not wanted.ready:
        return
    if not wanted.explicit and w.s.turn.phase != "idle":
        return  # the user has the floor: this answer and the next are one
    if wanted.turn and not w.client_plays and w.s.playout.audible:
        return  # spoken over an agent that may not be interrupted: answered after it
    w.s.wanted = None
    items = w.s.conversation.items if wanted.context is None else _with_words(wanted)
    trial = w.s.trial
    if trial and wanted.turn and trial.response.config == w.s.config and trial.seen == gist(items):
        w.s.trial = None
        r, effects = replace(trial.response, turn=wanted.turn), trial.held
    else:
        discard_trial(w)
        r, effects = begin(w, wanted.config or w.s.config, items, wanted)
    w.s.active, w.s.clock = r, wanted.clock
    publish(w, r, effects)


def begin(w: Work, config: Config, items: tuple[Item, ...], wanted: Want, *, aside: bool = False) -> responses.Step:
    """A new response over ``items``, and its first effects."""
    r = Response(
        id=w.new_id("resp"),
        config=config,
        job="" if wanted.say is not None else w.new_id("job"),
        asked_at=w.at,
        in_conversation=not aside,
        metadata=wanted.metadata,
        turn=wanted.turn,
    )
    started = Emit(ev.ResponseStarted(r.view()))
    if wanted.say is not None:
        r, effects = responses.say(r, wanted.say, w.new_id, w.at)
        return r, (started, *effects)
    seen = history(items, tokens=config.context_tokens, retention=config.retention)
    return r, (started, Generate(r.job, seen, config))


def begin_trial(w: Work, items: tuple[Item, ...], turn: str) -> None:
    """Start the answer to a turn that may not be over; nothing of it is told or played before it is."""
    r, effects = begin(w, w.s.config, items, Want(turn=turn))
    w.s.trial = Trial(r, (), gist(items))
    publish(w, r, effects)


def discard_trial(w: Work) -> None:
    """Throw the trial answer away: unheard, untold, in no history; only its consumption is counted apart."""
    trial = w.s.trial
    if trial is None:
        return
    w.s.trial = None
    r = trial.response
    if not r.done:
        w.do(*(Cancel(j) for j in ("" if r.generated else r.job, r.speaking) if j))
    w.s.meter = w.s.meter.response(r.usage, heard=False)


# --- engines ----------------------------------------------------------------------------------------------------------


def engine(w: Work, i: inp.Engine) -> None:
    """Hand an engine's answer to the response that asked."""
    s = w.s
    if isinstance(i, inp.CallGenerated) and i.call_id and _known_call(w, i.call_id):
        i = replace(i, call_id=w.new_id("call"))  # small models repeat their call ids
    for r in (s.active, s.trial.response if s.trial else None, *s.asides):
        if r and i.job in (r.job, r.speaking):
            after, effects = responses.handle(replace(r, hold=_lead(w) > r.config.ahead), i, w.new_id)
            keep(w, after)
            publish(w, after, effects)
            return


def _known_call(w: Work, call_id: str) -> bool:
    return w.s.conversation.call(call_id) is not None or call_id in w.s.tools


def _lead(w: Work) -> float:
    """Seconds of audio made ahead of playout."""
    return (w.s.playout.queued - w.position) / OUTPUT_RATE


def keep(w: Work, r: Response) -> None:
    """Put the response's next state where the response is."""
    s = w.s
    if s.active and s.active.id == r.id:
        s.active = r
    elif s.trial and s.trial.response.id == r.id:
        s.trial = replace(s.trial, response=r)
    else:
        s.asides = tuple(r if a.id == r.id else a for a in s.asides)


def resume_held(w: Work) -> None:
    """Playout caught up: let the response make its next clause."""
    r = w.s.active
    if r and r.hold and r.waiting and _lead(w) <= r.config.ahead:
        r, effects = responses.resume(r, w.new_id, w.at)
        keep(w, r)
        publish(w, r, effects)


def hold_until(w: Work) -> float | None:
    """When a held-back clause may be made."""
    r = w.s.active
    if r and r.hold and r.waiting and r.speaking is None:
        return w.at + max(0.0, _lead(w) - r.config.ahead)
    return None


# --- telling and playing ----------------------------------------------------------------------------------------------


def publish(w: Work, r: Response, effects: tuple[Effect, ...]) -> None:
    """Carry out a response's effects: into the conversation and the playout, or aside while it is on trial."""
    trial = w.s.trial
    if trial and trial.response.id == r.id:
        told = tuple(e for e in effects if isinstance(e, Emit | Play | RunTool))
        w.s.trial = replace(trial, held=trial.held + told)
        w.do(*(e for e in effects if not isinstance(e, Emit | Play | RunTool)))
        return
    for effect in effects:
        match effect:
            case Emit(event):
                _tell(w, r, event)
            case Play():
                _play(w, r, effect)
            case RunTool():
                w.s.tools = (*w.s.tools, effect.call_id)
                w.do(effect)
            case _:
                w.do(effect)


def _tell(w: Work, r: Response, event: ev.Event) -> None:
    s = w.s
    match event:
        case ev.OutputItemAdded() if r.in_conversation:
            added = s.conversation.insert(event.item)
            assert added is not None
            before, s.conversation = s.conversation.last_id, added
            w.emit(event, ev.ItemAdded(event.item, before))
        case ev.OutputItemDone() if r.in_conversation:
            if s.conversation.get(event.item.id) is not None:
                s.conversation = s.conversation.replace(event.item)
                w.emit(ev.ItemDone(event.item, s.conversation.previous_id(event.item.id)))
            s.spoken = {**s.spoken, event.item.id: r.outputs[event.index].clauses}
            w.emit(event)
        case ev.AudioDelta():
            if w.client_plays or not r.in_conversation:
                w.emit(event)
        case ev.ResponseDone():
            w.emit(event)
            _over(w, r)
        case _:
            w.emit(event)


def _play(w: Work, r: Response, play: Play) -> None:
    s = w.s
    s.voice_used = True
    if not r.in_conversation:
        return
    was = s.playout.mode
    span = (play.item_id, play.item_start, play.end - play.start)
    s.playout = s.playout.append(span, r.id, w.at, w.position)
    if not w.client_plays:
        w.do(play)
    _first_sound(w)
    if was == "stopped":
        w.mark(w.at)


def _first_sound(w: Work) -> None:
    """Tell of a response's first sound, once it is one: not while the user's voice holds it back."""
    s = w.s
    response_id = s.playout.response_id
    if not s.playout.audible or response_id is None or s.playout.told == response_id:
        return
    s.playout = replace(s.playout, told=response_id)
    if s.clock and s.active and s.active.id == response_id:
        w.emit(_metrics(s.active, s.clock, w.at))
        s.clock = None
    if not w.client_plays:
        w.emit(ev.PlayoutStarted(response_id))


def _metrics(r: Response, clock: Clock, at: float) -> ev.TurnMetrics:
    def between(start: float | None, end: float | None) -> float | None:
        return None if start is None or end is None else max(0.0, end - start)

    return ev.TurnMetrics(
        response_id=r.id,
        end_of_turn=between(clock.last_voice_at, clock.committed_at),
        stt=between(clock.stt_asked_at, clock.stt_done_at),
        llm=between(r.asked_at, r.first_token_at),
        tts=between(r.speech_asked_at, r.first_audio_at),
        voice_to_voice=between(clock.last_voice_at, at),
    )


def _over(w: Work, r: Response) -> None:
    """The response has ended: count it, and let the next begin."""
    s = w.s
    clauses = r.message.clauses if r.message else ()
    s.meter = s.meter.response(r.usage, heard=True).spoken(sum(len(c.text) for c in clauses), r.audio_samples)
    if s.active and s.active.id == r.id:
        s.active, s.clock = None, None
        s.quiet_since = max(w.at, s.playout.ends_at if w.client_plays else w.at)
        if not w.client_plays and s.playout.mode == "stopped" and s.playout.response_id == r.id:
            w.emit(ev.PlayoutStopped(r.id))
    else:
        s.asides = tuple(a for a in s.asides if a.id != r.id)


def drained(w: Work) -> None:
    """Everything queued was heard."""
    s = w.s
    if s.playout.mode == "stopped":
        return
    s.playout = s.playout.stopped()
    s.quiet_since = w.at
    if not w.client_plays and s.playout.response_id and not (s.active and s.active.id == s.playout.response_id):
        w.emit(ev.PlayoutStopped(s.playout.response_id))
    w.mark(w.at)
    resume_held(w)


# --- barge-in ---------------------------------------------------------------------------------------------------------


def has_floor(w: Work) -> bool:
    """The agent is speaking, or about to."""
    return w.s.active is not None or w.s.playout.audible


def soften(w: Work) -> bool:
    """Lower (or hold) the agent's voice for a sound that may be an interruption; whether there was a voice to lower."""
    s = w.s
    if w.client_plays or not has_floor(w) or s.playout.mode in ("ducked", "paused"):
        return False
    if s.playout.audible and s.config.turn.barge_in == "duck":
        s.playout = replace(s.playout, mode="ducked")
        w.do(Duck())
    else:
        s.playout = replace(s.playout, mode="paused")  # nothing heard yet: do not start over the user's voice
        w.do(Pause())
        w.mark(w.at)
    return True


def unsoften(w: Work) -> None:
    """It was none: back to full level, from where it was."""
    s = w.s
    if s.playout.mode not in ("ducked", "paused"):
        return
    s.playout = replace(s.playout, mode="playing" if s.playout.queued > w.position else "stopped")
    w.do(Resume())
    _first_sound(w)
    w.mark(w.at)


def interrupt(w: Work, reason: str) -> None:
    """Take the floor from the agent, and say so."""
    r = w.s.active
    if r is None and w.s.playout.mode == "stopped":
        return
    audible = w.s.playout.mode != "stopped" and w.s.playout.told == w.s.playout.response_id
    item_id, heard = cut_short(w, reason)
    if audible:  # else nobody was interrupted: it had not begun to speak
        w.s.meter = replace(w.s.meter, interruptions=w.s.meter.interruptions + 1)
        w.emit(ev.Interrupted(r.id if r else None, item_id, heard))
    w.mark(w.at)


def cut_short(w: Work, reason: str) -> tuple[str | None, str]:
    """Stop the agent here: history keeps what was heard, and nothing more (invariant 3).

    Returns the item that was cut and the words of it that were heard.
    """
    s = w.s
    r = s.active
    cut = dict(s.playout.unheard(w.position))
    stop_playout(w)
    told: tuple[str | None, str] = (None, "")
    for item_id, samples in cut.items():
        told = (item_id, _truncate(w, item_id, samples, told=not w.client_plays))
    if r is not None:
        message = r.message
        heard = cut.get(message.item.id, message.samples) if message else 0
        r, effects = responses.cancel(r, reason, heard)
        keep(w, r)
        publish(w, r, effects)
        if r.message and isinstance(r.message.item, Message):
            told = (r.message.item.id, r.message.item.text)
    return told


def stop_playout(w: Work) -> None:
    """Silence what is queued."""
    s = w.s
    was = s.playout
    s.playout = was.flushed(w.position, w.at)
    if not w.client_plays and was.mode != "stopped":
        w.do(Flush())
        if was.response_id and was.told == was.response_id:
            w.emit(ev.PlayoutCleared(was.response_id))


def _truncate(w: Work, item_id: str, samples: int, *, told: bool) -> str:
    """Cut a finished or running item's history to its first ``samples``; the words that are left."""
    s = w.s
    if told:
        w.emit(ev.ItemTruncated(item_id, 0, samples * 1000 // OUTPUT_RATE))
    item = s.conversation.get(item_id)
    if not isinstance(item, Message) or (s.active and s.active.message and s.active.message.item.id == item_id):
        return ""  # the active response cuts its own message
    known = min((p.ref.end for p in item.content if isinstance(p, Audio)), default=samples)
    heard = heard_text(s.spoken.get(item_id, ()), min(samples, known))  # a client's own word on it stands
    s.conversation = s.conversation.replace(replace(item, heard=heard))
    return heard


def truncate(w: Work, item: Message, audio_end_ms: int) -> int:
    """A client's word on what was heard of an item; the milliseconds that count (clamped to the item's audio)."""
    s = w.s
    r = s.active
    running = r.message if r and r.message and r.message.item.id == item.id else None
    clauses = running.clauses if running else s.spoken.get(item.id, ())
    made = clauses[-1].start + clauses[-1].samples if clauses else 0
    left = min((p.ref.end for p in item.content if isinstance(p, Audio) and p.ref.clip != LIVE), default=made)
    samples = min(audio_end_ms * OUTPUT_RATE // 1000, made, left)  # what was cut before is not given back
    heard = heard_text(clauses, samples)
    content = tuple(
        Audio(AudioRef(p.ref.clip, 0, samples), heard) if isinstance(p, Audio) and p.ref.clip != LIVE else p
        for p in item.content
    )
    s.conversation = s.conversation.replace(replace(item, content=content, heard=heard))
    if r and running:  # still being made: what it says beyond this point is not heard either
        r, effects = responses.cancel(r, "client_cancelled", samples)
        keep(w, r)
        publish(w, r, effects)
    return samples * 1000 // OUTPUT_RATE


# --- tools ------------------------------------------------------------------------------------------------------------


def tool_done(w: Work, i: inp.ToolDone) -> None:
    """A server-run tool's result: into the history, whatever became of the sentence around it (invariant 4)."""
    s = w.s
    if i.call_id not in s.tools:
        return
    s.tools = tuple(c for c in s.tools if c != i.call_id)
    mcp = s.conversation.get(i.call_id)
    if isinstance(mcp, McpCall):
        done = replace(mcp, output=None if i.failed else i.output, error=i.output if i.failed else None)
        s.conversation = s.conversation.replace(done)
        w.emit(ev.ToolFinished(done.id, i.call_id, i.output, i.failed), ev.ItemChanged(done))
    else:
        output = FunctionCallOutput(w.new_id("item"), i.call_id, i.output)
        add_item(w, output, None)
        call = s.conversation.call(i.call_id)
        w.emit(ev.ToolFinished(call.id if call else output.id, i.call_id, i.output, i.failed))
    if not s.tools:
        want(w, Want())


def add_item(w: Work, item: Item, after: str | None) -> None:
    """Insert a complete item (``after`` is known to exist) and tell."""
    added = w.s.conversation.insert(item, after)
    assert added is not None
    w.s.conversation = added
    before = added.previous_id(item.id)
    w.emit(ev.ItemAdded(item, before), ev.ItemDone(item, before))
