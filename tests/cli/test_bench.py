"""``antiphon bench``: what it refuses, and what it prints."""

from __future__ import annotations

import pytest

from antiphon.cli.app import run
from antiphon.cli.bench import _print
from antiphon.cli.turn_bench.score import Result, end_of_turn, summary
from antiphon.core.config import Turn


def test_an_unknown_task_is_named_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "turns", "--task", "pause", "--task", "singing"]) == 2
    told = capsys.readouterr().err
    assert "'singing'" in told
    assert "backchannel" in told


def test_the_table_tells_rates_aims_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    results = [Result("pause", "piper", "a ... b", False, 0.61), Result("pause", "espeak", "c ... d", True)]
    detector = end_of_turn([(0.2, 1.0), (0.9, 1.2)], [0.8, 0.4], Turn())
    _print({"tasks": {"pause": summary(results)}, "end_of_turn": detector})
    told = capsys.readouterr().out
    assert told.splitlines()[1].split()[:5] == ["pause", "2", "50%", "0%", "0.61"]
    assert "50% of pauses cut off at 300 ms" in " ".join(told.split())
