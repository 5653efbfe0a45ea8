"""Every rule of the cache, by event sequences of both dialects."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np
import pytest
from realtime_script import SECOND, Event, Wire, b64

from antiphon.client.realtime.conversation import QUEUE_LIMIT, ConversationChange, RealtimeConversation
from antiphon.client.realtime.errors import ConversationEventError
from antiphon.client.realtime.input_buffer import InputAudioBuffer
from antiphon.client.realtime.items import Item


@pytest.fixture
def cache() -> RealtimeConversation:
    return RealtimeConversation()


def feed(
    cache: RealtimeConversation, *events: Event, audio: InputAudioBuffer | None = None
) -> list[ConversationChange]:
    """Apply the events that the cache has rules for."""
    return [cache.process_event(event, audio) for event in events if cache.handles(event["type"])]


def the(cache: RealtimeConversation, item_id: str) -> Item:
    item = cache.get_item(item_id)
    assert item is not None
    return item


def completions(changes: list[ConversationChange]) -> list[str]:
    return [change.item.id for change in changes if change.completed and change.item]


def appended(changes: list[ConversationChange]) -> list[str]:
    return [change.item.id for change in changes if change.appended and change.item]


# ---------------------------------------------------------------------- validation


@pytest.mark.parametrize("missing", ["event_id", "type"])
def test_an_event_needs_id_and_type(cache: RealtimeConversation, missing: str) -> None:
    event = Wire().user_text("Hi")[0]
    del event[missing]
    with pytest.raises(ConversationEventError, match=f'Missing "{missing}"') as caught:
        cache.process_event(event)
    assert caught.value.event == event
    assert cache.get_items() == []


def test_an_event_without_rule_is_refused(cache: RealtimeConversation) -> None:
    with pytest.raises(ConversationEventError, match=r'no rule for events of type "rate_limits\.updated"'):
        cache.process_event({"event_id": "e", "type": "rate_limits.updated"})
    assert not cache.handles("rate_limits.updated")


def test_an_event_that_is_no_object_is_refused(cache: RealtimeConversation) -> None:
    with pytest.raises(ConversationEventError, match="expected an event object, got list"):
        cache.process_event([])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "item",
    [
        None,
        {},
        {"id": 7, "type": "message"},
        {"id": "x"},
        {"id": "x", "type": "message", "content": "text"},
        {"id": "x", "type": "message", "content": [3]},
        {"id": "x", "type": "message", "content": [{"type": "input_text", "text": 3}]},
        {"id": "x", "type": "message", "content": [{"type": "input_audio", "audio": "no base64!"}]},
        {"id": "x", "type": "function_call", "arguments": {}},
    ],
)
def test_items_that_cannot_be_held(cache: RealtimeConversation, wire: Wire, item: Any) -> None:
    name = wire.user_text("")[0]["type"]
    with pytest.raises(ConversationEventError):
        cache.process_event(wire.event(name, item=item))
    assert cache.get_items() == []


@pytest.mark.parametrize(
    ("event_type", "fields"),
    [
        ("conversation.item.truncated", {"content_index": 0, "audio_end_ms": 10}),
        ("conversation.item.deleted", {}),
        ("response.content_part.added", {"content_index": 0, "part": {"type": "audio"}}),
        ("response.output_text.delta", {"content_index": 0, "delta": "x"}),
        ("response.output_audio.delta", {"content_index": 0, "delta": ""}),
        ("response.output_audio_transcript.delta", {"content_index": 0, "delta": "x"}),
        ("response.function_call_arguments.delta", {"delta": "x"}),
        ("response.function_call_arguments.done", {"arguments": "x"}),
    ],
)
def test_an_unknown_item_is_named(cache: RealtimeConversation, event_type: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ConversationEventError, match='item "item_x" not found'):
        cache.process_event({"event_id": "e", "type": event_type, "item_id": "item_x", **fields})


def test_output_item_done_of_an_unknown_item(cache: RealtimeConversation, wire: Wire) -> None:
    event = wire.finish({"id": "item_x", "type": "message"})[-1]
    with pytest.raises(ConversationEventError, match='item "item_x" not found'):
        cache.process_event(event)


# ---------------------------------------------------------------------- items


def test_a_user_message_is_completed_with_its_text(cache: RealtimeConversation, wire: Wire) -> None:
    changes = feed(cache, *wire.user_text("How are you?"))
    item = the(cache, "item_user")
    assert (item.type, item.role, item.status) == ("message", "user", "completed")
    assert item.formatted.text == "How are you?"
    assert item.formatted.transcript == ""
    assert item.formatted.audio.size == 0
    assert item.formatted.file is None
    assert appended(changes) == completions(changes) == ["item_user"]


def test_user_items_are_completed_whatever_the_wire_says(cache: RealtimeConversation, wire: Wire) -> None:
    event = wire.user_text("Hi")[0]
    event["item"]["status"] = "in_progress"
    assert feed(cache, event)[0].completed


def test_the_cache_shares_nothing_with_the_event(cache: RealtimeConversation, wire: Wire) -> None:
    event = wire.user_text("Hi")[0]
    feed(cache, event)
    event["item"]["content"][0]["text"] = "changed"
    assert the(cache, "item_user").content == [{"type": "input_text", "text": "Hi"}]


def test_get_items_is_a_copy(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.user_text("Hi"))
    cache.get_items().clear()
    assert [item.id for item in cache.get_items()] == ["item_user"]
    assert cache.get_item("item_x") is None


def test_text_parts_are_joined(cache: RealtimeConversation, wire: Wire) -> None:
    content = [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": "data:,"},
        {"type": "input_text", "text": "b"},
    ]
    feed(cache, *wire.item({"id": "m", "type": "message", "role": "user", "content": content}))
    assert the(cache, "m").formatted.text == "ab"


def test_a_system_message_is_complete(cache: RealtimeConversation, wire: Wire) -> None:
    content = [{"type": "input_text", "text": "Be brief."}]
    event = wire.item({"id": "s", "type": "message", "role": "system", "content": content})[0]
    del event["item"]["status"]
    assert completions(feed(cache, event)) == ["s"]


def test_an_assistants_message_put_there_by_the_client_is_complete(cache: RealtimeConversation, wire: Wire) -> None:
    content = [{"type": wire.text_part, "text": "Welcome back."}]
    changes = feed(cache, *wire.item({"id": "a", "type": "message", "role": "assistant", "content": content}))
    assert completions(changes) == ["a"]
    assert the(cache, "a").formatted.text == "Welcome back."


def test_a_tool_output_is_complete(cache: RealtimeConversation, wire: Wire) -> None:
    output = {"id": "o", "type": "function_call_output", "call_id": "call_1", "output": '{"ok":true}'}
    changes = feed(cache, *wire.item(output))
    item = the(cache, "o")
    assert completions(changes) == ["o"]
    assert (item.call_id, item.output, item.formatted.output) == ("call_1", '{"ok":true}', '{"ok":true}')


def test_items_of_other_types_are_kept_as_they_are(cache: RealtimeConversation) -> None:
    wire = Wire("ga")
    started = {"id": "t", "type": "mcp_list_tools", "server_label": "s", "status": "in_progress"}
    changes = feed(cache, wire.event("conversation.item.added", item=started, previous_item_id=None))
    assert not changes[0].completed
    done = {"id": "t", "type": "mcp_list_tools", "server_label": "s", "tools": [{"name": "x"}]}
    changes = feed(cache, wire.event("conversation.item.done", item=done, previous_item_id=None))
    assert completions(changes) == ["t"]
    assert the(cache, "t").raw["tools"] == [{"name": "x"}]


def test_an_item_said_twice_is_one_item(cache: RealtimeConversation, wire: Wire) -> None:
    changes = feed(cache, *wire.user_text("Hi"), *wire.user_text("Hi"))
    assert appended(changes) == completions(changes) == ["item_user"]
    assert len(cache.get_items()) == 1


def test_done_without_added_adds(cache: RealtimeConversation) -> None:
    changes = feed(cache, Wire("ga").user_text("Hi")[1])
    assert appended(changes) == completions(changes) == ["item_user"]


def ids(cache: RealtimeConversation) -> list[str]:
    return [item.id for item in cache.get_items()]


def test_items_stand_after_their_predecessor(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.user_text("1", "a"), *wire.user_text("3", "c", previous="a"))
    feed(cache, *wire.user_text("2", "b", previous="a"))
    assert ids(cache) == ["a", "b", "c"]
    feed(cache, *wire.user_text("4", "d", previous="unknown"))
    feed(cache, *wire.user_text("0", "r", previous="root"))
    assert ids(cache) == ["r", "a", "b", "c", "d"]


def test_a_null_predecessor_means_first_where_root_was_asked_for(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.user_text("1", "a"), *wire.user_text("2", "b"))
    assert ids(cache) == ["a", "b"]
    cache.expect_first("z")
    feed(cache, *wire.user_text("3", "c"))
    feed(cache, *wire.user_text("0", "z"))
    assert ids(cache) == ["z", "a", "b", "c"]
    cache.expect_first()
    feed(cache, *wire.user_text("-1", "y"))
    assert ids(cache) == ["y", "z", "a", "b", "c"]


def test_deleted_items_are_gone(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.user_text("1", "a"), *wire.user_text("2", "b", previous="a"))
    change = feed(cache, wire.event("conversation.item.deleted", item_id="a"))[0]
    assert change.item is not None
    assert change.item.id == "a"
    assert ids(cache) == ["b"]
    assert cache.get_item("a") is None


def test_retrieved_brings_the_audio(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.user_audio("u"))
    content = [{"type": "input_audio", "audio": b64(b"\x01\x00\x02\x00"), "transcript": "Hi", "format": "pcm16"}]
    item = {"id": "u", "type": "message", "role": "user", "status": "completed", "content": content}
    feed(cache, wire.event("conversation.item.retrieved", item=item))
    assert the(cache, "u").formatted.audio.tolist() == [1, 2]
    assert "audio" not in the(cache, "u").content[0]
    other = {**item, "id": "v"}
    assert appended(feed(cache, wire.event("conversation.item.retrieved", item=other))) == ["v"]
    assert the(cache, "v").formatted.audio.tolist() == [1, 2]


# ---------------------------------------------------------------------- responses


def test_a_text_turn(cache: RealtimeConversation, wire: Wire) -> None:
    changes = feed(cache, *wire.text_turn("I am ", "fine."))
    item = the(cache, "item_text")
    assert (item.status, item.formatted.text, item.formatted.transcript) == ("completed", "I am fine.", "")
    assert [change.delta.text for change in changes if change.delta] == ["I am ", "fine."]
    assert appended(changes) == completions(changes) == ["item_text"]
    assert item.content == [{"type": wire.text_part, "text": "I am fine."}]
    response = cache.get_response("resp_1")
    assert response is not None
    assert (response.status, response.output, response.out_of_band) == ("completed", [item], False)


def test_the_assistants_message_is_in_progress_until_it_is_done(cache: RealtimeConversation, wire: Wire) -> None:
    events = wire.text_turn("Hi")
    first = next(i for i, event in enumerate(events) if event["type"].startswith("conversation.item."))
    feed(cache, *events[: first + 1])
    item = the(cache, "item_text")
    assert (item.status, item.formatted.text, item.formatted.audio.size) == ("in_progress", "", 0)


def test_an_audio_turn(cache: RealtimeConversation, wire: Wire) -> None:
    changes = feed(cache, *wire.audio_turn("San ", "Francisco", audio=SECOND))
    item = the(cache, "item_audio")
    assert item.formatted.transcript == "San Francisco"
    assert item.formatted.audio_bytes == SECOND
    assert item.formatted.audio.dtype == np.int16
    assert item.formatted.audio.shape == (24_000,)
    deltas = [change.delta for change in changes if change.delta]
    assert [delta.transcript for delta in deltas] == ["San ", None, "Francisco", None]
    assert sum(delta.audio.size for delta in deltas if delta.audio is not None) == 24_000
    assert all(delta.text is None and delta.arguments is None for delta in deltas)
    assert item.formatted.file is not None
    with wave.open(io.BytesIO(item.formatted.file)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (24_000, 1, 24_000)


def test_the_file_is_there_on_completed_and_not_before(cache: RealtimeConversation, wire: Wire) -> None:
    events = wire.audio_turn("Hi", audio=SECOND)
    done = next(i for i, event in enumerate(events) if event["type"].endswith("output_item.done"))
    until = done if wire.dialect == "beta" else done - 1
    feed(cache, *events[:until])
    assert the(cache, "item_audio").formatted.file is None
    feed(cache, events[until])
    assert the(cache, "item_audio").formatted.file is not None


def test_half_a_sample_waits_for_its_other_half(cache: RealtimeConversation, wire: Wire) -> None:
    events = wire.audio_turn("a", "b", audio=b"\x01\x00\x02\x00")
    chunks = iter([b64(b"\x01\x00\x02"), b64(b"\x00")])
    for event in events:
        if event["type"] == wire.name("response.output_audio.delta"):
            event["delta"] = next(chunks)
    feed(cache, *events)
    assert the(cache, "item_audio").formatted.audio.tolist() == [1, 2]


def test_final_texts_repair_lost_deltas(cache: RealtimeConversation, wire: Wire) -> None:
    lossy = [event for event in wire.text_turn("a", "b", item_id="t") if event.get("delta") != "a"]
    feed(cache, *lossy)
    assert the(cache, "t").formatted.text == "ab"
    lossy = [event for event in wire.audio_turn("a", "b", item_id="v") if event.get("delta") != "b"]
    feed(cache, *lossy)
    assert the(cache, "v").formatted.transcript == "ab"


def test_a_function_call(cache: RealtimeConversation, wire: Wire) -> None:
    changes = feed(cache, *wire.tool_turn("get_weather", '{"lat":', "1}"))
    item = the(cache, "item_call")
    tool = item.formatted.tool
    assert tool is not None
    assert (tool.type, tool.name, tool.call_id, tool.arguments) == ("function", "get_weather", "call_1", '{"lat":1}')
    assert (item.name, item.call_id, item.arguments, item.status) == (
        "get_weather",
        "call_1",
        '{"lat":1}',
        "completed",
    )
    assert [change.delta.arguments for change in changes if change.delta] == ['{"lat":', "1}"]
    assert completions(changes) == ["item_call"]


def test_arguments_that_come_only_at_the_end(cache: RealtimeConversation, wire: Wire) -> None:
    events = [e for e in wire.tool_turn("f", '{"a":1}') if not e["type"].endswith("arguments.delta")]
    feed(cache, *events)
    tool = the(cache, "item_call").formatted.tool
    assert tool is not None
    assert tool.arguments == '{"a":1}'


def test_call_arguments_absent_at_the_start_are_empty(cache: RealtimeConversation, wire: Wire) -> None:
    events = wire.tool_turn("f", "{", "}")
    for event in events:
        if event["type"] in ("response.output_item.added", "conversation.item.added", "conversation.item.created"):
            event["item"].pop("arguments", None)
    feed(cache, *events)
    tool = the(cache, "item_call").formatted.tool
    assert tool is not None
    assert tool.arguments == "{}"


@pytest.mark.parametrize("event_type", ["delta", "done"])
def test_arguments_for_a_message_are_refused(cache: RealtimeConversation, wire: Wire, event_type: str) -> None:
    feed(cache, *wire.user_text("Hi"))
    event = wire.event(f"response.function_call_arguments.{event_type}", item_id="item_user", delta="{", arguments="{}")
    with pytest.raises(ConversationEventError, match="expected a function_call"):
        cache.process_event(event)


def test_text_for_a_function_call_is_refused(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.tool_turn("f", "{}")[:3])
    with pytest.raises(ConversationEventError, match="expected a message"):
        cache.process_event(wire.part_event("response.output_text.delta", "item_call", "resp_1", delta="x"))


def test_an_index_beyond_the_parts_is_refused(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.text_turn("a")[:4])
    event = wire.part_event("response.output_text.delta", "item_text", "resp_1", delta="x")
    for index, words in ((5, "expected content_index up to"), (-1, "expected content_index from 0"), ("0", "as int")):
        with pytest.raises(ConversationEventError, match=words):
            cache.process_event({**event, "content_index": index})


def test_a_delta_before_its_part_makes_the_part(cache: RealtimeConversation, wire: Wire) -> None:
    events = [e for e in wire.text_turn("a", "b") if not e["type"].startswith("response.content_part")]
    feed(cache, *events)
    assert the(cache, "item_text").formatted.text == "ab"


def test_deltas_before_the_item_are_kept(cache: RealtimeConversation, wire: Wire) -> None:
    events = wire.text_turn("a", "b")
    added = next(e for e in events if e["type"] in ("conversation.item.added", "conversation.item.created"))
    events.remove(added)
    events.insert(next(i for i, e in enumerate(events) if e.get("delta") == "b"), added)
    changes = feed(cache, *events)
    assert the(cache, "item_text").formatted.text == "ab"
    assert appended(changes) == completions(changes) == ["item_text"]


def test_audio_that_is_not_base64_is_refused(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.audio_turn("a")[:4])
    with pytest.raises(ConversationEventError, match="expected base64 audio"):
        cache.process_event(wire.part_event("response.output_audio.delta", "item_audio", "resp_1", delta="***"))


def test_an_interrupted_item_is_incomplete_and_has_its_file(cache: RealtimeConversation, wire: Wire) -> None:
    message = {"id": "m", "type": "message", "role": "assistant"}
    final = {**message, "content": [{"type": wire.audio_part, "transcript": "Hel"}]}
    changes = feed(
        cache,
        wire.response_created(),
        *wire.start({**message, "content": []}),
        *wire.audio_stream("m", "resp_1", SECOND, "Hel"),
        *wire.finish(final, status="incomplete"),
        wire.response_done("resp_1", "cancelled"),
    )
    assert completions(changes) == []
    assert the(cache, "m").status == "incomplete"
    assert the(cache, "m").formatted.file is not None


def test_response_done_closes_what_the_server_left_open(cache: RealtimeConversation, wire: Wire) -> None:
    events = [e for e in wire.text_turn("a") if not e["type"].endswith(("item.done", "output_item.done"))]
    changes = feed(cache, *events)
    assert the(cache, "item_text").status == "incomplete"
    assert changes[-1].item is the(cache, "item_text")


def test_events_after_the_end_of_an_item_change_nothing(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.audio_turn("a", item_id="v"), *wire.tool_turn("f", "{}", response_id="resp_2"))
    before = (the(cache, "v").formatted.transcript, the(cache, "v").formatted.audio_bytes, the(cache, "v").content)
    late = [
        wire.part_event("response.output_audio_transcript.delta", "v", "resp_1", delta="late"),
        wire.part_event("response.output_audio.delta", "v", "resp_1", delta=b64(b"late")),
        wire.part_event("response.output_text.done", "v", "resp_1", text="late"),
        wire.part_event("response.content_part.added", "v", "resp_1", part={"type": "text", "text": "late"}),
        wire.event("response.function_call_arguments.delta", item_id="item_call", delta="late"),
        wire.event("response.function_call_arguments.done", item_id="item_call", arguments="late"),
    ]
    assert all(change == ConversationChange() for change in feed(cache, *late))
    assert before == (
        the(cache, "v").formatted.transcript,
        the(cache, "v").formatted.audio_bytes,
        the(cache, "v").content,
    )
    assert the(cache, "item_call").arguments == "{}"


def test_an_out_of_band_response_stays_out_of_the_conversation(cache: RealtimeConversation, wire: Wire) -> None:
    message = {"id": "oob", "type": "message", "role": "assistant"}
    final = {**message, "content": [{"type": wire.text_part, "text": "spam"}]}
    changes = feed(
        cache,
        wire.response_created("resp_9", out_of_band=True),
        *wire.start({**message, "content": []}, "resp_9", in_conversation=False),
        *wire.text_stream("oob", "resp_9", "sp", "am"),
        *wire.finish(final, "resp_9", in_conversation=False),
    )
    response = cache.get_response("resp_9")
    assert response is not None
    assert response.out_of_band
    feed(cache, wire.response_done("resp_9", "completed", final))
    assert [item.formatted.text for item in response.output] == ["spam"]
    assert cache.get_items() == []
    assert all(change.item is None for change in changes)
    assert cache.get_responses() == [response]


def test_a_response_beside_another_does_not_mix_with_it(cache: RealtimeConversation, wire: Wire) -> None:
    one = wire.text_turn("a", "b", item_id="i1", response_id="r1")
    two = wire.text_turn("c", "d", item_id="i2", response_id="r2")
    feed(cache, *(event for pair in zip(one, two, strict=True) for event in pair))
    assert [(item.id, item.formatted.text) for item in cache.get_items()] == [("i1", "ab"), ("i2", "cd")]


def test_output_items_of_an_unannounced_response(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.text_turn("a")[1:])
    response = cache.get_response("resp_1")
    assert response is not None
    assert [item.id for item in response.output] == ["item_text"]


# ---------------------------------------------------------------------- truncation


def truncated(wire: Wire, item_id: str, ms: int) -> Event:
    return wire.event("conversation.item.truncated", item_id=item_id, content_index=0, audio_end_ms=ms)


@pytest.mark.parametrize(("ms", "samples"), [(0, 0), (1, 24), (333, 7992), (5_000, 24_000)])
def test_truncation_cuts_audio_and_forgets_the_transcript(
    cache: RealtimeConversation, wire: Wire, ms: int, samples: int
) -> None:
    feed(cache, *wire.audio_turn("Hello ", "world", audio=SECOND))
    change = feed(cache, truncated(wire, "item_audio", ms))[0]
    item = the(cache, "item_audio")
    assert change.item is item
    assert item.formatted.transcript == ""
    assert item.content[0]["transcript"] == ""
    assert item.formatted.audio.size == samples
    assert item.truncated_ms == ms
    if samples:
        assert item.formatted.file is not None
        assert len(item.formatted.file) == 44 + 2 * samples
    else:
        assert item.formatted.file is None


def test_what_was_not_heard_does_not_come_back_with_the_done_events(cache: RealtimeConversation, wire: Wire) -> None:
    events = wire.audio_turn("Hello ", "world", audio=SECOND)
    middle = next(i for i, event in enumerate(events) if event.get("delta") == "world")
    feed(cache, *events[:middle], truncated(wire, "item_audio", 100), *events[middle:])
    item = the(cache, "item_audio")
    assert (item.formatted.transcript, item.formatted.audio.size, item.status) == ("", 2400, "completed")


@pytest.mark.parametrize("ms", [-1, 1.5, None, True])
def test_an_impossible_time_cuts_nothing(cache: RealtimeConversation, wire: Wire, ms: Any) -> None:
    feed(cache, *wire.audio_turn("Hi"))
    with pytest.raises(ConversationEventError):
        cache.process_event(truncated(wire, "item_audio", ms))
    assert the(cache, "item_audio").formatted.transcript == "Hi"


# ---------------------------------------------------------------------- the user's speech


def heard(seconds: int = 2) -> InputAudioBuffer:
    buffer = InputAudioBuffer()
    buffer.append(np.arange(seconds * 24_000, dtype=np.int16).tobytes())
    return buffer


def speech(wire: Wire, item_id: str, start: int, end: int) -> list[Event]:
    return [
        wire.event("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=start),
        wire.event("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=end),
        wire.event("input_audio_buffer.committed", item_id=item_id, previous_item_id=None),
    ]


def test_speech_before_the_item_gives_it_its_audio(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *speech(wire, "u", 500, 600), *wire.user_audio("u"), audio=heard())
    item = the(cache, "u")
    assert item.formatted.audio.tolist() == list(range(12_000, 14_400))
    assert item.formatted.file is not None


def test_speech_that_stops_after_the_item_came(cache: RealtimeConversation, wire: Wire) -> None:
    started, stopped, _ = speech(wire, "u", 500, 600)
    changes = feed(cache, started, *wire.user_audio("u"), stopped, audio=heard())
    assert changes[-1].item is the(cache, "u")


def test_a_stop_without_start_gives_no_audio(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, speech(wire, "u", 0, 600)[1], *wire.user_audio("u"), audio=heard())
    assert the(cache, "u").formatted.audio.size == 0


def test_speech_without_a_buffer_gives_no_audio(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *speech(wire, "u", 0, 600), *wire.user_audio("u"))
    assert the(cache, "u").formatted.audio.size == 0


def test_committed_audio_goes_to_the_item_of_the_commit(cache: RealtimeConversation, wire: Wire) -> None:
    assert cache.queue_input_audio(b"\x01\x00", "evt_1") == b"\x01\x00"
    cache.queue_input_audio(b"\x02\x00", "evt_2")
    commits = [wire.event("input_audio_buffer.committed", item_id=name, previous_item_id=None) for name in "ab"]
    feed(cache, *commits, *wire.user_audio("b"), *wire.user_audio("a"))
    assert the(cache, "a").formatted.audio.tolist() == [1]
    assert the(cache, "b").formatted.audio.tolist() == [2]


def test_without_committed_event_the_next_user_audio_item_gets_it(cache: RealtimeConversation, wire: Wire) -> None:
    cache.queue_input_audio(b"\x01\x00")
    feed(cache, *wire.user_text("typed", "t"), *wire.audio_turn("x"), *wire.user_audio("u"))
    assert the(cache, "t").formatted.audio.size == 0
    assert the(cache, "u").formatted.audio.tolist() == [1]


def test_audio_of_a_refused_commit_is_dropped(cache: RealtimeConversation, wire: Wire) -> None:
    cache.queue_input_audio(b"\x01\x00", "evt_1")
    cache.drop_input_audio("evt_1")
    feed(cache, *wire.user_audio("u"))
    assert the(cache, "u").formatted.audio.size == 0


def test_transcription_of_a_known_item(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.user_audio("u"))
    assert the(cache, "u").content == [{"type": "input_audio", "transcript": None}]
    change = feed(cache, wire.transcribed("u", "Toronto"))[0]
    assert change.delta is not None
    assert change.delta.transcript == "Toronto"
    assert the(cache, "u").formatted.transcript == "Toronto"
    assert the(cache, "u").content[0]["transcript"] == "Toronto"


def test_an_empty_transcript_is_a_space(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.user_audio("u"), wire.transcribed("u", ""))
    assert the(cache, "u").formatted.transcript == " "


def transcription_deltas(wire: Wire, item_id: str, *words: str) -> list[Event]:
    name = "conversation.item.input_audio_transcription.delta"
    return [wire.event(name, item_id=item_id, content_index=0, delta=word) for word in words]


def test_transcription_deltas_grow_and_the_end_replaces_them(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.user_audio("u"), *transcription_deltas(wire, "u", "Tor", "ronto"))
    assert the(cache, "u").formatted.transcript == "Torronto"
    feed(cache, wire.transcribed("u", "Toronto"))
    assert the(cache, "u").formatted.transcript == "Toronto"


@pytest.mark.parametrize("text", ["Toronto", ""])
def test_a_transcript_before_its_item_is_not_lost(cache: RealtimeConversation, wire: Wire, text: str) -> None:
    early = feed(cache, *transcription_deltas(wire, "u", "Tor"), wire.transcribed("u", text))
    assert all(change.item is None for change in early)
    feed(cache, *wire.user_audio("u"))
    assert the(cache, "u").formatted.transcript == (text or " ")
    assert the(cache, "u").content[0]["transcript"] == text


def test_an_early_transcript_of_an_item_without_parts(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, wire.transcribed("u", "Hi"))
    feed(cache, *wire.item({"id": "u", "type": "message", "role": "user", "content": []}))
    assert the(cache, "u").formatted.transcript == "Hi"


def test_a_transcript_without_part_makes_one_or_is_refused(cache: RealtimeConversation, wire: Wire) -> None:
    feed(cache, *wire.item({"id": "u", "type": "message", "role": "user", "content": []}))
    with pytest.raises(ConversationEventError, match="expected content_index up to 0"):
        cache.process_event({**wire.transcribed("u", "Hi"), "content_index": 1})
    feed(cache, wire.transcribed("u", "Hi"))
    assert the(cache, "u").formatted.transcript == "Hi"


def test_a_failed_transcription_forgets_the_early_part(cache: RealtimeConversation, wire: Wire) -> None:
    failed = wire.event(
        "conversation.item.input_audio_transcription.failed", item_id="u", content_index=0, error={"message": "x"}
    )
    feed(cache, *transcription_deltas(wire, "u", "Tor"), failed, *wire.user_audio("u"))
    assert the(cache, "u").formatted.transcript == ""
    assert feed(cache, failed)[0].item is the(cache, "u")


def test_queues_for_items_that_never_come_are_bounded(cache: RealtimeConversation, wire: Wire) -> None:
    for number in range(QUEUE_LIMIT + 10):
        feed(cache, wire.transcribed(f"u{number}", "x"), *speech(wire, f"u{number}", 0, 10), audio=heard(1))
    feed(cache, *wire.user_audio("u0"), *wire.user_audio(f"u{QUEUE_LIMIT}"))
    assert the(cache, "u0").formatted.transcript == ""
    assert the(cache, f"u{QUEUE_LIMIT}").formatted.transcript == "x"


# ---------------------------------------------------------------------- formats, clear


def test_g711_output_is_expanded_and_cut_by_its_own_rate(cache: RealtimeConversation) -> None:
    wire = Wire("ga")
    session: dict[str, Any] = {
        "audio": {"output": {"format": {"type": "audio/pcmu"}}, "input": {"format": {"type": "audio/pcma"}}}
    }
    feed(cache, wire.session(**session), *wire.audio_turn("Hi", audio=b"\x80" * 8_000))
    formatted = the(cache, "item_audio").formatted
    assert (cache.input_format, cache.output_format) == ("g711_alaw", "g711_ulaw")
    assert (formatted.audio.size, formatted.sample_rate, int(formatted.audio[0])) == (8_000, 8_000, 32124)
    feed(cache, truncated(wire, "item_audio", 100))
    assert formatted.audio.size == 800


def test_clear_forgets_everything(cache: RealtimeConversation, wire: Wire) -> None:
    cache.queue_input_audio(b"\x01\x00")
    cache.expect_first()
    feed(cache, *wire.text_turn("a"), wire.transcribed("u", "early"), *speech(wire, "v", 0, 100), audio=heard())
    assert cache.clear() is True
    assert cache.get_items() == []
    assert cache.get_responses() == []
    feed(cache, *wire.user_text("first", "f"), *wire.user_audio("u"), *wire.user_audio("v"))
    assert ids(cache) == ["f", "u", "v"]
    assert the(cache, "u").formatted.transcript == ""
    assert the(cache, "v").formatted.audio.size == 0
