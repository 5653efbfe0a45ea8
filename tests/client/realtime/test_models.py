"""Typed events beside raw ones."""

from __future__ import annotations

from typing import Any

import pytest
from realtime_script import Wire, b64

from antiphon.client.realtime import models
from antiphon.client.realtime.models import EVENT_TYPES, UnknownEvent, typed_event


def test_both_spellings_are_one_class(wire: Wire) -> None:
    raw = wire.part_event("response.output_audio.delta", "i", "r", delta=b64(b"\x01\x02"))
    event = typed_event(raw)
    assert isinstance(event, models.ResponseAudioDelta)
    assert (event.type, event.event_id) == (raw["type"], raw["event_id"])
    assert (event.item_id, event.response_id, event.content_index, event.delta) == ("i", "r", 0, b"\x01\x02")
    assert event.raw == raw


def test_every_event_of_a_turn_has_its_class(wire: Wire) -> None:
    events = [
        wire.session(),
        *wire.user_text("Hi"),
        *wire.text_turn("a"),
        *wire.audio_turn("b"),
        *wire.tool_turn("f", "{}"),
        wire.transcribed("u", "x"),
        wire.error("no", "code", "evt_1"),
    ]
    assert [type(typed_event(event)).__name__ for event in events if event["type"] not in EVENT_TYPES] == []
    assert not any(isinstance(typed_event(event), UnknownEvent) for event in events)


def test_an_error_has_its_details(wire: Wire) -> None:
    event = typed_event(wire.error("Nope", "invalid_value", "evt_1"))
    assert isinstance(event, models.ErrorEvent)
    assert (event.error.message, event.error.code, event.error.event_id) == ("Nope", "invalid_value", "evt_1")
    assert event.error.param is None


def test_more_fields_than_known_do_not_matter() -> None:
    event = typed_event({"type": "input_audio_buffer.cleared", "event_id": "e", "new": 1})
    assert isinstance(event, models.InputAudioCleared)
    assert event.raw["new"] == 1


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"type": "something.new", "event_id": "e"}, None),
        ({"type": "response.created", "event_id": "e"}, "response"),
        ({"type": "response.output_audio.delta", "item_id": "i", "delta": "***"}, "base64"),
        ({"event_id": 3}, None),
    ],
)
def test_what_has_no_class_or_does_not_fit_is_unknown(raw: dict[str, Any], problem: str | None) -> None:
    event = typed_event(raw)
    assert isinstance(event, UnknownEvent)
    assert event.raw == raw
    assert (event.problem is None) if problem is None else (problem in (event.problem or ""))
