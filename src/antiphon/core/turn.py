"""Turn taking on the user's side: when speech starts, pauses, ends, or was only a sound.

Time here is the audio's own (samples at 16 kHz), so a client that sends faster than real time is judged alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from antiphon.core.config import Turn
from antiphon.core.items import INPUT_RATE

Phase = Literal["idle", "sound", "speech", "pause"]

SECOND_LOOK = 0.4
"""Seconds of silence at which the turn detector is asked again: it is surer with more of the pause (Smart Turn)."""
FIRST_CAPTION = 0.3
"""Voiced seconds after which a first partial transcript can tell a word from a cough."""
LONGEST = 30.0
"""Seconds after which a piece of speech is sent to STT even without a pause."""


class Decision(Enum):
    SOUND = "a first voiced frame, which may turn out to be nothing"
    STARTED = "the start rule is met: this is speech"
    CAPTION = "time for a partial transcript"
    CUT = "the running piece is so long that it is transcribed as it is"
    CONFIRMED = "enough voice to confirm an interruption"
    PAUSED = "the voice fell silent"
    PREDICT = "ask the turn detector"
    SPECULATE = "silent long enough to start transcription and the answer on trial"
    SETTLED = "silent long enough that an unconfirmed interruption was none"
    RESUMED = "the pause was none: the user goes on"
    COMMIT = "the turn is over"
    FADED = "the sound came to nothing"


Decisions = tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class TurnState:
    phase: Phase = "idle"
    speaking: bool = False
    """Within a voiced run."""
    start: int = 0
    """First voiced sample of the turn."""
    run: int = 0
    """Where the current voiced run began."""
    voiced: int = 0
    """Voiced samples before the current run."""
    end: int = 0
    """Where the last voiced run ended."""
    confirmed: bool = False
    caption_at: int = 0
    """Voiced samples at which the next caption is due; 0 for none."""
    cut_at: int = 0
    predictions: int = 0
    speculated: bool = False
    settled: bool = False
    wait: float | None = None
    """Seconds the pause may last, once the turn detector has spoken."""
    words: Literal["", "over", "more", "unknown"] = ""
    """What the transcript says of the end; empty until there is one."""


IDLE = TurnState()


def _samples(seconds: float) -> int:
    return round(seconds * INPUT_RATE)


def voice_on(t: TurnState, sample: int, rules: Turn) -> tuple[TurnState, Decisions]:
    """A voiced frame begins at ``sample``."""
    t, decided = reached(t, sample, rules)
    if t.speaking:
        return t, decided
    if t.phase == "idle":
        fresh = TurnState(
            phase="sound",
            speaking=True,
            start=sample,
            run=sample,
            caption_at=_samples(max(FIRST_CAPTION, rules.start)),
            cut_at=sample + _samples(LONGEST),
        )
        return fresh, (*decided, Decision.SOUND)
    again = replace(t, speaking=True, run=sample)
    if t.phase == "pause":
        again = replace(again, phase="speech", predictions=0, speculated=False, settled=False, wait=None, words="")
        return again, (*decided, Decision.RESUMED)
    return again, decided


def voice_off(t: TurnState, sample: int, rules: Turn) -> tuple[TurnState, Decisions]:
    """The last voiced frame ended at ``sample``."""
    t, decided = reached(t, sample, rules)
    if not t.speaking:
        return t, decided
    t = replace(t, speaking=False, voiced=t.voiced + max(0, sample - t.run), end=sample)
    if t.phase == "speech":
        return replace(t, phase="pause"), (*decided, Decision.PAUSED)
    return t, decided


def predicted(t: TurnState, probability: float | None, rules: Turn) -> TurnState:
    """The turn detector's word on the pause; None when it could not tell."""
    if t.phase != "pause" or rules.mode != "semantic":
        return t
    if probability is None:
        return replace(t, wait=rules.silence)
    return replace(t, wait=rules.wait_complete if probability > 0.5 else rules.wait_incomplete)


def worded(t: TurnState, words: Literal["over", "more", "unknown"]) -> TurnState:
    """The transcript of the speech before the pause is known."""
    return replace(t, words=words) if t.phase == "pause" else t


def reached(t: TurnState, sample: int, rules: Turn) -> tuple[TurnState, Decisions]:
    """The VAD has seen everything before ``sample`` without another edge."""
    if t.speaking:
        return _while_speaking(t, sample, rules)
    silent = (sample - t.end) / INPUT_RATE
    if t.phase == "sound" and silent >= rules.resume:
        return IDLE, (Decision.FADED,)
    if t.phase == "pause":
        return _while_silent(t, silent, rules)
    return t, ()


def _while_speaking(t: TurnState, sample: int, rules: Turn) -> tuple[TurnState, Decisions]:
    voiced = t.voiced + sample - t.run
    decided: list[Decision] = []
    if t.phase == "sound" and voiced >= _samples(rules.start):
        t = replace(t, phase="speech")
        decided.append(Decision.STARTED)
    if t.phase == "speech":
        if t.caption_at and voiced >= t.caption_at:
            t = replace(t, caption_at=voiced + _samples(rules.captions) if rules.captions else 0)
            decided.append(Decision.CAPTION)
        if not t.confirmed and voiced >= _samples(rules.confirm):
            t = replace(t, confirmed=True)
            decided.append(Decision.CONFIRMED)
        if sample >= t.cut_at:
            t = replace(t, cut_at=sample + _samples(LONGEST))
            decided.append(Decision.CUT)
    return t, tuple(decided)


def _while_silent(t: TurnState, silent: float, rules: Turn) -> tuple[TurnState, Decisions]:
    decided: list[Decision] = []
    if rules.mode == "semantic" and silent >= (rules.speculate, SECOND_LOOK)[min(t.predictions, 1)]:
        if t.predictions < 2 and t.wait in (None, rules.wait_incomplete):
            decided.append(Decision.PREDICT)
        t = replace(t, predictions=min(t.predictions + 1, 2))
    if not t.speculated and silent >= rules.speculate:
        t = replace(t, speculated=True)
        decided.append(Decision.SPECULATE)
    if not t.settled and silent >= rules.resume:
        t = replace(t, settled=True)
        decided.append(Decision.SETTLED)
    if silent >= _wait(t, rules):
        return IDLE, (*decided, Decision.COMMIT)
    return t, tuple(decided)


def _wait(t: TurnState, rules: Turn) -> float:
    """Voice and words together: an unfinished phrase outweighs a falling voice, a question a level one."""
    if rules.mode != "semantic":
        return rules.silence
    if t.words == "more":
        return rules.wait_incomplete
    wait = t.wait if t.wait is not None else rules.wait_incomplete
    if t.words == "":
        return max(wait, rules.silence)  # an answer needs the words anyway
    return min(wait, rules.wait_complete) if t.words == "over" else wait


def over_at(t: TurnState, rules: Turn) -> int | None:
    """The sample at which a pause that lasts ends the turn; None outside a pause."""
    return t.end + _samples(_wait(t, rules)) if t.phase == "pause" else None


def deadline(t: TurnState, rules: Turn) -> int | None:
    """The next sample at which ``reached`` decides something, if the voice does not change before."""
    if t.speaking:
        due = [t.cut_at]
        if t.phase == "sound":
            due.append(t.run + _samples(rules.start) - t.voiced)
        else:
            if t.caption_at:
                due.append(t.run + t.caption_at - t.voiced)
            if not t.confirmed:
                due.append(t.run + _samples(rules.confirm) - t.voiced)
        return min(due)
    if t.phase == "sound":
        return t.end + _samples(rules.resume)
    if t.phase == "pause":
        waits = [_wait(t, rules)]
        if rules.mode == "semantic" and t.predictions < 2:
            waits.append((rules.speculate, SECOND_LOOK)[t.predictions])
        if not t.speculated:
            waits.append(rules.speculate)
        if not t.settled:
            waits.append(rules.resume)
        return t.end + _samples(min(waits))
    return None
