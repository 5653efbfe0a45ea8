"""The user's side: from voice to utterances, from utterances to turns, from turns to items with words."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from antiphon.core import answering, turn
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.conversation import Conversation
from antiphon.core.effects import Cancel, PredictTurn, Transcribe
from antiphon.core.items import INPUT_RATE, LIVE, Audio, AudioRef, Item, Message
from antiphon.core.speech import only_backchannel, promise
from antiphon.core.state import VAD_FRAME, Clock, Pending, Piece, Utterance, Want, Work
from antiphon.core.turn import Decision

KEPT_PIECE = 12.0
"""Seconds: a piece this long is transcribed at a pause for good, even when the user goes on."""
PREDICTION_SPAN = 8
"""Seconds of audio the turn detector looks at."""

# --- voice ------------------------------------------------------------------------------------------------------------


def voice(w: Work, i: inp.VoiceOn | inp.VoiceOff | inp.AudioReached | inp.AudioStalled) -> None:
    """An edge of the user's voice, or a sample reached without one."""
    s = w.s
    rules = s.config.turn
    if rules.mode == "manual" or s.ending:
        return
    over = turn.over_at(s.turn, rules)
    match i:
        case inp.VoiceOn():
            s.ear = (i.sample + VAD_FRAME, w.at)
            s.turn, decided = turn.voice_on(s.turn, i.sample, rules)
        case inp.VoiceOff():
            s.turn, decided = turn.voice_off(s.turn, i.sample, rules)
        case inp.AudioReached():
            s.ear = (i.sample, w.at)
            s.turn, decided = turn.reached(s.turn, i.sample, rules)
        case inp.AudioStalled():
            s.turn, decided = _stalled(w, i.sample)
        case _:
            assert_never(i)
    for decision in decided:
        at_the_end = decision is Decision.COMMIT and over is not None
        _decided(w, decision, min(i.sample, over) if at_the_end and over is not None else i.sample)


def _stalled(w: Work, sample: int) -> tuple[turn.TurnState, turn.Decisions]:
    """The audio stopped coming: what was speech is a turn, what was a sound is none."""
    if w.s.turn.phase in ("speech", "pause"):
        w.s.turn = replace(w.s.turn, end=max(w.s.turn.end, sample if w.s.turn.speaking else 0))
        return turn.IDLE, (Decision.COMMIT,)
    return turn.IDLE, (Decision.FADED,) if w.s.turn.phase == "sound" else ()


def _decided(w: Work, decision: Decision, sample: int) -> None:
    s = w.s
    if decision is Decision.SOUND:
        start = max(s.buffer_from, sample - round(s.config.turn.prefix * INPUT_RATE))
        s.utterance = Utterance(start, start, over_agent=answering.has_floor(w))
        _soften(w)
    u = s.utterance
    assert u is not None  # there is one from SOUND to COMMIT or FADED
    match decision:
        case Decision.STARTED:
            _started(w, u)
        case Decision.CAPTION:
            _caption(w, u, sample)
        case Decision.CUT:
            piece = ask(w, AudioRef(LIVE, u.piece_from, sample))
            s.utterance = replace(u, pieces=(*u.pieces, piece), piece_from=sample)
        case Decision.CONFIRMED:
            if not only_backchannel(u.words, s.config.turn.backchannels):
                _interrupt(w)
        case Decision.PAUSED:
            s.utterance = replace(u, last_voice_at=w.time_of(s.turn.end))
            w.mark(w.time_of(s.turn.end))
            w.stir()
        case Decision.PREDICT:
            job = w.new_id("job")
            s.utterance = replace(u, prediction=job)
            w.do(PredictTurn(job, AudioRef(LIVE, max(0, sample - PREDICTION_SPAN * INPUT_RATE), sample)))
        case Decision.SPECULATE:
            s.utterance = replace(u, trial=ask(w, AudioRef(LIVE, u.piece_from, sample)))
        case Decision.SETTLED:
            _settled(w)
        case Decision.RESUMED:
            _resumed(w, u)
        case Decision.COMMIT:
            _commit(w, u, sample)
        case Decision.FADED:
            s.utterance = None
            if u.softened:
                answering.unsoften(w)
                w.emit(ev.FalseInterruption())


def _started(w: Work, u: Utterance) -> None:
    s = w.s
    u = replace(u, item_id=w.new_id("item"), merges=_merge_target(w) if s.config.turn.merge else None)
    s.utterance = replace(u, over_agent=u.over_agent or answering.has_floor(w))
    w.emit(ev.SpeechStarted(u.item_id, u.start))
    w.mark(w.time_of(s.turn.start))
    w.stir()


def _merge_target(w: Work) -> str | None:
    """The user message that this speech continues: its answer is due or under way, and nobody heard any of it."""
    s = w.s
    if s.active:
        message = s.active.message
        heard = dict(s.playout.unheard(w.position)).get(message.item.id, message.samples) if message else 0
        return s.active.turn if heard == 0 and s.config.turn.interrupt_response else None
    if s.pending:
        last = s.pending[-1].utterance
        return last.merges or last.item_id
    return s.wanted.turn if s.wanted else None


def _soften(w: Work) -> None:
    u = w.s.utterance
    if u and w.s.config.turn.interrupt_response and answering.soften(w):
        w.s.utterance = replace(u, softened=True, over_agent=True)


def _settled(w: Work) -> None:
    """Silent long enough: unless it was told to stop, the agent goes on."""
    u = w.s.utterance
    if u and u.softened and not u.interrupted:
        answering.unsoften(w)


def _resumed(w: Work, u: Utterance) -> None:
    s = w.s
    answering.discard_trial(w)
    trial = u.trial
    if trial and trial.audio.samples >= KEPT_PIECE * INPUT_RATE:
        u = replace(u, pieces=(*u.pieces, trial), piece_from=trial.audio.end, trial=None)
    elif trial:
        if not trial.done:
            w.do(Cancel(trial.job))
        u = replace(u, trial=None)
    if u.prediction:
        w.do(Cancel(u.prediction))
        u = replace(u, prediction=None)
    s.utterance = u
    if not u.interrupted:
        _soften(w)
    w.mark(w.time_of(s.turn.run))


def _interrupt(w: Work) -> None:
    """The interruption is confirmed, if it is one and may be one."""
    u = w.s.utterance
    if u and u.over_agent and not u.interrupted and w.s.config.turn.interrupt_response:
        w.s.utterance = replace(u, interrupted=True, softened=False)
        answering.interrupt(w, "turn_detected")


# --- words ------------------------------------------------------------------------------------------------------------


def ask(w: Work, audio: AudioRef, *, partial: bool = False) -> Piece:
    """Have a stretch of audio transcribed."""
    piece = Piece(w.new_id("job"), audio, w.at)
    w.do(Transcribe(piece.job, (audio,), w.s.config, partial))
    if not partial:
        w.s.meter = replace(w.s.meter, stt_samples=w.s.meter.stt_samples + audio.samples)
    return piece


def _caption(w: Work, u: Utterance, sample: int) -> None:
    """A partial transcript: for captions where wanted, and to tell a word from a cough over the agent's speech."""
    rules = w.s.config.turn
    judging = u.over_agent and not u.interrupted and rules.interrupt_response
    if u.caption is None and (judging or rules.captions is not None):
        w.s.utterance = replace(u, caption=ask(w, AudioRef(LIVE, u.piece_from, sample), partial=True).job)


def predicted(w: Work, i: inp.TurnPredicted) -> None:
    u = w.s.utterance
    if u and u.prediction == i.job:
        w.s.utterance = replace(u, prediction=None)
        w.s.turn = turn.predicted(w.s.turn, i.probability, w.s.config.turn)


def transcribed(w: Work, i: inp.Transcribed | inp.TranscriptionFailed) -> None:
    """STT's answer: to a caption, to the pause that may end the turn, or to a turn that waits for its words."""
    s, u = w.s, w.s.utterance
    text, failed = (i.text.strip(), None) if isinstance(i, inp.Transcribed) else (None, i.message)
    if u and u.caption == i.job:
        s.utterance = replace(u, caption=None, words=text or u.words)
        if text:
            w.emit(ev.PartialTranscript(u.item_id, text))
        _judge(w, text or "")
        return

    def answered(p: Piece) -> Piece:
        return replace(p, text=text, failed=failed, done_at=w.at) if p.job == i.job and not p.done else p

    if u:
        u = replace(u, pieces=tuple(map(answered, u.pieces)), trial=answered(u.trial) if u.trial else None)
        s.utterance = u
        if u.trial and u.trial.job == i.job:
            s.turn = turn.worded(s.turn, promise(text or "", s.config.turn.unfinished))
            _judge(w, text or "")
            _speculate(w)
    s.pending = tuple(
        replace(p, utterance=replace(p.utterance, pieces=tuple(map(answered, p.utterance.pieces)))) for p in s.pending
    )
    wants = (*s.aside_wants, *([s.wanted] if s.wanted else []))
    if failed and any(p.job == i.job and not p.done for x in wants for p in x.pieces):
        w.emit(ev.Failure("stt", failed))
    s.aside_wants = tuple(replace(x, pieces=tuple(map(answered, x.pieces))) for x in s.aside_wants)
    if s.wanted and s.wanted.pieces:
        s.wanted = replace(s.wanted, pieces=tuple(map(answered, s.wanted.pieces)))


def _judge(w: Work, text: str) -> None:
    """What words over the agent's speech mean: stop, or go on."""
    u = w.s.utterance
    if not u or not text or not u.over_agent or u.interrupted:
        return
    if only_backchannel(text, w.s.config.turn.backchannels):
        if u.softened:
            w.s.utterance = replace(u, softened=False)
            answering.unsoften(w)
    else:
        _interrupt(w)


def _speculate(w: Work) -> None:
    """Begin the answer on trial while the pause lasts."""
    s, u = w.s, w.s.utterance
    rules = s.config.turn
    if not u or not u.trial or s.turn.phase != "pause" or not (rules.create_response and s.config.respond):
        return
    text = _text((*u.pieces, u.trial))
    waiting = s.active or s.pending or s.wanted or s.trial or s.peer_gone_at is not None
    if not text or waiting or (_over_unconfirmed(u) and only_backchannel(text, rules.backchannels)):
        return
    message = _message(s.conversation, u, AudioRef(LIVE, u.start, u.trial.audio.end), text)
    answering.begin_trial(w, _with(s.conversation, message), message.id)


def _over_unconfirmed(u: Utterance) -> bool:
    return u.over_agent and not u.interrupted


def _text(pieces: tuple[Piece, ...]) -> str | None:
    """All words, or None while some are not known or none could be."""
    if not pieces or not all(p.done for p in pieces) or all(p.failed is not None for p in pieces):
        return None
    # STT may begin a piece with the mark that ended the one before.
    return " ".join(p.text.lstrip(",.;: ") if n else p.text for n, p in enumerate(pieces) if p.text)


# --- turns ------------------------------------------------------------------------------------------------------------


def _commit(w: Work, u: Utterance, end: int) -> None:
    """The turn is over: from here on it is the user's word, once it is known to be one."""
    s = w.s
    rules = s.config.turn
    s.utterance = None
    w.emit(ev.SpeechStopped(u.item_id, end))
    if u.over_agent and not u.interrupted and not rules.interrupt_response and rules.over_agent == "drop":
        answering.discard_trial(w)
        w.do(*(Cancel(p.job) for p in (*u.pieces, *([u.trial] if u.trial else [])) if not p.done))
        w.emit(ev.TurnDropped(u.item_id, "over_agent", u.words))
        s.buffer_from = end
        return
    commit(w, u, end, respond=rules.create_response and s.config.respond, keep=rules.keep_empty)


def commit(w: Work, u: Utterance, end: int, *, respond: bool, keep: bool) -> None:
    """Make a turn of the live audio from ``u.start`` to ``end``. ``keep`` wants an item even without a word."""
    s = w.s
    asked = (*u.pieces, u.trial) if u.trial else (*u.pieces, ask(w, AudioRef(LIVE, u.piece_from, end)))
    last = asked[-1]
    clock = Clock(u.last_voice_at or w.at, w.at, last.asked_at, last.done_at)
    undecided = _over_unconfirmed(u) and s.config.turn.interrupt_response
    end = max(end, last.audio.end)
    audio = AudioRef(LIVE, u.start, end)
    p = Pending(replace(u, pieces=asked, trial=None), audio, respond, clock, undecided, keep and not undecided)
    s.buffer_from = max(s.buffer_from, end)
    if p.kept and all(earlier.placed for earlier in s.pending):  # else the items would be out of order
        p = _place(w, p, None)
    s.pending = (*s.pending, p)
    w.stir()


def resolve(w: Work) -> None:
    """Settle the turns whose words have come, in their order."""
    while w.s.pending and all(p.done for p in w.s.pending[0].utterance.pieces):
        p, w.s.pending = w.s.pending[0], w.s.pending[1:]
        _settle(w, p)


def _settle(w: Work, p: Pending) -> None:
    s, u = w.s, p.utterance
    text = _text(u.pieces)
    dropped = _why_dropped(w, p, text)
    if dropped:
        if p.undecided:
            answering.unsoften(w)
            if dropped == "noise":
                w.emit(ev.FalseInterruption())
        answering.discard_trial(w)
        w.emit(ev.TurnDropped(u.item_id, dropped, text or ""))
    else:
        if p.undecided:
            answering.interrupt(w, "turn_detected")
        s.meter = replace(s.meter, turns=s.meter.turns + 1)
        if not p.placed:
            p = _place(w, p, text)
        if text is not None:
            _transcript(w, p, text)
    if text is None:
        _not_understood(w, p)
    elif p.respond and text and not dropped:
        done_at = max((x.done_at for x in u.pieces if x.done_at is not None), default=None)
        clock = replace(p.clock, stt_done_at=done_at)
        answering.want(w, Want(turn=p.utterance.item_id, clock=clock))


def _why_dropped(w: Work, p: Pending, text: str | None) -> str | None:
    if p.placed or p.kept:
        return None
    if text is None:
        return "not_understood"
    if not text:
        return "noise"
    if p.undecided and only_backchannel(text, w.s.config.turn.backchannels):
        return "backchannel"
    return None


def _place(w: Work, p: Pending, text: str | None) -> Pending:
    """Put the turn's item into the conversation, or join it to the message it continues."""
    s, u = w.s, p.utterance
    message = _message(s.conversation, u, p.audio, text)
    if s.conversation.get(message.id) is not None:
        s.conversation = s.conversation.replace(message)
        before = s.conversation.previous_id(message.id)
        w.emit(ev.Committed(message.id, before, _spans(message)), ev.ItemChanged(message))
    else:
        w.emit(ev.Committed(message.id, s.conversation.last_id, (p.audio,)))
        answering.add_item(w, message, None)
    return replace(p, utterance=replace(u, item_id=message.id), placed=True)


def _message(conversation: Conversation, u: Utterance, audio: AudioRef, text: str | None) -> Message:
    """The turn as a message: alone, or with the parts of the message it continues before it."""
    before = conversation.get(u.merges) if u.merges else None
    if isinstance(before, Message):
        return replace(before, content=(*before.content, Audio(audio, text)))
    return Message(u.item_id, "user", (Audio(audio, text),))


def _with(conversation: Conversation, message: Message) -> tuple[Item, ...]:
    if conversation.get(message.id) is not None:
        return conversation.replace(message).items
    return (*conversation.items, message)


def _spans(message: Message) -> tuple[AudioRef, ...]:
    return tuple(p.ref for p in message.content if isinstance(p, Audio))


def _transcript(w: Work, p: Pending, text: str) -> None:
    s = w.s
    item = s.conversation.get(p.utterance.item_id)
    parts = item.content if isinstance(item, Message) else ()
    index = next((n for n, part in enumerate(parts) if isinstance(part, Audio) and part.ref == p.audio), None)
    if not isinstance(item, Message) or index is None:
        return  # deleted meanwhile
    content = (*item.content[:index], Audio(p.audio, text), *item.content[index + 1 :])
    s.conversation = s.conversation.replace(replace(item, content=content))
    w.emit(ev.TranscriptDone(item.id, index, text, p.audio.samples / INPUT_RATE))


def _not_understood(w: Work, p: Pending) -> None:
    """Speech came but no words could be had: say so in events, and in the settable words."""
    why = "; ".join(x.failed for x in p.utterance.pieces if x.failed)
    w.emit(ev.Failure("stt", why))
    if p.placed:
        w.emit(ev.TranscriptFailed(p.utterance.item_id, 0, why))
    if p.respond and w.s.config.not_understood:
        answering.want(w, Want(say=w.s.config.not_understood))


def reset(w: Work, reason: str) -> None:
    """Forget the running turn (clear, or push to talk chosen): nothing of it is kept."""
    s, u = w.s, w.s.utterance
    s.turn, s.utterance = turn.IDLE, None
    if u is None:
        return
    answering.discard_trial(w)
    w.do(*(Cancel(p.job) for p in (*u.pieces, *([u.trial] if u.trial else [])) if not p.done))
    w.do(*(Cancel(j) for j in (u.caption, u.prediction) if j))
    if u.softened:
        answering.unsoften(w)
    if u.item_id:
        w.emit(ev.TurnDropped(u.item_id, reason, u.words))
    w.mark(w.at)
