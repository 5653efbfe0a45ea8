"""The small parts of the core, each by itself."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core import turn
from antiphon.core.clauses import cut
from antiphon.core.config import BACKCHANNELS, UNFINISHED, Turn
from antiphon.core.conversation import Conversation, estimated_tokens, gist, history
from antiphon.core.events import Segment
from antiphon.core.inputs import Word
from antiphon.core.items import (
    Audio,
    AudioRef,
    FunctionCall,
    FunctionCallOutput,
    Image,
    McpCall,
    McpListTools,
    Message,
    Text,
    Usage,
)
from antiphon.core.meter import Meter
from antiphon.core.playout import Playout
from antiphon.core.speech import Clause, grown, heard_text, only_backchannel, promise
from antiphon.core.timeline import Timeline
from antiphon.core.turn import Decision
from antiphon.core.vad import voiced

S = 16_000


def user(item_id: str, text: str) -> Message:
    return Message(item_id, "user", (Text(text),))


# --- VAD ---


def test_voice_has_hysteresis() -> None:
    assert [voiced(False, p, 0.5) for p in (0.49, 0.5)] == [False, True]
    assert [voiced(True, p, 0.5) for p in (0.36, 0.34)] == [True, False]


# --- clauses ---


@pytest.mark.parametrize(
    ("text", "first", "clauses", "rest"),
    [
        ("Hello. How are you? I am", True, ("Hello. ", "How are you? "), "I am"),
        ("Dr. Who costs 3.50 and e.g. more", True, (), "Dr. Who costs 3.50 and e.g. more"),
        ("Well, I think that is about right, but", True, ("Well, I think that is about right, ",), "but"),
        ("Well, I think that is about right, but", False, (), "Well, I think that is about right, but"),
        ("One line\nanother", False, ("One line\n",), "another"),
        ("\u4f60\u597d\u3002\u518d\u89c1", False, ("\u4f60\u597d\u3002",), "\u518d\u89c1"),
        ("   ", True, (), "   "),
    ],
)
def test_clauses_end_where_speech_would(text: str, first: bool, clauses: tuple[str, ...], rest: str) -> None:
    assert cut(text, first=first) == (clauses, rest)


def test_overlong_clauses_end_at_a_comma_else_a_space_else_anywhere() -> None:
    comma = "word " * 30 + "here, " + "word " * 30
    assert cut(comma, first=False)[0][0].endswith("here, ")
    assert cut("word " * 60, first=False)[0][0].endswith("word ")
    assert len(cut("x" * 500, first=False)[0][0]) == 220
    assert len(cut("x" * 300 + ". ", first=False)[0][0]) == 220


@given(st.text(alphabet="ab,.!? \n\u3002", max_size=600), st.booleans(), st.booleans())
def test_cutting_loses_nothing(text: str, first: bool, final: bool) -> None:
    clauses, rest = cut(text, first=first, final=final)
    assert "".join(clauses) + rest == text
    assert all(c.strip() for c in clauses)
    assert not final or not rest.strip()


# --- heard words ---


def test_heard_words_by_the_voices_own_timing() -> None:
    clause = grown(
        Clause("j", "Hello there friend", 0), 24_000, (Word("Hello", 5000), Word("there", 9000), Word("friend", 20_000))
    )
    assert heard_text([clause], 9000) == "Hello there"
    assert heard_text([clause], 8999) == "Hello"


def test_heard_words_in_proportion_when_the_voice_does_not_tell() -> None:
    done = Clause("j", "aaaa bbbb cccc ", 0, samples=15_000, done=True)
    assert [heard_text([done], n) for n in (0, 3999, 4000, 9000, 15_000)] == [
        "",
        "",
        "aaaa",
        "aaaa bbbb",
        "aaaa bbbb cccc",
    ]
    running = Clause("j", "aaaa bbbb ", 0, samples=1000)
    assert heard_text([running], 8000) == "aaaa"  # 15 characters a second


def test_a_voice_that_told_some_words_is_believed_for_these() -> None:
    clause = Clause("j", "You said: that ", 0, samples=4800, words=(Word("You", 4800),))
    assert heard_text([clause], 6240) == "You"
    assert heard_text([clause], 4800 + 9 * 1600) == "You", "what it did not tell has not ended"
    done = Clause("j", "You said: that ", 0, samples=4800 + 11_000, words=(Word("You", 4800),), done=True)
    assert heard_text([done], 4800 + 5000) == "You said:"


@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=5), st.integers(0, 200_000), st.integers(0, 9000))
def test_more_audio_never_means_fewer_words(samples: list[int], heard: int, more: int) -> None:
    clauses, start = [], 0
    for n, length in enumerate(samples):
        clauses.append(Clause(f"j{n}", "some words here. ", start, length, done=True))
        start += length
    assert heard_text(clauses, heard + more).startswith(heard_text(clauses, heard))


def test_backchannels_are_nothing_but_go_on() -> None:
    assert only_backchannel("Uh-huh.", BACKCHANNELS)
    assert only_backchannel("Yeah, right", BACKCHANNELS)
    assert only_backchannel("Mm-mm-mm.", BACKCHANNELS)
    assert not only_backchannel("Stop!", BACKCHANNELS)
    assert not only_backchannel("", BACKCHANNELS)
    assert not only_backchannel("yeah yeah yeah yeah yeah", BACKCHANNELS)


# --- turns ---


def decisions(events: list[tuple[str, float]], rules: Turn) -> list[Decision]:
    t, seen = turn.IDLE, []
    for kind, at in events:
        move = {"on": turn.voice_on, "off": turn.voice_off, "reach": turn.reached}[kind]
        t, decided = move(t, round(at * S), rules)
        seen += decided
    return seen


def test_a_turn_of_plain_speech() -> None:
    seen = decisions([("on", 1.0), ("off", 3.0), ("reach", 3.2), ("reach", 3.4), ("reach", 3.5)], Turn())
    assert seen == [
        Decision.SOUND, Decision.STARTED, Decision.CAPTION, Decision.CONFIRMED, Decision.PAUSED, Decision.SPECULATE,
        Decision.SETTLED, Decision.COMMIT,
    ]  # fmt: skip


def test_a_click_fades() -> None:
    assert decisions([("on", 1.0), ("off", 1.1), ("reach", 1.5)], Turn()) == [Decision.SOUND, Decision.FADED]


def test_syllables_add_up_to_speech() -> None:
    seen = decisions([("on", 1.0), ("off", 1.12), ("on", 1.2), ("reach", 1.3)], Turn())
    assert Decision.STARTED in seen


def test_a_pause_that_was_none() -> None:
    seen = decisions([("on", 1.0), ("off", 2.0), ("on", 2.45), ("off", 3.0), ("reach", 3.5)], Turn())
    assert seen.count(Decision.COMMIT) == 1
    assert Decision.RESUMED in seen


def test_edges_said_twice_change_nothing() -> None:
    once = decisions([("on", 1.0), ("off", 2.0)], Turn())
    assert decisions([("on", 1.0), ("on", 1.0), ("off", 2.0), ("off", 2.0)], Turn()) == once


def test_captions_repeat_and_endless_speech_is_cut() -> None:
    rules = Turn(captions=1.0)
    events = [("on", 0.0), *(("reach", float(n)) for n in range(1, 36))]
    seen = decisions(events, rules)
    assert seen.count(Decision.CAPTION) > 20
    assert seen.count(Decision.CUT) == 1


@pytest.mark.parametrize(
    ("p", "words", "committed_at"),
    [
        (0.9, "unknown", 0.3),
        (0.1, "unknown", 2.0),
        (None, "unknown", 0.5),
        (0.9, "more", 2.0),
        (0.1, "over", 0.3),
        (0.9, "", 0.5),
    ],
)
def test_voice_and_words_choose_the_wait(p: float | None, words: Any, committed_at: float) -> None:
    rules = Turn(mode="semantic")
    t, _ = turn.voice_on(turn.IDLE, S, rules)
    t, _ = turn.voice_off(t, 2 * S, rules)
    t, decided = turn.reached(t, round(2.2 * S), rules)
    assert Decision.PREDICT in decided
    t = turn.predicted(t, p, rules)
    if words:
        t = turn.worded(t, words)
    t, decided = turn.reached(t, round((2 + committed_at) * S) - 512, rules)
    assert Decision.COMMIT not in decided
    t, decided = turn.reached(t, round((2 + committed_at) * S), rules)
    assert Decision.COMMIT in decided


def test_an_unsure_turn_detector_is_asked_again() -> None:
    rules = Turn(mode="semantic")
    t, _ = turn.voice_on(turn.IDLE, S, rules)
    t, _ = turn.voice_off(t, 2 * S, rules)
    t, _ = turn.reached(t, round(2.2 * S), rules)
    t = turn.predicted(t, 0.2, rules)
    assert turn.deadline(t, rules) == round(2.4 * S)
    t, decided = turn.reached(t, round(2.4 * S), rules)
    assert Decision.PREDICT in decided


def test_predictions_out_of_season_are_ignored() -> None:
    assert turn.predicted(turn.IDLE, 0.9, Turn(mode="semantic")) is turn.IDLE
    assert turn.worded(turn.IDLE, "more") is turn.IDLE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("I would like to book a flight to.", "more"),
        ("Well, let me think.", "more"),
        ("My number is four,", "more"),
        ("How far is it?", "over"),
        ("Turn off the lights.", "unknown"),
        ("", "unknown"),
    ],
)
def test_words_promise_more_or_an_end(text: str, says: str) -> None:
    assert promise(text, UNFINISHED) == says


@given(
    st.lists(st.tuples(st.sampled_from(["on", "off", "reach"]), st.floats(0.0, 0.8)), max_size=40),
    st.sampled_from(["silence", "semantic"]),
)
def test_deadlines_lie_ahead_and_lead_home(steps: list[tuple[str, float]], mode: str) -> None:
    rules = Turn(mode=mode)  # type: ignore[arg-type]
    t, now = turn.IDLE, 0
    for kind, gap in steps:
        now += round(gap * S)
        move = {"on": turn.voice_on, "off": turn.voice_off, "reach": turn.reached}[kind]
        t, _ = move(t, now, rules)
        assert (turn.deadline(t, rules) is None) == (t.phase == "idle")
    t, _ = turn.voice_off(t, now, rules)
    for _ in range(20):  # left alone, every turn ends by itself
        due = turn.deadline(t, rules)
        if due is not None:
            t, _ = turn.reached(t, max(now, due), rules)
    assert t.phase == "idle"


# --- conversation ---


def test_items_are_put_where_they_were_asked() -> None:
    c = Conversation()
    for item, after in (
        (user("b", "b"), None),
        (user("a", "a"), "root"),
        (user("c", "c"), None),
        (user("x", "x"), "a"),
    ):
        added = c.insert(item, after)
        assert added is not None
        c = added
    assert [i.id for i in c.items] == ["a", "x", "b", "c"]
    assert c.insert(user("y", "y"), "nowhere") is None
    assert (c.previous_id("a"), c.previous_id("x"), c.previous_id("none"), c.last_id) == (None, "a", None, "c")
    assert [i.id for i in c.delete("x").items] == ["a", "b", "c"]


def test_history_is_in_an_order_any_chat_api_takes() -> None:
    items = (
        user("1", "weather?"),
        FunctionCall("2", "call_a", "f", "{}"),
        FunctionCall("3", "call_b", "f", "{}"),
        user("4", "are you there?"),
        FunctionCallOutput("5", "call_a", "rain"),
        Message("6", "assistant", (Audio(AudioRef("6", 0, 10), "never heard"),), heard=""),
        FunctionCall("7", "call_c", "f", "{", "incomplete"),
        McpListTools("8", "srv"),
        McpCall("9", "srv", "g", "{}"),
        McpCall("10", "srv", "g", "{}", status="in_progress"),
    )
    got = history(items)
    assert [i.id for i in got] == ["1", "2", "5", "3", "3_running", "4", "9"]
    assert "running" in got[4].output  # type: ignore[union-attr]
    assert "running" in (got[6].output or "")  # type: ignore[union-attr]


def test_the_oldest_go_first_and_never_a_lone_output() -> None:
    items = (
        FunctionCall("1", "c", "f", "x" * 400),
        FunctionCallOutput("2", "c", "y" * 40),
        user("3", "z" * 40),
        user("4", "w" * 40),
    )
    assert [i.id for i in history(items, tokens=60)] == ["3", "4"]
    assert [i.id for i in history(items, tokens=1000)] == ["1", "2", "3", "4"]
    assert [i.id for i in history(items[2:], tokens=20, retention=0.1)] == ["4"]


def test_a_history_that_was_cut_grows_again_before_the_next_cut() -> None:
    items = [Message(str(n), "user", (Text("x" * 24),)) for n in range(1, 13)]  # ten tokens each
    kept = [[i.id for i in history(items[:n], tokens=50, retention=0.6)] for n in range(5, 13)]
    assert [k[0] for k in kept] == ["1", "4", "4", "4", "7", "7", "7", "10"]
    assert [len(k) for k in kept] == [5, 3, 4, 5, 3, 4, 5, 3]


def test_estimates_count_pictures_and_everything_else() -> None:
    picture = Message("1", "user", (Image("data:image/png;base64,AA=="),))
    assert estimated_tokens(picture) > 800
    assert estimated_tokens(McpCall("2", "s", "n", "{}", output="x" * 40)) >= 18
    assert estimated_tokens(McpListTools("3", "s")) == 0


def test_gist_sees_words_not_addresses() -> None:
    a = Message("1", "user", (Audio(AudioRef("", 0, 5), "hi"),))
    b = Message("1", "user", (Audio(AudioRef("", 0, 9), "hi"),))
    assert gist([a]) == gist([b]) != gist([user("1", "ho")])


# --- playout, timeline, meter ---


def test_playout_knows_what_was_heard_of_each_item() -> None:
    p = (
        Playout()
        .append(("a", 0, 2400), "r", 0.0, 0)
        .append(("a", 2400, 2400), "r", 0.0, 0)
        .append(("b", 0, 4800), "r2", 0.0, 0)
    )
    assert len(p.spans) == 2
    assert p.unheard(3000) == (("a", 3000), ("b", 0))
    assert p.unheard(4800) == (("b", 0),)
    assert p.flushed(3000, 1.0).queued == 3000
    assert p.position(0.1, 0, client=True) == 2400
    assert p.position(0.1, 99_999, client=False) == 9600
    assert p.append(("b", 4800, 10), "r2", 0.0, 5000).spans[0].item_id == "b"


@given(st.lists(st.tuples(st.sampled_from(["user", "agent", "silence"]), st.floats(-0.5, 3.0)), max_size=30))
def test_the_timeline_has_no_gaps_and_no_neighbours_alike(marks: list[tuple[str, float]]) -> None:
    t, now = Timeline(), 0.0
    for who, gap in marks:
        now += max(0.0, gap)
        t = t.mark(who, max(0.0, now + min(gap, 0.0)))  # type: ignore[arg-type]
    segments = t.segments(now)
    assert sum(s.end - s.start for s in segments) == pytest.approx(now)
    assert all(a.end == b.start and a.who != b.who for a, b in itertools.pairwise(segments))


def test_a_late_mark_rewrites_what_was_assumed() -> None:
    t = Timeline().mark("agent", 1.0).mark("silence", 2.0).mark("user", 1.5)
    assert t.segments(3.0) == (Segment("silence", 0.0, 1.0), Segment("agent", 1.0, 1.5), Segment("user", 1.5, 3.0))
    assert Timeline().mark("agent", 1.0).mark("silence", 2.0).mark("agent", 2.0).segments(3.0)[-1] == Segment(
        "agent", 1.0, 3.0
    )


def test_a_very_late_mark_swallows_whole_segments() -> None:
    t = Timeline().mark("agent", 1.0).mark("silence", 2.0).mark("user", 0.5)
    assert t.segments(3.0) == (Segment("silence", 0.0, 0.5), Segment("user", 0.5, 3.0))


def test_the_meter_counts_speculation_apart() -> None:
    used = Usage(input_text_tokens=5, output_text_tokens=7)
    m = Meter().response(used, heard=True).response(used, heard=False).spoken(10, 24_000)
    assert (m.usage, m.speculative, m.responses) == (used, used, 1)
    assert (m.tts_characters, m.tts_seconds, m.stt_seconds) == (10, 1.0, 0.0)
