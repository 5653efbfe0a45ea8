"""Events in any order, complete or broken: the cache stays whole, and says of each event whether it fits."""

from __future__ import annotations

import copy
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from realtime_script import Event, Wire

from antiphon.client.realtime.conversation import RealtimeConversation
from antiphon.client.realtime.errors import ConversationEventError
from antiphon.client.realtime.input_buffer import InputAudioBuffer
from antiphon.client.realtime.items import AUDIO_PARTS, TEXT_PARTS
from antiphon.client.realtime.models import ServerEvent, typed_event

ODD_VALUES: list[Any] = [None, "", "item_user", 0, -1, 7, 1.5, True, [], {}, [{}], {"id": "item_user"}, "AAA", "é"]


def session(dialect: str) -> list[Event]:
    """A session with every kind of event in it."""
    wire = Wire(dialect)
    return [
        wire.session(),
        *wire.user_text("Hi"),
        *wire.text_turn("Hello ", "you"),
        wire.event("input_audio_buffer.speech_started", item_id="item_speech", audio_start_ms=10),
        wire.event("input_audio_buffer.speech_stopped", item_id="item_speech", audio_end_ms=400),
        wire.event("input_audio_buffer.committed", item_id="item_speech", previous_item_id="item_text"),
        *wire.user_audio("item_speech"),
        wire.transcribed("item_speech", "Toronto"),
        *wire.audio_turn("It ", "rains", audio=bytes(4_800), response_id="resp_2"),
        wire.event("conversation.item.truncated", item_id="item_audio", content_index=0, audio_end_ms=20),
        *wire.tool_turn("f", "{", "}", response_id="resp_3"),
        *wire.item({"id": "item_out", "type": "function_call_output", "call_id": "call_1", "output": "{}"}),
        *wire.start({"id": "oob", "type": "message", "role": "assistant"}, "resp_4", in_conversation=False),
        *wire.text_stream("oob", "resp_4", "x"),
        wire.event("conversation.item.deleted", item_id="item_user"),
        wire.error("Something", event_id="evt_1"),
        wire.event("something.new", anything=1),
    ]


def check(cache: RealtimeConversation) -> None:
    """The invariants of the cache."""
    items = cache.get_items()
    ids = [item.id for item in items]
    assert len(ids) == len(set(ids))
    for item in items:
        assert cache.get_item(item.id) is item
        assert item.status in ("in_progress", "completed", "incomplete")
        formatted = item.formatted
        parts = item.raw.get("content", [])
        assert formatted.text == "".join(p.get("text") or "" for p in parts if p.get("type") in TEXT_PARTS)
        transcript = "".join(p.get("transcript") or "" for p in parts if p.get("type") in AUDIO_PARTS)
        assert formatted.transcript == transcript or (formatted.transcript, transcript) == (" ", "")
        assert formatted.audio.size == len(formatted.audio_bytes) // 2
        assert (formatted.tool is not None) == (item.type == "function_call")
        if formatted.tool is not None:
            assert formatted.tool.arguments == item.arguments
        if formatted.file is not None:
            assert item.status != "in_progress" or item.role == "user"


def play(events: list[Event]) -> RealtimeConversation:
    cache = RealtimeConversation()
    buffer = InputAudioBuffer()
    buffer.append(bytes(48_000))
    appended: set[str] = set()
    completed: set[str] = set()
    for event in events:
        before = snapshot(cache)
        original = copy.deepcopy(event)
        try:
            change = cache.process_event(event, buffer)
        except ConversationEventError:
            assert snapshot(cache) == before
            change = None
        assert event == original
        assert isinstance(typed_event(event), ServerEvent)
        if change is not None and change.item is not None:
            if change.appended:
                appended.add(change.item.id)
            if change.completed:
                assert change.item.id in appended
                assert change.item.status == "completed"
                completed.add(change.item.id)
        check(cache)
    return cache


def snapshot(cache: RealtimeConversation) -> list[tuple[Any, ...]]:
    return [
        (item.id, copy.deepcopy(item.raw), item.formatted.text, item.formatted.transcript, item.formatted.audio_bytes)
        for item in cache.get_items()
    ]


dialects = st.sampled_from(["ga", "beta"])


@given(dialects, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_any_order(dialect: str, rng: random.Random) -> None:
    events = session(dialect)
    rng.shuffle(events)
    play(events)


@given(dialects, st.data())
@settings(max_examples=150, deadline=None)
def test_events_lost_repeated_and_of_both_dialects(dialect: str, data: st.DataObject) -> None:
    pool = session(dialect) + session("beta" if dialect == "ga" else "ga")
    indexes = data.draw(st.lists(st.integers(0, len(pool) - 1), max_size=120))
    play([pool[index] for index in indexes])


@given(dialects, st.data())
@settings(max_examples=200, deadline=None)
def test_broken_fields(dialect: str, data: st.DataObject) -> None:
    events = session(dialect)
    for _ in range(data.draw(st.integers(1, 8))):
        event = data.draw(st.sampled_from(events))
        target = event
        nested: list[str] = [key for key in ("item", "part", "response", "session") if isinstance(event.get(key), dict)]
        if nested and data.draw(st.sampled_from([True, False])):
            target = event[nested[0]]
        if target:
            target[data.draw(st.sampled_from(sorted(target)))] = data.draw(st.sampled_from(ODD_VALUES))
    play(events)


def test_the_session_in_its_order_loses_nothing() -> None:
    for dialect in ("ga", "beta"):
        cache = play(session(dialect))
        texts = {item.id: item.formatted.text or item.formatted.transcript for item in cache.get_items()}
        assert texts == {
            "item_text": "Hello you",
            "item_speech": "Toronto",
            "item_audio": "",
            "item_call": "",
            "item_out": "",
        }
