"""What is drawn for the turn bench."""

from __future__ import annotations

import pytest

from antiphon.cli.turn_bench.material import NOISES, TASKS, VOICES, Task, dialogues


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_draws_the_same_dialogues(task: Task) -> None:
    first = list(dialogues(task, 30, 1))
    assert first == list(dialogues(task, 30, 1))
    assert first != list(dialogues(task, 30, 2))
    assert len(first) == 30
    assert {dialogue.voice for dialogue in first} == set(VOICES)


def test_pauses_lie_within_a_turn_and_are_longer_than_the_shortest_wait() -> None:
    for dialogue in dialogues("pause", 60, 3):
        assert [utterance.cue for utterance in dialogue.utterances] == ["start", "start"]
        assert 0.6 <= dialogue.utterances[1].after <= 1.6
        assert not dialogue.agent_speaks


def test_half_of_the_noises_fall_into_silence() -> None:
    drawn = list(dialogues("noise", 2 * len(NOISES), 1))
    assert sum(dialogue.agent_speaks for dialogue in drawn) == len(NOISES)
    assert {(d.utterances[0].text, d.agent_speaks) for d in drawn} == {(n, s) for n in NOISES for s in (True, False)}
