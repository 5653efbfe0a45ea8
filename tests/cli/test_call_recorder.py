"""What the recorder makes of events and frames by themselves; whole calls are in test_converse.py."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.audio.pcm import PCM
from antiphon.cli.call.recorder import Recorder
from antiphon.cli.call.report import document
from antiphon.core import events as ev
from antiphon.core.config import Config
from antiphon.core.items import FunctionCallOutput, Message, Usage
from antiphon.runtime.playout import NullSpeaker

FRAME: PCM = np.full(480, 5, np.int16)


class Clock:
    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(clock: Clock) -> Recorder:
    return Recorder(clock)


def ended(seconds: float, *timeline: ev.Segment) -> ev.Ended:
    return ev.Ended(ev.Record("closed", seconds, timeline, (), Usage(), 0, 0, 0, Usage(), 0, 0, 0))


def observe(recorder: Recorder, *events: ev.Event) -> None:
    for event in events:
        recorder.observe(event)


def spoken(item: str, start: int, stop: int, part: int, text: str) -> tuple[ev.Event, ...]:
    return (
        ev.SpeechStarted(item, start),
        ev.SpeechStopped(item, stop),
        ev.Committed(item, None, ()),
        ev.TranscriptDone(item, part, text, 1.0),
    )


def test_a_turn_that_goes_on_has_parts_with_words_of_their_own(recorder: Recorder) -> None:
    observe(recorder, *spoken("item_1", 0, 16_000, 0, "one two"), *spoken("item_1", 32_000, 48_000, 1, "three"))
    observe(recorder, ended(4.0, ev.Segment("user", 0.1, 0.7), ev.Segment("user", 2.0, 2.6)))
    first, second = recorder.finish().turns
    assert (first.id, first.text, second.id, second.text) == ("item_1", "one two", "item_1", "three")
    assert (first.start, first.end, second.start, second.end) == (0.1, 0.7, 2.0, 2.6)
    assert [word.text for word in first.words] == ["one", "two"]
    assert first.words[0].start == pytest.approx(0.1)
    assert first.words[1].end == pytest.approx(0.7)
    assert second.words[0].start == pytest.approx(2.0)


def test_a_part_that_was_a_backchannel_leaves_the_turn_before_it_alone(recorder: Recorder) -> None:
    observe(recorder, *spoken("item_1", 0, 16_000, 0, "one two"), ev.SpeechStarted("item_1", 32_000))
    observe(recorder, ev.SpeechStopped("item_1", 40_000), ev.TurnDropped("item_1", "backchannel", "uh-huh"))
    observe(recorder, ev.TurnDropped("item_9", "noise"))
    first, second = recorder.finish().turns
    assert (first.text, first.outcome) == ("one two", "completed")
    assert (second.text, second.outcome) == ("uh-huh", "dropped: backchannel")


def test_a_transcript_may_come_when_the_next_part_has_begun(recorder: Recorder) -> None:
    observe(recorder, ev.SpeechStarted("item_1", 0), ev.SpeechStopped("item_1", 9), ev.Committed("item_1", None, ()))
    observe(recorder, ev.SpeechStarted("item_1", 16_000), ev.PartialTranscript("item_1", "thr"))
    observe(recorder, ev.TranscriptDone("item_1", 0, "one two", 1.0), ev.TranscriptFailed("item_1", 1, "no"))
    first, second = recorder.finish().turns
    assert (first.text, second.text, second.outcome) == ("one two", "", "not_understood")
    assert second.partials == [(0.0, "thr")]


def test_words_skip_the_pauses_in_a_turn(recorder: Recorder) -> None:
    observe(recorder, *spoken("item_1", 0, 64_000, 0, "aaa bbb"))
    observe(recorder, ended(5.0, ev.Segment("user", 0, 1), ev.Segment("silence", 1, 3), ev.Segment("user", 3, 4)))
    words = recorder.finish().turns[0].words
    assert [(word.start, word.end) for word in words] == [(0, 1), (1, 4)]


def test_the_users_channel_begins_when_the_first_sound_did(recorder: Recorder, clock: Clock) -> None:
    clock.now += 0.52
    recorder.hear(np.full(320, 3, np.int16))
    observe(recorder, ev.SpeechStarted("item_1", 160))
    call = recorder.finish()
    assert len(call.user) == 8320
    assert not call.user[:8000].any()
    assert call.user[8000:].all()
    assert call.turns[0].start == pytest.approx(0.51)


def test_frames_lie_where_they_were_heard(recorder: Recorder) -> None:
    for at in (100.5, 100.521, 100.539, 102.0):
        recorder.play(FRAME, at)
    agent = recorder.finish().agent
    assert np.flatnonzero(agent).tolist() == [*range(12_000, 13_440), *range(48_000, 48_480)]


def test_a_speaker_s_latency_counts_and_it_gets_the_frames(clock: Clock) -> None:
    class Loud(NullSpeaker):
        latency = 0.25
        played: list[float] = []  # noqa: RUF012

        def play(self, frame: PCM, at: float) -> None:
            self.played.append(at)

    recorder = Recorder(clock, Loud())
    recorder.play(FRAME, 100.0)
    assert recorder.latency == 0.25
    assert Loud.played == [100.0]
    assert int(np.flatnonzero(recorder.finish().agent)[0]) == 6000


def test_an_interruption_finds_its_answer_by_the_item(recorder: Recorder) -> None:
    for n in (1, 2):
        message = Message(f"item_{n}", "assistant")
        observe(
            recorder,
            ev.ResponseStarted(ev.ResponseView(f"resp_{n}", "in_progress", Config())),
            ev.OutputItemAdded(f"resp_{n}", 0, message),
            ev.TextDelta(f"resp_{n}", f"item_{n}", 0, 0, "audio", "Some words of mine."),
            ev.ResponseDone(ev.ResponseView(f"resp_{n}", "completed", Config())),
            ev.PlayoutStopped(f"resp_{n}"),
        )
    observe(recorder, ev.Interrupted(None, "item_1", "Some words"), ev.Interrupted(None, None, ""))
    first, second = recorder.finish().turns
    assert (first.outcome, first.heard, len(first.words)) == ("interrupted", "Some words", 2)
    assert (second.outcome, second.heard) == ("completed", "Some words of mine.")


def test_a_tool_s_result_may_come_from_the_client(recorder: Recorder, clock: Clock) -> None:
    observe(recorder, ev.ArgumentsDone("resp_1", "item_1", 0, "call_1", "f", "{}"))
    clock.now += 2
    observe(recorder, ev.ItemAdded(FunctionCallOutput("item_2", "call_1", "42"), None))
    observe(recorder, ev.ToolFinished("item_1", "call_1", "43", failed=True))
    (tool,) = recorder.finish().tools
    assert (tool.start, tool.end, tool.output, tool.failed) == (0.0, 2.0, "42", False)


def test_the_document_of_an_empty_call(recorder: Recorder) -> None:
    observe(recorder, ev.Configured(Config()), ev.Failure("stt", "gone"))
    told = document(recorder.finish())
    assert (told["seconds"], told["reason"], told["usage"], told["turns"]) == (0.0, None, None, [])
    assert told["failures"] == [{"at": 0.0, "text": "stt: gone"}]
    assert told["events"][0] == {"at": 0.0, "type": "Configured"}
    assert set(told["latency_medians"].values()) == {None}
