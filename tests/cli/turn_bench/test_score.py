"""Judging dialogues: frames and events made by hand."""

from __future__ import annotations

import pytest

from antiphon.cli.turn_bench.material import SPEECH, Dialogue, Task, Utterance
from antiphon.cli.turn_bench.play import Heard
from antiphon.cli.turn_bench.score import end_of_turn, score, summary
from antiphon.core import events as ev
from antiphon.core.config import Turn

LOUD, DUCKED = 4000, 700


def heard(
    task: Task,
    said: list[tuple[float, float]],
    voice: list[tuple[float, float, int]],
    interrupted: float | None = None,
    history: tuple[str, ...] = (),
) -> Heard:
    """The agent sounds from and to, at a peak."""
    over = task in ("interruption", "backchannel", "aside")
    made = Heard(Dialogue(task, "piper:0.9", (Utterance("words", 0.5),), over), said, history=history)
    for start, end, peak in voice:
        made.frames += [(start + index * 0.02, peak) for index in range(round((end - start) / 0.02))]
    if interrupted is not None:
        made.events.append((interrupted, ev.Interrupted("resp_1", "item_1", "")))
    return made


@pytest.mark.parametrize(
    ("voice", "taken", "latency"),
    [
        ([], False, None),
        ([(5.6, 7.0, LOUD)], False, 0.6),
        ([(2.5, 2.7, LOUD)], True, None),
        ([(2.5, 2.7, LOUD), (5.6, 7.0, LOUD)], True, None),
    ],
)
def test_a_pause_is_taken_by_a_voice_before_the_turn_is_said(
    voice: list[tuple[float, float, int]], taken: bool, latency: float | None
) -> None:
    result = score(heard("pause", [(0.5, 2.0), (3.0, 5.0)], voice))
    assert (result.taken, result.voice) == (taken, "piper")
    assert result.latency == (None if latency is None else pytest.approx(latency))


def test_a_turn_is_taken_by_an_answer_and_timed_from_its_last_sound() -> None:
    assert not score(heard("turn", [(0.5, 2.0)], [])).taken
    result = score(heard("turn", [(0.5, 2.0)], [(2.7, 4.0, LOUD)]))
    assert result.taken
    assert result.latency == pytest.approx(0.7)


def test_an_interruption_is_timed_to_the_end_of_the_voice_and_to_the_answer() -> None:
    voice = [(0.0, 2.2, LOUD), (2.2, 2.5, DUCKED), (4.6, 6.0, LOUD)]
    result = score(heard("interruption", [(2.0, 4.0)], voice, interrupted=2.5))
    assert result.taken
    assert result.stopped == pytest.approx(0.5)
    assert result.softened == pytest.approx(0.2)
    assert result.latency == pytest.approx(0.6)


def test_a_backchannel_that_only_ducks_is_none_taken() -> None:
    voice = [(0.0, 2.1, LOUD), (2.1, 2.6, DUCKED), (2.6, 9.0, LOUD)]
    result = score(heard("backchannel", [(2.0, 2.4)], voice))
    assert (result.taken, result.stopped, result.held) == (False, None, 0.0)
    assert result.softened == pytest.approx(0.1)


def test_a_held_voice_is_timed() -> None:
    result = score(heard("backchannel", [(2.0, 2.4)], [(0.0, 2.1, LOUD), (2.9, 9.0, LOUD)]))
    assert result.held == pytest.approx(0.8)


def test_the_end_of_the_speech_long_after_a_sound_is_no_softening() -> None:
    assert score(heard("backchannel", [(2.0, 2.4)], [(0.0, 9.0, LOUD)])).softened is None


def test_words_in_the_history_that_never_began_are_counted() -> None:
    said, voice = [(1.0, 3.0)], [(0.0, 2.0, LOUD)]
    words = SPEECH.split()
    fine = heard("interruption", said, voice, 1.4, (" ".join(words[:5]),))
    assert score(fine).unheard == 0
    assert score(heard("interruption", said, voice, 1.4, (SPEECH,))).unheard > 20


def test_a_summary_counts_and_takes_medians() -> None:
    results = [score(heard("turn", [(0.5, 2.0)], [(2.0 + wait, 4.0, LOUD)] if wait else [])) for wait in (0.4, 0.6, 0)]
    figures = summary(results)
    assert (figures["dialogues"], figures["take_over_rate"]) == (3, 0.667)
    assert figures["latency"]["median"] == pytest.approx(0.5)
    assert figures["stop_latency"] is None
    assert figures["take_over_rate_by_voice"] == {"piper": 0.667}


def test_a_detector_that_sees_everything_costs_the_short_wait_and_a_blind_one_the_long() -> None:
    rules = Turn(wait_complete=0.3, wait_incomplete=2.0)
    pauses = [(0.1, 1.0)] * 20
    good = end_of_turn(pauses, [0.9] * 20, rules)
    assert (good["false_cut_offs_at_300_ms"], good["missed_ends"]) == (0.0, 0.0)
    assert (good["latency_at_5_percent"], good["silence_at_5_percent"]) == (0.3, 1.0)
    blind = end_of_turn([(0.9, 1.0)] * 20, [0.9] * 20, rules)
    assert (blind["false_cut_offs_at_300_ms"], blind["latency_at_5_percent"]) == (1.0, 2.0)
