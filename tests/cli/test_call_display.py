from __future__ import annotations

import io

import pytest
from rich.console import Console

from antiphon.cli.call.display import Display, summarise, timeline_strip
from antiphon.cli.call.recorder import Recorder
from antiphon.core import events as ev
from antiphon.core.config import Config
from antiphon.core.items import Usage
from antiphon.core.timeline import Timeline


def shown(*events: ev.Event, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, no_color=True)
    recorder = Recorder(lambda: 0.0)
    timeline = Timeline().mark("user", 1.0).mark("agent", 3.0)
    with Display(console, recorder, lambda: timeline) as display:
        for event in events:
            recorder.observe(event)
            display.observe(event)
    return out.getvalue()


def response(status: ev.ResponseStatus = "in_progress") -> ev.ResponseView:
    return ev.ResponseView("resp_1", status, Config())


SPOKEN = (
    ev.ResponseStarted(response()),
    ev.TextDelta("resp_1", "item_2", 0, 0, "audio", "Good day to you."),
    ev.PlayoutStarted("resp_1"),
    ev.ResponseDone(response("completed")),
)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (ev.PartialTranscript("item_1", "How are"), "user   How are …"),
        (ev.TranscriptDone("item_1", 0, "How are you?", 1.0), "user   How are you?"),
        (ev.TranscriptDone("item_1", 0, "", 1.0), "user   (no words)"),
        (ev.TranscriptFailed("item_1", 0, "time-out"), "user   (not understood) time-out"),
        (ev.TurnDropped("item_1", "over_agent", "uh-huh"), "user   (not a turn: over agent) uh-huh"),
        (ev.FalseInterruption(), "agent  (false interruption) goes on"),
        (ev.Interrupted(None, None, ""), "agent  (withdrawn unheard)"),
        (ev.TurnMetrics("resp_1", 0.5, None, 0.2, 0.1, 0.8), "end of turn 0.50 s · LLM 0.20 s · TTS 0.10 s"),
        (ev.ArgumentsDone("r", "i", 0, "c", "get_time", "{}"), "tool   get_time({})"),
        (ev.ToolFinished("i", "c", "no such city " * 40, failed=True), "tool   (failed) no such"),
        (ev.Failure("llm", "unreachable"), "llm    (failure) unreachable"),
        (ev.Rejected(None, "code", "not now"), "(rejected) not now"),
        (ev.Ending("max_seconds"), "call ends: max_seconds"),
    ],
)
def test_a_line_for_an_event(event: ev.Event, expected: str) -> None:
    assert expected in shown(event)


def test_what_was_said_is_shown_once_it_was_heard() -> None:
    assert "Good day" not in shown(*SPOKEN)
    assert "agent  Good day to you." in shown(*SPOKEN, ev.PlayoutStopped("resp_1"))


def test_an_interrupted_answer_is_shown_as_heard_and_once() -> None:
    told = shown(*SPOKEN, ev.PlayoutCleared("resp_1"), ev.PlayoutStopped("resp_1"), ev.Interrupted(None, "i", "Good"))
    assert "agent  (interrupted) Good …" in told
    assert "Good day" not in told


def test_a_terminal_shows_what_is_being_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.cli.call.display._FRAME", 0.0)
    told = shown(ev.SpeechStarted("item_1", 0), ev.PartialTranscript("item_1", "How are"), terminal=True)
    assert "How are" in told
    assert "How are …" not in told
    assert "silence" in told


def test_the_strip_shows_who_had_the_floor() -> None:
    segments = (ev.Segment("silence", 0.0, 1.0), ev.Segment("user", 1.0, 3.0), ev.Segment("agent", 3.0, 4.0))
    strip = timeline_strip(segments, 4.0, 80)
    assert strip.plain == "━━██████"
    assert [span.style for span in strip.spans] == ["bright_black", "green", "blue"]
    assert len(timeline_strip((ev.Segment("user", 0, 4000),), 4000.0, 80).plain) == 80


def test_the_summary() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, no_color=True)
    recorder = Recorder(lambda: 0.0)
    metrics = [ev.TurnMetrics(f"resp_{n}", 0.5, 0.1 * n, None, 0.1, 0.8) for n in (1, 2)]
    usage, speculative = Usage(input_text_tokens=70, output_text_tokens=30), Usage(input_text_tokens=5)
    record = ev.Record("closed", 3.0, (ev.Segment("user", 0, 3),), (), usage, 1.5, 42, 2.5, speculative, 2, 2, 1)
    second = ev.ResponseView("resp_2", "in_progress", Config())
    told_events: tuple[ev.Event, ...] = (
        *SPOKEN,
        ev.PlayoutStopped("resp_1"),
        ev.ResponseStarted(second),
        ev.TextDelta("resp_2", "item_3", 0, 0, "audio", "Well."),
        ev.PlayoutStopped("resp_2"),
        *metrics,
        ev.TurnMetrics("resp_3", 0.5, 9.9, None, 0.1, 0.8),
        ev.Ended(record),
    )
    for event in told_events:
        recorder.observe(event)
    summarise(console, recorder.call)
    told = out.getvalue()
    assert "3.0 s, ended: closed" in told
    assert "user 3.0 s · agent 0.0 s · silence 0.0 s" in told
    assert "0.150" in next(line for line in told.splitlines() if line.startswith("median"))
    assert "9.9" not in told
    assert "2 turns, 2 responses, 1 interruptions" in told
    assert "LLM 70 tokens in, 30 out" in told
    assert "thrown away unheard: LLM 5 tokens in" in told


def test_a_call_without_a_record_has_no_summary() -> None:
    out = io.StringIO()
    summarise(Console(file=out), Recorder(lambda: 0.0).call)
    assert out.getvalue() == ""
