"""A session: ``open_session`` begins one, ``step`` is all that ever happens to it.

    step(state, input) -> (state, effects)

It never raises and never changes the state it was given. What it decides by itself is the lifecycle: limits, idle
periods, a client that went away, and the one end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from antiphon.core import answering, commands, hearing, response, turn
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config
from antiphon.core.effects import Cancel, Effect, End
from antiphon.core.items import INPUT_RATE, LIVE, Audio, AudioRef, Message
from antiphon.core.state import State, Want, Work


def open_session(config: Config, *, seed: str, at: float) -> tuple[State, tuple[Effect, ...]]:
    """A new session. ``seed`` makes its ids unique (8 to 20 letters or digits); ``at`` is the clock's start."""
    state = State(config, seed, at, ear=(0, at), quiet_since=at)
    state.timeline = replace(state.timeline, since=at)
    w = Work(state, at, 0)
    w.emit(ev.Configured(config))
    _set_deadlines(w)
    return w.s, tuple(w.effects)


def step(state: State, i: inp.Input) -> tuple[State, tuple[Effect, ...]]:
    """The next state and what is to be done. Total: any input, in any state. After the end nothing happens."""
    if state.ended:
        return state, ()
    w = Work(state, i.at, i.heard)
    if isinstance(i, inp.Close):
        _end(w, i.reason)
        return w.s, tuple(w.effects)
    _handle(w, i)
    _settle(w)
    return w.s, tuple(w.effects)


def _handle(w: Work, i: inp.Happening) -> None:
    if isinstance(i, inp.Engine):
        answering.engine(w, i)
        return
    if isinstance(i, inp.Command):
        _command(w, i)
        return
    match i:
        case inp.VoiceOn() | inp.VoiceOff() | inp.AudioReached() | inp.AudioStalled():
            hearing.voice(w, i)
        case inp.Transcribed() | inp.TranscriptionFailed():
            hearing.transcribed(w, i)
        case inp.TurnPredicted():
            hearing.predicted(w, i)
        case inp.ToolDone():
            answering.tool_done(w, i)
        case inp.Drained():
            answering.drained(w)
        case inp.PeerGone():
            _peer_gone(w)
        case inp.PeerBack():
            w.s.peer_gone_at = None
            w.stir()
        case inp.Tick():
            pass  # whatever is due is found out below
        case _:
            assert_never(i)


def _command(w: Work, c: inp.Command) -> None:
    if w.s.ending:
        w.emit(ev.Rejected(c.command_id, "session_expired", f"The session is ending: {w.s.ending}."))
    else:
        commands.command(w, c)


def _settle(w: Work) -> None:
    """Let everything follow that the input made possible, then say when the clocks are due."""
    s = w.s
    if w.client_plays and s.playout.audible and w.at >= s.playout.ends_at:
        answering.drained(w)
    answering.resume_held(w)
    hearing.resolve(w)
    answering.start_asides(w)
    answering.start_wanted(w)
    _limits(w)
    if not s.ended:
        _idle(w)
        _set_deadlines(w)


# --- lifecycle --------------------------------------------------------------------------------------------------------


def _limits(w: Work) -> None:
    s, c = w.s, w.s.config
    if not s.ending and c.max_seconds is not None and w.at >= s.opened_at + c.max_seconds:
        s.ending, s.ending_at = "max_duration", w.at
        w.emit(ev.Ending("max_duration"))
        hearing.reset(w, "cleared")
        answering.discard_trial(w)
        answering.unwant_all(w)
        s.pending = ()
        _finish_sentence(w)
    if s.ending and (not s.playout.audible or w.at >= s.ending_at + c.grace):
        _end(w, s.ending)
    elif s.peer_gone_at is not None and w.at >= s.peer_gone_at + c.linger:
        _end(w, "peer_gone")
    elif c.idle_close is not None and _is_idle(w) and w.at >= s.quiet_since + c.idle_close:
        _end(w, "idle")


def _finish_sentence(w: Work) -> None:
    """Nothing new is made; what is already queued may be heard."""
    for r in (w.s.active, *w.s.asides):
        if r is not None:
            r, effects = response.cancel(r, "session_ending", r.audio_samples)
            answering.keep(w, r)
            answering.publish(w, r, effects)


def _is_idle(w: Work) -> bool:
    s = w.s
    busy = s.active or s.pending or s.wanted or s.tools or s.asides or s.aside_wants or s.playout.audible
    return not busy and s.turn.phase == "idle" and s.peer_gone_at is None


def _idle(w: Work) -> None:
    """Prompt the agent, once per idle period, never over anybody's speech."""
    s, rules = w.s, w.s.config.turn
    if rules.idle is None or s.prompted or not _is_idle(w) or w.at < s.quiet_since + rules.idle:
        return
    sample, at = s.ear
    end = max(s.buffer_from, sample + round((w.at - at) * INPUT_RATE))
    start = max(s.buffer_from, end - round(rules.idle * INPUT_RATE))
    s.prompted = True
    item_id = w.new_id("item")
    w.emit(ev.IdleTimeout(item_id, start, end))
    if rules.keep_empty:
        audio = AudioRef(LIVE, start, start)
        w.emit(ev.Committed(item_id, s.conversation.last_id, (audio,)))
        answering.add_item(w, Message(item_id, "user", (Audio(audio, ""),)), None)
    config = s.config
    if config.idle_prompt:
        config = replace(config, instructions=f"{config.instructions}\n{config.idle_prompt}".strip())
    if config.respond:
        answering.want(w, Want(config))
        answering.start_wanted(w)


def _peer_gone(w: Work) -> None:
    """Nobody listens: stop speaking into the void, keep the session for a while."""
    if w.s.peer_gone_at is None:
        w.s.peer_gone_at = w.at
        answering.discard_trial(w)
        answering.interrupt(w, "turn_detected")


def _end(w: Work, reason: str) -> None:
    """The one end: close what is open, tell the record, and fall silent (invariant 8)."""
    s = w.s
    hearing.reset(w, "cleared")
    answering.discard_trial(w)
    w.do(*(Cancel(p.job) for t in s.pending for p in t.utterance.pieces if not p.done))
    answering.unwant_all(w)
    s.pending = ()
    answering.cut_short(w, "session_ended")
    for r in s.asides:
        r, effects = response.cancel(r, "session_ended", None)
        answering.publish(w, r, effects)
    limit = s.opened_at + s.config.max_seconds if s.config.max_seconds is not None else w.at
    end = min(w.at, limit) if s.ending else w.at
    told = record(s, reason, at=w.at, end=end)
    s.ended, s.deadline, s.audio_deadline, s.tools = True, None, None, ()
    w.emit(ev.Ended(told))
    w.do(End(reason))


def record(s: State, reason: str, *, at: float, end: float) -> ev.Record:
    """What remains of a session that is over at ``at`` and counts until ``end``, which a limit may put earlier."""
    meter = s.meter
    return ev.Record(
        reason=reason,
        seconds=end - s.opened_at,
        timeline=_until(s.timeline.segments(at), end),
        items=s.conversation.items,
        usage=meter.usage,
        stt_seconds=meter.stt_seconds,
        tts_characters=meter.tts_characters,
        tts_seconds=meter.tts_seconds,
        speculative_usage=meter.speculative,
        turns=meter.turns,
        responses=meter.responses,
        interruptions=meter.interruptions,
    )


def _until(segments: tuple[ev.Segment, ...], end: float) -> tuple[ev.Segment, ...]:
    return tuple(replace(x, end=min(x.end, end)) for x in segments if x.start < end)


def _set_deadlines(w: Work) -> None:
    s, c = w.s, w.s.config
    due = [answering.hold_until(w)]
    if s.ending:
        due.append(s.ending_at + c.grace)
    elif c.max_seconds is not None:
        due.append(s.opened_at + c.max_seconds)
    if s.peer_gone_at is not None:
        due.append(s.peer_gone_at + c.linger)
    if w.client_plays and s.playout.audible:
        due.append(s.playout.ends_at)
    if _is_idle(w):
        if c.turn.idle is not None and not s.prompted:
            due.append(s.quiet_since + c.turn.idle)
        if c.idle_close is not None:
            due.append(s.quiet_since + c.idle_close)
    s.deadline = min((d for d in due if d is not None), default=None)
    s.audio_deadline = None if c.turn.mode == "manual" or s.ending else turn.deadline(s.turn, c.turn)
