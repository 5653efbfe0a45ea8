"""Whole turns over one connection, in the order that clients depend on (section 7)."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from antiphon.core import effects as fx
from antiphon.core import inputs as inp

from .rig import Rig, error_of, only, types

ITEM = {
    False: ["conversation.item.added", "conversation.item.done"],
    True: ["conversation.item.created"],
}
NAMES = {
    False: ("response.output_text", "response.output_audio", "response.output_audio_transcript"),
    True: ("response.text", "response.audio", "response.audio_transcript"),
}


def item_done(beta: bool) -> list[str]:
    return [] if beta else ["conversation.item.done"]


@pytest.mark.parametrize("beta", [False, True])
async def test_session_created_comes_first(beta: bool) -> None:
    rig = await Rig(beta=beta).open()
    first = rig.take()
    assert types(first) == ["session.created"]
    assert first[0]["session"]["model"] == "gpt-realtime"
    assert first[0]["session"]["id"] == f"sess_{rig.session.id}"
    assert ("type" in first[0]["session"]) is not beta
    assert rig.manager.tenants == ["proj_1"]


@pytest.mark.parametrize("beta", [False, True])
async def test_text_turn(beta: bool) -> None:
    rig = await Rig(beta=beta).open()
    text = NAMES[beta][0]
    assert types(rig.say("Hello!")) == ITEM[beta]
    response = {"modalities": ["text"]} if beta else {"output_modalities": ["text"]}
    started = rig.send("response.create", response=response)
    assert types(started) == ["response.created", "rate_limits.updated"]
    assert started[0]["response"]["output"] == []
    assert started[0]["response"]["status"] == "in_progress"
    streamed = rig.generated("Hi", " there.")
    assert types(streamed) == [
        "response.output_item.added",
        ITEM[beta][0],
        "response.content_part.added",
        f"{text}.delta",
        f"{text}.delta",
        f"{text}.done",
        "response.content_part.done",
        *item_done(beta),
        "response.output_item.done",
        "response.done",
    ]
    assert streamed[0]["item"]["content"] == []
    assert streamed[0]["item"]["status"] == "in_progress"
    assert only(streamed, f"{text}.done")["text"] == "Hi there."
    done = streamed[-1]["response"]
    assert done["status"] == "completed"
    part = {"type": "text" if beta else "output_text", "text": "Hi there."}
    assert done["output"][0]["content"] == [part]


@pytest.mark.parametrize("beta", [False, True])
async def test_audio_turn_by_server_vad(beta: bool) -> None:
    rig = await Rig(beta=beta).open()
    transcription = {"model": "whisper-1"}
    if beta:
        rig.send("session.update", session={"input_audio_transcription": transcription})
    else:
        rig.send("session.update", session={"type": "realtime", "audio": {"input": {"transcription": transcription}}})
    heard = rig.speech(start=16_000, end=32_000, text="what is the time")
    prefix = "conversation.item.input_audio_transcription"
    assert types(heard) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        *ITEM[beta],
        f"{prefix}.delta",
        f"{prefix}.completed",
        "response.created",
        "rate_limits.updated",
    ]
    assert heard[0]["audio_start_ms"] == 700
    assert heard[1]["audio_end_ms"] >= 2500
    assert len({e["item_id"] for e in heard[:3]}) == 1
    user = heard[3]["item"]
    assert user["id"] == heard[0]["item_id"]
    assert user["content"] == [{"type": "input_audio", "transcript": None}]
    completed = only(heard, f"{prefix}.completed")
    assert completed["transcript"] == "what is the time"
    assert completed["usage"]["type"] == "duration"
    answer = rig.generated("It is noon.") + rig.spoken(2400)
    _, audio, transcript = NAMES[beta]
    assert types(answer) == [
        "response.output_item.added",
        ITEM[beta][0],
        "response.content_part.added",
        f"{transcript}.delta",
        f"{audio}.delta",
        f"{audio}.done",
        f"{transcript}.done",
        "response.content_part.done",
        *item_done(beta),
        "response.output_item.done",
        "response.done",
    ]
    assert only(answer, "response.content_part.added")["part"] == {"type": "audio", "transcript": ""}
    samples = np.frombuffer(base64.b64decode(only(answer, f"{audio}.delta")["delta"]), "<i2")
    assert np.array_equal(samples, rig.session.synthesized("", 0, 2400))
    assert rig.wire.audio == 1


async def test_push_to_talk() -> None:
    rig = await Rig().open()
    rig.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    chunk = base64.b64encode(bytes(960)).decode()
    for _ in range(10):
        assert rig.send("input_audio_buffer.append", audio=chunk) == []
    committed = rig.send("input_audio_buffer.commit")
    assert types(committed) == ["input_audio_buffer.committed", *ITEM[False]]
    assert rig.send("response.create") == []
    assert types(rig.understood("hi")) == ["response.created", "rate_limits.updated"]
    assert rig.session.heard_samples == 3200


async def test_interruption_over_websocket_ends_the_response_and_truncate_still_works() -> None:
    rig = await Rig().open()
    rig.say("Talk.")
    rig.send("response.create")
    rig.generated("One two three four five six seven.")
    rig.spoken(48_000, done=False)
    events = rig.feed(inp.VoiceOn, sample=16_000)
    while not any(e["type"] == "response.done" for e in events):
        due = rig.session.state.audio_deadline
        assert due is not None
        events += rig.feed(inp.AudioReached, sample=due)
    assert types(events) == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    done = events[-1]["response"]
    assert done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"
    item_id = done["output"][0]["id"]
    truncated = rig.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=500)
    assert types(truncated) == ["conversation.item.truncated"]
    assert truncated[0]["audio_end_ms"] == 500
    retrieved = rig.send("conversation.item.retrieve", item_id=item_id)
    part = retrieved[0]["item"]["content"][0]
    assert part["format"] == "pcm16"
    assert len(base64.b64decode(part["audio"])) == 500 * 48


async def test_cancel_and_cancel_again() -> None:
    rig = await Rig().open()
    rig.say("Hello")
    rig.send("response.create")
    rig.generated("Well, ", done=False)
    cancelled = rig.send("response.cancel")
    assert cancelled[-1]["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    again = error_of(rig.send("response.cancel", event_id="mine"))
    assert (again["code"], again["event_id"]) == ("response_cancel_not_active", "mine")


@pytest.mark.parametrize("beta", [False, True])
async def test_function_call_round_trip(beta: bool) -> None:
    rig = await Rig(beta=beta).open()
    rig.say("Weather?")
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    rig.send("response.create", response={"tools": [tool]})
    events = rig.called("weather", '{"city":"Paris"}')
    assert types(events) == [
        "response.output_item.added",
        ITEM[beta][0],
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        *item_done(beta),
        "response.output_item.done",
        "response.done",
    ]
    added = events[0]["item"]
    assert (added["name"], added["call_id"], added["arguments"]) == ("weather", "call_1", "")
    done = only(events, "response.function_call_arguments.done")
    assert (done["name"], done["arguments"]) == ("weather", '{"city":"Paris"}')
    output = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    assert types(rig.send("conversation.item.create", item=output)) == ITEM[beta]
    assert types(rig.send("response.create")) == ["response.created", "rate_limits.updated"]
    history = rig.session.asked(fx.Generate)[-1].history
    assert [type(i).__name__ for i in history] == ["Message", "FunctionCall", "FunctionCallOutput"]


async def test_out_of_band_runs_beside_and_touches_no_item() -> None:
    rig = await Rig().open()
    rig.say("Hello")
    rig.send("response.create")
    first = rig.session.asked(fx.Generate)[-1].job
    params = {"conversation": "none", "metadata": {"topic": "summary"}, "output_modalities": ["text"], "input": []}
    started = rig.send("response.create", response=params)
    assert started[0]["response"]["conversation_id"] is None
    assert started[0]["response"]["metadata"] == {"topic": "summary"}
    assert rig.session.asked(fx.Generate)[-1].history == ()
    events = rig.generated("Fine.")
    assert not any(name.startswith("conversation.item") for name in types(events))
    assert rig.feed(inp.TextGenerated, job=first, delta="Hi.") != []


async def test_second_response_is_refused_while_one_runs() -> None:
    rig = await Rig().open()
    rig.say("Hello")
    rig.send("response.create")
    refused = error_of(rig.send("response.create", event_id="agents_py_response_create_2"))
    assert refused["code"] == "conversation_already_has_active_response"
    assert refused["event_id"] == "agents_py_response_create_2"


async def test_g711_answers_are_eight_kilohertz_even_when_the_session_changes_format_meanwhile() -> None:
    rig = await Rig().open()
    rig.say("Hello")
    out = {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}
    rig.send("response.create", response=out)
    rig.generated("Hello there.")
    events = rig.spoken(24_000)
    sent = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
    assert len(sent) == 8_000
    assert events[-1]["response"]["audio"]["output"]["format"] == {"type": "audio/pcmu"}
    assert types(events).index("response.output_audio.done") > max(
        n for n, name in enumerate(types(events)) if name == "response.output_audio.delta"
    )


async def test_long_audio_is_cut_below_a_mebibyte() -> None:
    rig = await Rig().open()
    rig.say("Hello")
    rig.send("response.create")
    rig.generated("A very long story.")
    rig.spoken(24_000 * 60)
    assert max(map(len, rig.wire.raw)) < 1024 * 1024
    sent = b"".join(base64.b64decode(e["delta"]) for e in rig.wire.sent if e["type"] == "response.output_audio.delta")
    assert len(sent) == 48_000 * 60


@pytest.mark.parametrize(("samples", "ok"), [(0, False), (2376, False), (2400, True)])
async def test_commit_wants_100_ms(samples: int, ok: bool) -> None:
    rig = await Rig().open()
    if samples:
        rig.send("input_audio_buffer.append", audio=base64.b64encode(bytes(2 * samples)).decode())
    answer = rig.send("input_audio_buffer.commit", event_id="c1")
    if ok:
        assert types(answer)[0] == "input_audio_buffer.committed"
    else:
        assert error_of(answer)["code"] == "input_audio_buffer_commit_empty"


async def test_clear_is_confirmed_even_when_empty() -> None:
    rig = await Rig().open()
    assert types(rig.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]


async def test_user_audio_item_is_kept_at_16_khz_and_comes_back_with_its_sound() -> None:
    rig = await Rig().open()
    audio = base64.b64encode(bytes(48_000)).decode()
    item = {"id": "mine", "type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
    added = rig.send("conversation.item.create", item=item)
    assert added[0]["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert [len(c) for c in rig.session.clips.values()] == [8000 * 2]
    back = rig.send("conversation.item.retrieve", item_id="mine")[0]["item"]["content"][0]
    assert len(base64.b64decode(back["audio"])) == 48_000
    assert back["transcript"] is None


async def test_transcription_session_never_answers() -> None:
    rig = await Rig(query={"intent": "transcription"}).open()
    created = rig.take()[0]["session"]
    assert created["type"] == "transcription"
    heard = rig.speech(text="dictation")
    assert "conversation.item.input_audio_transcription.completed" in types(heard)
    assert "response.created" not in types(heard)
    assert error_of(rig.send("response.create", event_id="e"))["event_id"] == "e"


async def test_beta_transcription_session_has_events_of_its_own() -> None:
    rig = await Rig(beta=True, query={"intent": "transcription"}).open()
    assert types(rig.take()) == ["transcription_session.created"]
    answer = rig.send("transcription_session.update", session={"turn_detection": None})
    assert types(answer) == ["transcription_session.updated"]
    assert answer[0]["session"]["turn_detection"] is None


async def test_truncate_errors() -> None:
    rig = await Rig().open()
    added = rig.say("Hello")
    user = added[0]["item"]["id"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"item_id": "nobody", "content_index": 0, "audio_end_ms": 0}, "item_truncate_invalid_item_id"),
        ({"item_id": user, "content_index": 0, "audio_end_ms": 0}, "invalid_value"),
        ({"item_id": user, "content_index": 0, "audio_end_ms": -1}, "integer_below_min_value"),
        ({"item_id": user, "content_index": "x", "audio_end_ms": 1}, "invalid_type"),
        ({"item_id": user, "content_index": 0}, "missing_required_parameter"),
    ]
    for fields, code in cases:
        error = error_of(rig.send("conversation.item.truncate", event_id="t", **fields))
        assert (error["code"], error["event_id"]) == (code, "t")


async def test_previous_item_id() -> None:
    rig = await Rig().open()
    part = [{"type": "input_text", "text": "x"}]
    for item_id, after in [("a", None), ("b", None), ("c", "a"), ("d", "root")]:
        item = {"id": item_id, "type": "message", "role": "user", "content": part}
        rig.send("conversation.item.create", item=item, previous_item_id=after)
    assert [i.id for i in rig.session.state.conversation.items] == ["d", "a", "c", "b"]
    item = {"id": "e", "type": "message", "role": "user", "content": part}
    error = error_of(rig.send("conversation.item.create", item=item, previous_item_id="nobody"))
    assert error["param"] == "previous_item_id"
    duplicate = error_of(rig.send("conversation.item.create", item={**item, "id": "a"}))
    assert duplicate["param"] == "item.id"
    assert types(rig.send("conversation.item.delete", item_id="a")) == ["conversation.item.deleted"]
    assert error_of(rig.send("conversation.item.delete", item_id="a"))["code"] == "item_delete_invalid_item_id"


async def test_voice_is_locked_once_it_was_heard() -> None:
    rig = await Rig().open()
    rig.say("Hello")
    rig.send("response.create")
    rig.generated("Hi there.")
    rig.spoken()
    update = {"type": "realtime", "audio": {"output": {"voice": "verse"}}}
    refused = error_of(rig.send("session.update", session=update, event_id="v"))
    assert (refused["code"], refused["event_id"]) == ("cannot_update_voice", "v")
    assert refused["param"] == "session.audio.output.voice"
    other = {"audio": {"output": {"voice": "verse"}}}
    refused = error_of(rig.send("response.create", response=other, event_id="r"))
    assert (refused["code"], refused["param"]) == ("cannot_update_voice", "response.audio.output.voice")
    kept = rig.send("session.update", session={"type": "realtime", "instructions": "Be kind."})
    assert kept[0]["session"]["audio"]["output"]["voice"] == rig.settings.voice
    assert kept[0]["session"]["instructions"] == "Be kind."


async def test_voice_is_locked_in_beta_under_its_name_there() -> None:
    rig = await Rig(beta=True).open()
    rig.send("response.create")
    rig.generated("Hi there.")
    rig.spoken()
    assert error_of(rig.send("session.update", session={"voice": "verse"}))["param"] == "session.voice"
    assert error_of(rig.send("response.create", response={"voice": "verse"}))["param"] == "response.voice"


async def test_failed_answer_ends_as_failed_and_the_session_lives() -> None:
    rig = await Rig().open()
    rig.say("Hello")
    rig.send("response.create")
    job = rig.session.asked(fx.Generate)[-1].job
    events = rig.feed(inp.GenerationFailed, job=job, message="the model is gone", code="insufficient_quota")
    assert types(events) == ["response.done"]
    details = events[0]["response"]["status_details"]
    assert events[0]["response"]["status"] == details["type"] == "failed"
    assert details["error"]["code"] == "insufficient_quota"
    assert types(rig.send("response.create"))[0] == "response.created"


async def test_expiry_is_told_and_closes() -> None:
    rig = await Rig().open()
    rig.session.now = 3601.0
    events = rig.feed(inp.Tick)
    error = error_of(events)
    assert error["code"] == "session_expired"
    assert "60 minutes" in error["message"]
    assert rig.wire.code == 1001
    rig.endpoint.text(b'{"type":"response.create"}')
    assert rig.take() == []


async def test_client_that_leaves_ends_its_session() -> None:
    rig = await Rig().open()
    rig.endpoint.closed(1006, "")
    assert rig.session.state.ended
    sent = len(rig.wire.sent)
    rig.endpoint.text(b'{"type":"response.create"}')
    assert len(rig.wire.sent) == sent


async def test_idle_timeout_makes_an_empty_turn_and_an_answer() -> None:
    rig = await Rig().open()
    detection = {"type": "server_vad", "idle_timeout_ms": 5000}
    rig.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    rig.session.now = 4.0
    assert rig.feed(inp.Tick) == []
    rig.session.now = 5.1
    events = rig.feed(inp.Tick)
    assert types(events) == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        *ITEM[False],
        "response.created",
        "rate_limits.updated",
    ]
    assert events[0]["audio_end_ms"] - events[0]["audio_start_ms"] >= 0
    assert events[0]["item_id"] == events[1]["item_id"] == events[2]["item"]["id"]


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("interrupt", [True, False])
async def test_create_and_interrupt_response(create: bool, interrupt: bool) -> None:
    rig = await Rig().open()
    detection = {"type": "server_vad", "create_response": create, "interrupt_response": interrupt}
    rig.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    rig.say("Talk.")
    running = rig.send("response.create")[0]["response"]["id"]
    rig.generated("A long story.", done=False)
    events = rig.speech()
    done = [e["response"] for e in events if e["type"] == "response.done"]
    assert [r["id"] for r in done] == ([running] if interrupt else [])
    assert "input_audio_buffer.speech_started" in types(events)
    assert "input_audio_buffer.committed" in types(events)
    assert ("response.created" in types(events)) is (create and interrupt)
    if not interrupt:
        rig.generated()
        events = rig.spoken()
        assert "response.done" in types(events)
        assert ("response.created" in types(events)) is create, "what was said over the answer is answered after it"


async def test_semantic_vad_asks_the_turn_detector() -> None:
    rig = await Rig().open()
    detection = {"type": "semantic_vad", "eagerness": "high"}
    rig.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    rig.session.hear(np.zeros(96_000, np.int16))
    events = rig.feed(inp.VoiceOn, sample=16_000)
    while (due := rig.session.state.audio_deadline) is not None and due < 32_000:
        events += rig.feed(inp.AudioReached, sample=due)
    events += rig.feed(inp.VoiceOff, sample=32_000)
    while not rig.session.asked(fx.PredictTurn):
        due = rig.session.state.audio_deadline
        assert due is not None
        events += rig.feed(inp.AudioReached, sample=due)
    events += rig.feed(inp.TurnPredicted, job=rig.session.asked(fx.PredictTurn)[-1].job, probability=0.1)
    events += rig.silence()
    stopped = only(events, "input_audio_buffer.speech_stopped")
    assert stopped["audio_end_ms"] == pytest.approx(4000, abs=40), "a speaker who is not done is given 2 s"
