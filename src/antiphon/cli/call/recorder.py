"""Keeps what happens in a session: its events, both channels where they were heard, and the words with their times."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

import numpy as np

from antiphon.audio.pcm import PCM
from antiphon.cli.call.model import Call, Mark, ToolCall, Turn, Word
from antiphon.cli.call.report import event_document
from antiphon.core import events as ev
from antiphon.core.items import INPUT_RATE, OUTPUT_RATE, FunctionCallOutput
from antiphon.core.speech import Clause, heard_text
from antiphon.core.state import State
from antiphon.runtime.playout import FRAME_SECONDS, Speaker

__all__ = ["Heard", "Recorder"]


class Heard(Protocol):
    """What the recorder asks of a session."""

    @property
    def state(self) -> State: ...

    @property
    def heard_output(self) -> int:
        """Samples of the agent's stream that the person has heard."""
        ...


class Recorder:
    """An observer of a session's events and the speaker that it plays to, in one.

    Args:
        clock: The loop's time; the recorder is made when the session is opened.
        speaker: Where frames go on to, when a person listens; its latency counts.
    """

    def __init__(self, clock: Callable[[], float], speaker: Speaker | None = None) -> None:
        self.call = Call()
        self.latency = speaker.latency if speaker else 0.0
        self.agent_now = ""
        """What has been heard of the answer that is being played."""
        self.user_now = ""
        """The latest partial transcript of the turn that is being spoken."""
        self.on_sound: Callable[[], None] = lambda: None
        """Called whenever one of the channels has grown."""
        self._clock = clock
        self._opened = clock()
        self._speaker = speaker
        self._session: Heard | None = None
        self._user: list[PCM] = []
        self._frames: list[tuple[float, PCM]] = []
        self._turns: dict[str, Turn] = {}
        self._response_of: dict[str, str] = {}
        self._parts: defaultdict[str, list[Turn]] = defaultdict(list)
        self._ear = 0.0  # when the first sample of the user's channel was spoken

    @property
    def now(self) -> float:
        """Seconds since the session was opened."""
        return self._clock() - self._opened

    def attach(self, session: Heard) -> None:
        """Name the session, once it is open."""
        self._session = session

    # --- sound --------------------------------------------------------------------------------------------------------

    def hear(self, pcm: PCM) -> None:
        """Note what the session was given to hear (16 kHz)."""
        if not self._user:
            self._ear = max(0.0, self.now - len(pcm) / INPUT_RATE)
        self._user.append(pcm)
        self.on_sound()

    def play(self, frame: PCM, at: float) -> None:
        """Take a frame of the agent's voice, as `Speaker.play`."""
        start = at - self._opened
        self._frames.append((start + self.latency, frame))
        if self._speaker:
            self._speaker.play(frame, at)
        if self._session:
            self._note_words(self._session, start)

    def _note_words(self, session: Heard, start: float) -> None:
        state = session.state
        end = start + FRAME_SECONDS
        position = session.heard_output
        span = next((s for s in state.playout.spans if s.start < position <= s.end), None)
        if state.playout.mode == "ducked":
            self._ducked(start, end)
        if span is None:
            return
        turn = self._turns.get(span.response_id)
        if turn is None:
            return
        if not turn.heard and turn.end <= turn.start:
            turn.start = start
        turn.end = end
        heard = heard_text(_clauses(state, span.item_id), span.item_start + position - span.start)
        if len(heard) > len(turn.heard):
            _add_words(turn, heard, end)
            self.agent_now = turn.heard

    def _ducked(self, start: float, end: float) -> None:
        spans = self.call.ducked
        if spans and start - spans[-1][1] < FRAME_SECONDS:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))

    # --- events -------------------------------------------------------------------------------------------------------

    def observe(self, event: ev.Event) -> None:
        """Take one event; to be subscribed."""
        at = self.now
        self.call.events.append(event_document(event, at))
        match event:
            case ev.SpeechStarted(item_id, sample):
                self._speech_started(item_id, self._ear + sample / INPUT_RATE)
            case ev.SpeechStopped(item_id, sample):
                self._user_turn(item_id).end = self._ear + sample / INPUT_RATE
                self.user_now = ""
            case ev.Committed(item_id):
                self._parts[item_id].append(self._user_turn(item_id))
            case ev.PartialTranscript(item_id, text):
                self._user_turn(item_id).partials.append((at, text))
                self.user_now = text
            case ev.TranscriptDone(item_id, part, text):
                self._part(item_id, part).text = text
            case ev.TranscriptFailed(item_id, part):
                self._part(item_id, part).outcome = "not_understood"
            case ev.TurnDropped(item_id, reason, text):
                self._dropped(item_id, reason, text)
            case ev.Interrupted(_, _, heard):
                self.call.marks.append(Mark(at, "interruption", heard))
                self._cut(event)
            case ev.FalseInterruption():
                self.call.marks.append(Mark(at, "false_interruption"))
            case ev.Failure(stage, message):
                self.call.marks.append(Mark(at, "failure", f"{stage}: {message}"))
            case ev.TurnMetrics():
                self.call.latencies.append(event)
                if turn := self._turns.get(event.response_id):
                    turn.latency = event
            case ev.Ended(record):
                self.call.record = record
            case _:
                self._observe_response(event, at)

    def _observe_response(self, event: ev.Event, at: float) -> None:
        match event:
            case ev.ResponseStarted(response):
                self._open(Turn("agent", response.id, at, at, outcome="in_progress"))
                self.agent_now = ""
            case ev.OutputItemAdded(response_id, _, item):
                self._response_of[item.id] = response_id
            case ev.TextDelta(response_id=response_id, delta=delta):
                if turn := self._turns.get(response_id):
                    turn.text += delta
            case ev.ResponseDone(response):
                if turn := self._turns.get(response.id):
                    turn.outcome = response.status if turn.outcome == "in_progress" else turn.outcome
            case ev.PlayoutStopped(response_id):
                if (turn := self._turns.get(response_id)) and turn.outcome in ("in_progress", "completed"):
                    _add_words(turn, " ".join(turn.text.split()), turn.end)
                self.agent_now = ""
            case ev.PlayoutCleared(response_id):
                if turn := self._turns.get(response_id):
                    turn.outcome = "interrupted" if turn.words else "unheard"
            case ev.ArgumentsDone(call_id=call_id, name=name, arguments=arguments):
                self.call.tools.append(ToolCall(call_id, name, arguments, at))
            case ev.ToolFinished(_, call_id, output, failed):
                self._tool_done(call_id, output, failed, at)
            case ev.ItemAdded(FunctionCallOutput() as item, _):
                self._tool_done(item.call_id, item.output, False, at)
            case _:
                pass

    def _user_turn(self, item_id: str) -> Turn:
        if item_id not in self._turns:
            self._speech_started(item_id, self.now)
        return self._turns[item_id]

    def _part(self, item_id: str, index: int) -> Turn:
        """The turn that became the item's content part `index`."""
        parts = self._parts[item_id]
        return parts[index] if index < len(parts) else self._user_turn(item_id)

    def _speech_started(self, item_id: str, at: float) -> None:
        turn = self._turns.get(item_id)
        if turn is None or turn in self._parts[item_id]:
            # A new turn, or one that goes on after it was committed: the item gets another part.
            self._open(Turn("user", item_id, at, at))
        self.user_now = ""

    def _open(self, turn: Turn) -> None:
        self._turns[turn.id] = turn
        self.call.turns.append(turn)

    def _dropped(self, item_id: str, reason: str, text: str) -> None:
        turn = self._turns.get(item_id)
        if turn is None:
            return  # a sound that was never taken for speech
        turn.outcome, turn.text = f"dropped: {reason}", text or turn.text
        turn.end = max(turn.end, turn.start)

    def _cut(self, event: ev.Interrupted) -> None:
        turn = self._turns.get(event.response_id or self._response_of.get(event.item_id or "", ""))
        if turn is not None:
            turn.outcome = "interrupted" if event.heard or turn.words else "unheard"
            # The history's words are the truth; the frame that was fading may have shown one more.
            _shorten(turn, event.heard)
        self.agent_now = ""

    def _tool_done(self, call_id: str, output: str, failed: bool, at: float) -> None:
        for tool in self.call.tools:
            if tool.call_id == call_id and tool.end is None:
                tool.end, tool.output, tool.failed = at, output, failed

    # --- the end ------------------------------------------------------------------------------------------------------

    def finish(self) -> Call:
        """Put the channels together and spread the user's words over their speech."""
        call = self.call
        before = np.zeros(round(self._ear * INPUT_RATE), np.int16)
        call.user = np.concatenate((before, *self._user))
        call.agent = _placed(self._frames, len(call.user) * OUTPUT_RATE // INPUT_RATE)
        spoken = [(s.start, s.end) for s in call.record.timeline if s.who == "user"] if call.record else []
        for turn in call.turns:
            if turn.who == "user":
                _spread(turn, spoken)
            elif turn.outcome == "in_progress":
                turn.outcome = "incomplete"
        call.turns = sorted((t for t in call.turns if t.who == "user" or t.text), key=lambda t: t.start)
        return call


def _clauses(state: State, item_id: str) -> tuple[Clause, ...]:
    message = state.active.message if state.active else None
    if message and message.item.id == item_id:
        return message.clauses
    return state.spoken.get(item_id, ())


def _add_words(turn: Turn, heard: str, end: float) -> None:
    """Let the turn's heard words grow to `heard`; the new ones end by `end`, each as long as its letters."""
    new = heard.split()[len(turn.words) :]
    turn.heard = heard if new else turn.heard
    if not new:
        return
    start = turn.words[-1].end if turn.words else turn.start
    # A pause between clauses belongs to no word: what is new took no longer than speech does.
    start = max(start, end - 0.12 * sum(len(word) + 1 for word in new))
    letters = sum(len(word) + 1 for word in new)
    for word in new:
        stop = min(end, start + max(0.0, end - start) * (len(word) + 1) / letters)
        letters -= len(word) + 1
        turn.words.append(Word(word, start, stop))
        start = stop


def _shorten(turn: Turn, heard: str) -> None:
    if len(heard) < len(turn.heard):
        turn.heard = heard
        del turn.words[len(heard.split()) :]


def _spread(turn: Turn, spoken: list[tuple[float, float]]) -> None:
    """Give the user's words times: they fill the voiced stretches of the turn, by their letters."""
    inside = [(max(a, turn.start), min(b, turn.end)) for a, b in spoken if a < turn.end and b > turn.start]
    if inside:
        turn.start, turn.end = inside[0][0], inside[-1][1]
    stretches = inside or [(turn.start, turn.end)]
    words = turn.text.split()
    total = sum(b - a for a, b in stretches)
    letters = sum(len(word) + 1 for word in words)
    at = 0.0
    for word in words:
        length = total * (len(word) + 1) / letters
        turn.words.append(Word(word, _time_at(stretches, at), _time_at(stretches, at + length)))
        at += length


def _time_at(stretches: list[tuple[float, float]], offset: float) -> float:
    for start, end in stretches:
        if offset <= end - start:
            return start + offset
        offset -= end - start
    return stretches[-1][1]


def _placed(frames: list[tuple[float, PCM]], least: int) -> PCM:
    """One channel, each frame where it was heard; frames that follow one another closely touch."""
    ends, places, end = 0, [], 0
    for at, frame in frames:
        start = max(0, round(at * OUTPUT_RATE))
        if abs(start - end) < OUTPUT_RATE * FRAME_SECONDS / 2:
            start = end
        places.append(start)
        end = start + len(frame)
        ends = max(ends, end)
    out = np.zeros(max(ends, least), np.int16)
    for start, (_, frame) in zip(places, frames, strict=True):
        out[start : start + len(frame)] = frame
    return out
