"""From what was heard to figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median
from typing import Any

import numpy as np

from antiphon.cli.turn_bench.material import SPEECH
from antiphon.cli.turn_bench.play import Heard
from antiphon.core import events as ev
from antiphon.core.config import Turn

CHARS_PER_SECOND = 15.0
"""How fast the scripted voice speaks."""
_BEGUN = 0.1
"""Seconds by which a word may be thought to have begun too early: the voice breathes at clauses, our count does not."""


@dataclass(frozen=True, slots=True)
class Result:
    """One dialogue's figures; seconds.

    Attributes:
        taken: The agent took the floor: in a pause, after a turn, or gave up its speech where it was spoken over.
        latency: End of the user's last sound to the agent's answer.
        stopped: Beginning of the user's sound to the end of the agent's voice.
        softened: Beginning of the user's sound to the agent's voice being ducked or silent.
        held: Longest silence of the agent before it went on.
        unheard: Words in the history that the user never heard begin.
    """

    task: str
    voice: str
    text: str
    taken: bool
    latency: float | None = None
    stopped: float | None = None
    softened: float | None = None
    held: float | None = None
    unheard: int = 0


def score(heard: Heard) -> Result:
    """Judge one dialogue by its task."""
    dialogue = heard.dialogue
    result = partial(
        Result,
        task=dialogue.task,
        voice=dialogue.voice.partition(":")[0],
        text=" ... ".join(utterance.text for utterance in dialogue.utterances),
        unheard=_unheard(heard),
    )
    onset, end = heard.said[0][0], heard.said[-1][1]
    if not dialogue.agent_speaks:
        first = next((start for start, _ in heard.voice() if start >= heard.said[0][1]), None)
        latency = None if first is None or first < end else first - end
        # In a pause the floor is the user's until the whole turn is said.
        taken = first is not None and (dialogue.task != "pause" or first < end)
        return result(taken=taken, latency=latency)
    given_up = next((at for at, event in heard.events if isinstance(event, ev.Interrupted) and at >= onset), None)
    stretches = list(heard.voice())
    if given_up is not None:
        stopped = max((stop for start, stop in stretches if start <= given_up), default=onset) - onset
        answer = next((start for start, _ in stretches if start >= max(end, given_up)), None)
        return result(
            taken=True,
            latency=None if answer is None else answer - end,
            stopped=max(0.0, stopped),
            softened=_softened(heard, onset),
        )
    cut = next((index for index, (_, stop) in enumerate(stretches) if stop > onset), 0)
    gaps = [later[0] - earlier[1] for earlier, later in zip(stretches[cut:], stretches[cut + 1 :], strict=False)]
    return result(taken=False, softened=_softened(heard, onset), held=max(gaps, default=0.0))


def _softened(heard: Heard, onset: float) -> float | None:
    """When the voice fell to less than half of what it was, if it did while the user made a sound or just after."""
    until = heard.said[0][1] + 0.5
    before = max((peak for at, peak in heard.frames if at < onset), default=0)
    moments = [at for at, peak in heard.frames if onset <= at <= until and peak < before / 2]
    moments += [stop for start, stop in heard.voice() if start <= onset < stop <= until]
    return min(moments) - onset if moments else None


def _unheard(heard: Heard) -> int:
    """Words of the history's account of :data:`SPEECH` that were not begun when it was cut."""
    if not heard.dialogue.agent_speaks or not heard.history:
        return 0
    ends = [at for at, event in heard.events if isinstance(event, ev.Interrupted)]
    until = ends[0] if ends else float("inf")
    played = sum(stop - start for start, stop in heard.voice() if start <= until)
    words = list(re.finditer(r"\S+", SPEECH))
    kept = len(heard.history[0].split())
    return sum(word.start() / CHARS_PER_SECOND > played + _BEGUN for word in words[:kept])


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """The figures of one task."""

    def values(pick: Callable[[Result], float | None]) -> list[float]:
        return [value for result in results if (value := pick(result)) is not None]

    def both(found: list[float]) -> dict[str, float] | None:
        if not found:
            return None
        return {"median": round(median(found), 3), "p95": round(float(np.percentile(found, 95)), 3)}

    by_voice = sorted({result.voice for result in results})
    return {
        "dialogues": len(results),
        "take_over_rate": round(fmean(result.taken for result in results), 3),
        "take_over_rate_by_voice": {
            voice: round(fmean(result.taken for result in results if result.voice == voice), 3) for voice in by_voice
        },
        "latency": both(values(lambda result: result.latency)),
        "stop_latency": both(values(lambda result: result.stopped)),
        "soften_latency": both(values(lambda result: result.softened)),
        "held": both(values(lambda result: result.held)),
        "unheard_words": sum(result.unheard for result in results),
    }


def end_of_turn(
    pauses: Sequence[tuple[float, float]], ends: Sequence[float], rules: Turn, *, most: float = 0.05
) -> dict[str, float]:
    """What the turn detector is worth, apart from everything else.

    Args:
        pauses: For each pause within a turn: the detector's probability that the turn is over, and the pause's length.
        ends: For each end of a turn: the detector's probability.
        rules: The waits.
        most: The share of pauses that may be taken for an end.

    Returns:
        ``false_cut_offs_at_300_ms``: pauses taken for an end when the agent waits 300 ms where the detector says that
        the turn is over; ``missed_ends``: ends that it does not see; ``latency_at_5_percent``: mean wait at the
        threshold that takes 5 % of the pauses for an end, and ``silence_at_5_percent``: the plain wait that does as
        badly.
    """
    likely = np.array([probability for probability, _ in pauses])
    lengths = np.array([length for _, length in pauses])
    sure = np.array(ends)
    threshold = float(np.quantile(likely, 1 - most, method="higher"))
    waits = np.where(sure > threshold, rules.wait_complete, rules.wait_incomplete)
    return {
        "pauses": len(pauses),
        "ends": len(ends),
        "false_cut_offs_at_300_ms": round(float(np.mean((likely > 0.5) & (lengths > 0.3))), 3),
        "missed_ends": round(float(np.mean(sure <= 0.5)), 3),
        "latency_at_5_percent": round(float(waits.mean()), 3),
        "silence_at_5_percent": round(float(np.quantile(lengths, 1 - most, method="higher")), 3),
    }
