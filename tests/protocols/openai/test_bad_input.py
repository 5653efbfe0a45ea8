"""Bad input over a real socket to the server as composed: the contract's error or close code, and the session lives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect

from .attacked import Caller, Target, attacked, b64, call

SCRIPT = """
[stt]
default = "hello"
[llm]
default = "You said {text}"
[[llm.rule]]
match = "weather"
call_tools = [{ name = "get_weather", arguments = { city = "Paris" } }]
[[llm.rule]]
match = "story"
text = "Once upon a time there was a king who had a very long beard and told a very long story of it."
[tts]
chars_per_second = 30
[[tts.rule]]
match = "Once"
after = 0.2
fail = "hang"
"""
HALF_SECOND = b64(bytes(24_000))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One server for all: what one test does to it must not harm the next."""
    directory = tmp_path_factory.mktemp("bad-input")
    (directory / "script.toml").write_text(SCRIPT)
    with attacked(directory, "--script", "script.toml") as running:
        yield running
        assert running.reaches("antiphon_sessions_active", 0)


MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("", "invalid_json", None),
        ("{", "invalid_json", None),
        ("nonsense", "invalid_json", None),
        ('{"type": "response.create"} trailing', "invalid_json", None),
        ('{"type": "response.create", "event_id": "\\ud800"}', "invalid_json", None),
        ("[" * 100_000, None, None),
        ('{"type": "conversation.item.create", "item": {"a": ' + "[" * 50_000, "invalid_json", None),
        ("[]", "invalid_type", None),
        ("null", "invalid_type", None),
        ("42", "invalid_type", None),
        ("{}", "invalid_event", "type"),
        ('{"type": "no.such.event"}', "invalid_event", "type"),
        ('{"type": null}', "invalid_event", "type"),
        ('{"type": 7}', "invalid_event", "type"),
        ('{"type": ["session.update"]}', "invalid_event", "type"),
        ('{"type": "session.created"}', "invalid_event", "type"),
    ],
)
async def test_what_is_no_event_is_told(target: Target, message: str, code: str | None, param: str | None) -> None:
    async with call(target) as caller:
        await caller.raw(message)
        error = await caller.error()
        assert error["type"] == "invalid_request_error"
        assert error["code"] in ((code,) if code else ("invalid_json", "invalid_type"))
        assert error["param"] == param
        assert len(error["message"]) < 500
        assert await caller.lives()


def event(type: str, /, **fields: Any) -> dict[str, Any]:
    return {"type": type, **fields}


def item(**fields: Any) -> dict[str, Any]:
    return event("conversation.item.create", item=fields)


def session(**fields: Any) -> dict[str, Any]:
    return event("session.update", session={"type": "realtime", **fields})


@pytest.mark.parametrize(
    ("bad", "code", "param"),
    [
        # missing fields
        (event("session.update"), "missing_required_parameter", "session"),
        (event("input_audio_buffer.append"), "missing_required_parameter", "audio"),
        (event("conversation.item.create"), "missing_required_parameter", "item"),
        (item(type="message", role="user"), "missing_required_parameter", "item.content"),
        (item(type="message", content=[]), "missing_required_parameter", "item.role"),
        (item(role="user"), "missing_required_parameter", "item.type"),
        (item(type="function_call", name="f"), "missing_required_parameter", "item.arguments"),
        (item(type="function_call_output", output="x"), "missing_required_parameter", "item.call_id"),
        (
            item(type="message", role="user", content=[{"type": "input_text"}]),
            "missing_required_parameter",
            "item.content[0].text",
        ),
        (event("conversation.item.retrieve"), "missing_required_parameter", "item_id"),
        (event("conversation.item.delete"), "missing_required_parameter", "item_id"),
        (event("conversation.item.truncate", content_index=0, audio_end_ms=0), "missing_required_parameter", "item_id"),
        (
            event("conversation.item.truncate", item_id="x", content_index=0),
            "missing_required_parameter",
            "audio_end_ms",
        ),
        # wrong types
        (event("session.update", session=[]), "invalid_type", "session"),
        (event("session.update", session=None), "invalid_type", "session"),
        (session(instructions=7), "invalid_type", "session.instructions"),
        (session(audio={"output": {"speed": "fast"}}), "invalid_type", "session.audio.output.speed"),
        (session(tools={}), "invalid_type", "session.tools"),
        (event("input_audio_buffer.append", audio=7), "invalid_type", "audio"),
        (event("input_audio_buffer.append", audio=None), "invalid_type", "audio"),
        (event("conversation.item.create", item="hello"), "invalid_type", "item"),
        (item(type="message", role="user", content="hello"), "invalid_type", "item.content"),
        (event("response.create", response=[]), "invalid_type", "response"),
        (event("response.create", response={"metadata": {"a": 1}}), "invalid_type", "response.metadata[...]"),
        (event("response.cancel", response_id=7), "invalid_type", "response_id"),
        (
            event("conversation.item.truncate", item_id="x", content_index="0", audio_end_ms=0),
            "invalid_type",
            "content_index",
        ),
        (
            event("conversation.item.truncate", item_id="x", content_index=0, audio_end_ms=1.5),
            "invalid_type",
            "audio_end_ms",
        ),
        # wrong values
        (session(audio={"output": {"speed": 0.1}}), "decimal_below_min_value", "session.audio.output.speed"),
        (session(audio={"output": {"speed": 9}}), "decimal_above_max_value", "session.audio.output.speed"),
        (session(max_output_tokens=0), "integer_below_min_value", "session.max_output_tokens"),
        (session(output_modalities=["smell"]), "invalid_value", "session.output_modalities[0]"),
        (session(audio={"input": {"format": {"type": "audio/opus"}}}), None, "session.audio.input.format.type"),
        (item(type="message", role="wizard", content=[]), "invalid_value", "item.role"),
        (item(type="telepathy"), "invalid_value", "item.type"),
        (item(type="item_reference", id="x"), "invalid_value", "item"),
        (
            event("conversation.item.truncate", item_id="x", content_index=0, audio_end_ms=-1),
            "integer_below_min_value",
            "audio_end_ms",
        ),
        # audio
        (event("input_audio_buffer.append", audio=b64(bytes(4801))), "invalid_value", "audio"),
        (event("input_audio_buffer.append", audio="!!!!"), None, "audio"),
        (event("input_audio_buffer.append", audio="AAA"), None, "audio"),
        (event("input_audio_buffer.append", audio="\u00e4\u00f6\u00fc\u00df"), None, "audio"),
        (event("input_audio_buffer.append", audio=b64(bytes(15 * 1024 * 1024 + 2))), "invalid_value", "audio"),
        (
            item(type="message", role="user", content=[{"type": "input_audio", "audio": b64(bytes(3))}]),
            "invalid_value",
            "item.content[0].audio",
        ),
        (
            item(type="message", role="user", content=[{"type": "input_audio", "audio": ""}]),
            "invalid_value",
            "item.content[0].audio",
        ),
        (
            item(type="message", role="user", content=[{"type": "input_image", "image_url": "http://10.0.0.1/a.png"}]),
            "invalid_value",
            "item.content[0].image_url",
        ),
        # what is not there
        (event("conversation.item.retrieve", item_id="nobody"), "item_retrieve_invalid_item_id", "item_id"),
        (event("conversation.item.delete", item_id="nobody"), "item_delete_invalid_item_id", "item_id"),
        (
            event("conversation.item.truncate", item_id="nobody", content_index=0, audio_end_ms=0),
            "item_truncate_invalid_item_id",
            "item_id",
        ),
        (event("conversation.item.create", item=MESSAGE, previous_item_id="nobody"), None, "previous_item_id"),
        (item(type="function_call_output", call_id="call_no", output="x"), "invalid_tool_call_id", "item.call_id"),
        (event("response.cancel"), "response_cancel_not_active", None),
        (event("response.cancel", response_id="resp_no"), "response_cancel_not_active", None),
        (event("input_audio_buffer.commit"), "input_audio_buffer_commit_empty", None),
        (event("output_audio_buffer.clear"), "invalid_event", None),
        (session(prompt={"id": "pmpt_no"}), "invalid_value", "session.prompt.id"),
        (event("response.create", response={"input": [{"type": "item_reference", "id": "no"}]}), None, None),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_bad_event_is_told_by_its_id_and_the_session_lives(
    target: Target, bad: dict[str, Any], code: str | None, param: str | None
) -> None:
    async with call(target) as caller:
        await caller.send(**bad, event_id="mine")
        error = await caller.error()
        assert error["type"] == "invalid_request_error"
        assert error["event_id"] == "mine"
        assert error["code"]
        assert code is None or error["code"] == code
        assert param is None or error["param"] == param
        assert len(error["message"]) < 500
        assert await caller.lives()


@pytest.mark.parametrize("event_id", [7, ["a"], "x" * 513])
async def test_an_event_id_that_is_none(target: Target, event_id: object) -> None:
    async with call(target) as caller:
        await caller.send("response.cancel", event_id=event_id)
        error = await caller.error()
        assert error["param"] == "event_id"
        assert error["event_id"] is None or error["event_id"] == "x" * 512
        assert await caller.lives()


async def test_unknown_fields_are_let_pass(target: Target) -> None:
    async with call(target) as caller:
        await caller.send("session.update", session={"type": "realtime", "mood": "good"}, model_version="3")
        assert (await caller.next())["type"] == "session.updated"
        assert await caller.lives()


async def test_binary_frames_are_refused_one_by_one(target: Target) -> None:
    async with call(target) as caller:
        for frame in (b"", b"\xff\xfe\x00", json.dumps(event("response.create")).encode()):
            await caller.raw(frame)
            error = await caller.error()
            assert error["code"] == "invalid_event"
            assert "text frame" in error["message"]
        assert await caller.lives()


async def test_a_frame_of_30_mb_is_told_and_closes_with_1009_and_costs_nobody_else(target: Target) -> None:
    async with call(target) as other:
        async with call(target) as caller:
            await caller.send("input_audio_buffer.append", audio="A" * 30_000_000)
            error = await caller.error()
            assert "25165824" in error["message"] or "24" in error["message"]
            code, reason = await caller.closed()
            assert code == 1009, reason
        assert await other.lives()
        assert target.log == "", "what the peer goes on sending is read past in silence"


async def test_the_largest_append_of_the_contract_is_taken(target: Target) -> None:
    async with call(target) as caller:
        await caller.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
        await caller.until("session.updated")
        await caller.send("input_audio_buffer.append", audio=b64(bytes(15 * 1024 * 1024)))
        await caller.send("input_audio_buffer.clear")
        assert (await caller.next())["type"] == "input_audio_buffer.cleared"
        assert await caller.lives()


async def test_invalid_utf8_in_a_text_frame_closes_with_1007(target: Target) -> None:
    async with call(target) as caller:
        await caller.socket.send(b'{"type": "\xff"}', text=True)
        assert (await caller.closed())[0] == 1007
    assert await target.idle()


async def test_append_after_our_close_is_ignored(target: Target) -> None:
    async with connect(target.ws, proxy=None) as socket:
        caller = Caller(socket, [])
        await caller.next()
        closing = asyncio.ensure_future(socket.close())
        await caller.socket.wait_closed()
        await closing
        assert (socket.close_code, socket.close_reason) == (1000, "")
    assert await target.idle()


async def test_appends_behind_a_close_frame_in_the_same_packet_are_ignored(target: Target) -> None:
    async with connect(target.ws, proxy=None, compression=None) as socket:
        caller = Caller(socket, [])
        await caller.next()
        append = json.dumps(event("input_audio_buffer.append", audio=HALF_SECOND)).encode()
        frame = b"\x81\xfe" + len(append).to_bytes(2, "big") if len(append) < 65_536 else b""
        assert frame
        socket.transport.write(b"\x88\x82\0\0\0\0" + (1000).to_bytes(2, "big") + (frame + bytes(4) + append) * 3)
        assert (await caller.closed())[0] == 1000
    assert await target.idle()


async def test_the_first_frames_may_come_before_the_session_is_there(target: Target) -> None:
    async with connect(target.ws, proxy=None) as socket:
        caller = Caller(socket, [])
        await caller.send("response.cancel", event_id="early")
        await caller.raw("{")
        assert (await caller.next())["type"] == "session.created"
        assert (await caller.error())["event_id"] == "early"
        assert (await caller.error())["code"] == "invalid_json"
        assert await caller.lives()


async def test_duplicate_ids(target: Target) -> None:
    async with call(target) as caller:
        await caller.send("conversation.item.create", item=MESSAGE | {"id": "twin"})
        await caller.until("conversation.item.done")
        await caller.send("conversation.item.create", item=MESSAGE | {"id": "twin"}, event_id="second")
        error = await caller.error()
        assert error["event_id"] == "second"
        assert "twin" in error["message"]
        await caller.send("conversation.item.delete", item_id="twin")
        assert (await caller.next())["type"] == "conversation.item.deleted"
        await caller.send("conversation.item.delete", item_id="twin")
        assert (await caller.error())["code"] == "item_delete_invalid_item_id"
        await caller.send("conversation.item.create", item=MESSAGE | {"id": "twin"})
        assert (await caller.until("conversation.item.done"))["item"]["id"] == "twin"
        # event ids are the client's own business: the same one twice is no error
        for _ in range(2):
            await caller.send("input_audio_buffer.clear", event_id="same")
            assert (await caller.next())["type"] == "input_audio_buffer.cleared"
        assert await caller.lives()


async def test_output_for_a_call_twice_and_for_a_deleted_one(target: Target) -> None:
    async with call(target) as caller:
        tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
        await caller.send("session.update", session={"type": "realtime", "tools": [tool]})
        await caller.until("session.updated")
        made = (await caller.answer("the weather?"))["output"][0]
        output = {"type": "function_call_output", "call_id": made["call_id"], "output": "rain"}
        for _ in range(2):
            await caller.send("conversation.item.create", item=output)
            assert (await caller.until("conversation.item.done", "error"))["type"] in (
                "conversation.item.done",
                "error",
            )
        await caller.send("conversation.item.delete", item_id=made["id"])
        await caller.until("conversation.item.deleted")
        await caller.send("conversation.item.create", item=output)
        assert (await caller.error())["code"] == "invalid_tool_call_id"
        assert await caller.lives()


@pytest.mark.parametrize("pcm", [0, 2, 4798])
async def test_commit_of_too_little(target: Target, pcm: int) -> None:
    async with call(target) as caller:
        await caller.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
        await caller.until("session.updated")
        await caller.send("input_audio_buffer.append", audio=b64(bytes(pcm)))
        await caller.send("input_audio_buffer.commit", event_id="c")
        error = await caller.error()
        assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "c")
        await caller.send("input_audio_buffer.append", audio=HALF_SECOND)
        await caller.send("input_audio_buffer.commit")
        assert (await caller.next())["type"] == "input_audio_buffer.committed"
        assert await caller.lives()


async def test_truncate_at_0_ms_before_the_first_frame_beyond_the_end_and_of_the_wrong_item(target: Target) -> None:
    async with call(target) as caller:
        mine = await caller.say("story please")
        await caller.send("response.create")
        item_id = (await caller.until("response.output_item.added"))["item"]["id"]
        cut = {"item_id": item_id, "content_index": 0}
        await caller.send("conversation.item.truncate", **cut, audio_end_ms=0)
        assert (await caller.until("conversation.item.truncated", "error"))["type"] == "conversation.item.truncated"
        assert caller.heard[-2]["response"]["status"] == "cancelled", "what is cut off need not be made any more"
        await caller.send("response.cancel")  # as SDKs do, one after the other: no error
        assert await caller.lives()
        assert "error" not in {event["type"] for event in caller.heard}
        spoken = (await caller.answer("hello"))["output"][0]["id"]
        await caller.send("conversation.item.truncate", item_id=spoken, content_index=0, audio_end_ms=10**9)
        told = await caller.until("conversation.item.truncated", "error")
        assert told["type"] == "error" or 0 < told["audio_end_ms"] < 60_000
        await caller.send("conversation.item.truncate", item_id=spoken, content_index=0, audio_end_ms=2**53 + 1)
        assert (await caller.error())["code"] == "integer_above_max_value"
        await caller.send("conversation.item.truncate", item_id=spoken, content_index=9, audio_end_ms=0)
        assert (await caller.error())["param"] == "content_index"
        await caller.send("conversation.item.truncate", item_id=mine, content_index=0, audio_end_ms=0)
        assert "Only model output audio" in (await caller.error())["message"]
        assert await caller.lives()
        assert (await caller.answer("and by voice?"))["status"] == "completed", "a truncate must not leave it mute"


async def test_cancel_twice_and_of_a_response_that_is_over(target: Target) -> None:
    async with call(target) as caller:
        over = (await caller.answer("hello"))["id"]
        await caller.send("response.cancel", response_id=over)
        assert (await caller.error())["code"] == "response_cancel_not_active"
        await caller.say("story please")
        await caller.send("response.create")
        await caller.until("response.created")
        await caller.send("response.cancel")
        await caller.send("response.cancel", event_id="again")
        assert (await caller.until("response.done"))["response"]["status"] == "cancelled"
        assert (await caller.until("error"))["error"]["event_id"] == "again"
        assert await caller.lives()


@pytest.mark.parametrize("query", ["?model=" + "m" * 5000, "?model=antiphon&call_id=rtc_no", "?intent=mischief", ""])
async def test_strange_handshakes_end_in_a_session_or_in_an_error(target: Target, query: str) -> None:
    async with connect(target.ws.partition("?")[0] + query, proxy=None) as socket:
        caller = Caller(socket, [])
        first = await caller.next()
        assert first["type"] in ("session.created", "error")
        if first["type"] == "error":
            assert (await caller.closed())[0] == 4000
    assert await target.idle()
