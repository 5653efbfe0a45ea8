"""RealtimeClient against a server on a socket, in both dialects: what the reference client's README and suite say."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from realtime_script import SECOND, Event, Peer, ScriptedServer, Wire, b64

from antiphon.client.realtime import (
    AlreadyConnectedError,
    AudioTypeError,
    BadKeyError,
    CallbackError,
    ConnectionClosedError,
    ConversationEventError,
    ItemKindError,
    NotConnectedError,
    RealtimeClient,
    RealtimeError,
    RealtimeEvent,
    RealtimeTimeoutError,
    Reconnect,
    ServerError,
    ToolDefinitionError,
    UnknownItemError,
)

WEATHER = {
    "name": "get_weather",
    "description": "Weather at a place.",
    "parameters": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
}


def make(server: ScriptedServer, **options: Any) -> RealtimeClient:
    return RealtimeClient(url=server.url, dialect=server.wire.dialect, api_key="sk-test", **options)  # type: ignore[arg-type]


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[RealtimeClient]:
    client = make(server)
    yield client
    await client.disconnect()


class Log:
    """Names and payloads of the utility events, in the order they came."""

    NAMES = (
        "conversation.updated",
        "conversation.item.appended",
        "conversation.item.completed",
        "conversation.interrupted",
        "error",
    )

    def __init__(self, client: RealtimeClient) -> None:
        self.entries: list[tuple[str, Any]] = []
        for name in self.NAMES:
            client.on(name, lambda event, name=name: self.entries.append((name, event)))

    @property
    def names(self) -> list[str]:
        return [name.removeprefix("conversation.") for name, _ in self.entries]

    def of(self, name: str) -> list[Any]:
        return [event for entry, event in self.entries if entry == name]


def session_of(event: Event) -> dict[str, Any]:
    session: dict[str, Any] = event["session"]
    return session


def turn_detection(event: Event, dialect: str) -> Any:
    session = session_of(event)
    return session["turn_detection"] if dialect == "beta" else session["audio"]["input"]["turn_detection"]


# ---------------------------------------------------------------------- the reference suite


async def test_the_first_two_events_are_ours_and_the_servers(client: RealtimeClient, server: ScriptedServer) -> None:
    log: list[RealtimeEvent] = []
    client.on("realtime.event", log.append)
    client.update_session(instructions="Always tell that you live in San Francisco.")
    assert await client.connect() is True
    assert client.is_connected()
    session = await client.wait_for_session_created(timeout=5)
    assert session["id"] == "sess_1"
    assert [(entry.source, entry.event["type"]) for entry in log[:2]] == [
        ("client", "session.update"),
        ("server", "session.created"),
    ]
    assert log[0].time.endswith("Z")
    assert log[0].time <= log[1].time
    assert session_of(await server.until_received("session.update"))["instructions"].endswith("San Francisco.")
    assert log[1].typed.raw == log[1].event


async def test_a_text_message_and_its_answer(client: RealtimeClient, server: ScriptedServer) -> None:
    server.answers.append(server.wire.audio_turn("I live in ", "San Francisco", audio=SECOND))
    await client.connect()
    await client.wait_for_session_created(timeout=5)
    log: list[RealtimeEvent] = []
    client.on("realtime.event", log.append)
    client.send_user_message_content([{"type": "input_text", "text": "How are you?"}])
    assert [entry.event["type"] for entry in log] == ["conversation.item.create", "response.create"]
    user = await client.wait_for_next_item(timeout=5)
    assert (user.type, user.role, user.status) == ("message", "user", "completed")
    assert user.formatted.text == "How are you?"
    assistant = await client.wait_for_next_item(timeout=5)
    assert (assistant.type, assistant.role) == ("message", "assistant")
    completed = assistant
    if assistant.status != "completed":
        completed = await client.wait_for_next_completed_item(timeout=5)
    assert completed is assistant
    assert "san francisco" in completed.formatted.transcript.lower()
    assert client.conversation.get_items() == [user, assistant]
    await client.disconnect()
    assert not client.is_connected()
    assert client.conversation.get_items() == []


async def test_an_audio_message_and_its_answer(client: RealtimeClient, server: ScriptedServer) -> None:
    server.answers.append(server.wire.audio_turn("Toronto"))
    await client.connect()
    audio = np.linspace(-1, 1, 2400, dtype=np.float32)
    client.send_user_message_content([{"type": "input_audio", "audio": audio}])
    user = await client.wait_for_next_item(timeout=5)
    assert (user.role, user.status, user.formatted.text) == ("user", "completed", "")
    sent = (await server.until_received("conversation.item.create"))["item"]
    assert (sent["type"], sent["role"]) == ("message", "user")
    assert len(base64.b64decode(sent["content"][0]["audio"])) == 4800
    item = await client.wait_for_next_completed_item(timeout=5)
    assert "toronto" in item.formatted.transcript.lower()


async def test_a_bad_key_is_told_within_a_second(server: ScriptedServer) -> None:
    server.key = "sk-right"
    client = make(server)
    errors: list[RealtimeError] = []
    client.on("error", errors.append)
    assert await client.connect() is True
    event = await client.realtime.wait_for_next("server.error", timeout=1)
    assert "Incorrect API key provided" in event["error"]["message"]
    with pytest.raises((BadKeyError, NotConnectedError)):
        await client.wait_for_session_created(timeout=5)
    assert [type(error) for error in errors] == [BadKeyError]


async def test_a_bad_key_ends_the_wait_for_the_session(server: ScriptedServer) -> None:
    server.key = "sk-right"
    client = make(server)
    await client.connect()
    with pytest.raises(BadKeyError, match="Incorrect API key provided"):
        await client.wait_for_session_created(timeout=5)
    assert not client.is_connected()


# ---------------------------------------------------------------------- life


async def test_connecting_twice_is_told(client: RealtimeClient) -> None:
    await client.connect()
    with pytest.raises(AlreadyConnectedError, match=r"use \.disconnect\(\) first"):
        await client.connect()


async def test_waiting_for_a_session_needs_a_connection(client: RealtimeClient) -> None:
    with pytest.raises(NotConnectedError, match=r"use \.connect\(\) first"):
        await client.wait_for_session_created()


async def test_waits_run_out(client: RealtimeClient, server: ScriptedServer) -> None:
    server.greet = False
    await client.connect()
    with pytest.raises(RealtimeTimeoutError):
        await client.wait_for_session_created(timeout=0.01)
    with pytest.raises(RealtimeTimeoutError, match=r"conversation\.item\.appended"):
        await client.wait_for_next_item(timeout=0.01)


async def test_a_lost_connection_ends_waits_and_leaves_the_conversation(
    client: RealtimeClient, server: ScriptedServer
) -> None:
    closes: list[Any] = []
    client.on("close", closes.append)
    await client.connect()
    client.send_user_message_content("Hi")
    await client.wait_for_next_item(timeout=5)
    waiting = asyncio.create_task(client.wait_for_next_completed_item())
    await asyncio.wait({waiting}, timeout=0)
    await server.peers[0].socket.close(1011)
    with pytest.raises(ConnectionClosedError):
        await waiting
    assert [item.formatted.text for item in client.conversation.get_items()] == ["Hi"]
    assert client.session is not None
    assert [close.code for close in closes] == [1011]


async def test_disconnect_keeps_handlers_tools_and_configuration(
    client: RealtimeClient, server: ScriptedServer
) -> None:
    log = Log(client)
    client.add_tool(WEATHER, lambda lat: lat)
    client.update_session(instructions="Be brief.")
    await client.connect()
    await client.disconnect()
    assert client.session is None
    await client.connect()
    client.send_user_message_content("Hi")
    await client.wait_for_next_item(timeout=5)
    assert "item.appended" in log.names
    session = session_of(server.sent("session.update")[-1])
    assert session["instructions"] == "Be brief."
    assert [tool["name"] for tool in session["tools"]] == ["get_weather"]


async def test_reset_makes_the_client_as_new(client: RealtimeClient, server: ScriptedServer) -> None:
    log = Log(client)
    raw: list[Any] = []
    client.realtime.on("server.*", raw.append)
    client.add_tool(WEATHER, lambda lat: lat)
    client.update_session(instructions="Be brief.", turn_detection={"type": "server_vad"})
    await client.connect()
    assert await client.reset() is True
    assert not client.is_connected()
    assert client.get_turn_detection_type() is None
    log.entries.clear()
    raw.clear()
    await client.connect()
    client.send_user_message_content("Hi")
    assert (await client.wait_for_next_item(timeout=5)).formatted.text == "Hi"
    assert log.entries == raw == []
    session = session_of(server.sent("session.update")[-1])
    assert (session["instructions"], session["tools"]) == ("", [])


async def test_async_with_connects_and_disconnects_and_lets_callbacks_finish(server: ScriptedServer) -> None:
    finished: list[str] = []
    gate = asyncio.Event()

    async def slow(event: Any) -> None:
        await gate.wait()
        finished.append(event.item.formatted.text)

    async with make(server) as client:
        assert client.is_connected()
        client.on("conversation.item.completed", slow)
        client.send_user_message_content("Hi")
        await client.wait_for_next_item(timeout=5)
        asyncio.get_running_loop().call_later(0.01, gate.set)
    assert finished == ["Hi"]
    assert not client.is_connected()


async def test_disconnect_from_a_callback(server: ScriptedServer) -> None:
    client = make(server)

    async def leave(event: Any) -> None:
        await client.disconnect()

    client.on("conversation.item.completed", leave)
    ended = asyncio.create_task(client.realtime.wait_for_next("ended", timeout=5))
    await client.connect()
    client.send_user_message_content("Bye")
    with pytest.raises(ConnectionClosedError, match="disconnected"):
        await ended
    await client.callbacks_done()
    assert not client.is_connected()


async def test_async_for(server: ScriptedServer) -> None:
    server.answers.append(server.wire.text_turn("Hello"))
    types: list[str] = []
    async with make(server) as client:
        client.send_user_message_content("Hi")
        async for event in client:
            types.append(event.type)
            if event.type == "response.done":
                break
    assert types[0] == "session.created"
    assert server.wire.name("response.output_text.delta") in types


# ---------------------------------------------------------------------- session


async def test_the_default_configuration_is_sent_with_connect(client: RealtimeClient, server: ScriptedServer) -> None:
    assert client.get_turn_detection_type() is None
    await client.connect()
    event = await server.until_received("session.update")
    assert turn_detection(event, server.wire.dialect) is None
    assert session_of(event).get("type") == ("realtime" if server.wire.dialect == "ga" else None)


async def test_update_session_keeps_what_is_not_given(client: RealtimeClient, server: ScriptedServer) -> None:
    assert client.update_session(voice="alloy").value is True
    client.update_session(instructions="You are a great, upbeat friend.")
    client.update_session(turn_detection={"type": "server_vad"}, input_audio_transcription={"model": "whisper-1"})
    assert client.get_turn_detection_type() == "server_vad"
    await client.connect()
    assert len(server.received) == 0
    event = await server.until_received("session.update")
    assert session_of(event)["instructions"] == "You are a great, upbeat friend."
    assert turn_detection(event, server.wire.dialect) == {"type": "server_vad"}
    session = session_of(event)
    assert (session["voice"] if server.wire.dialect == "beta" else session["audio"]["output"]["voice"]) == "alloy"
    await client.update_session(turn_detection={"type": "none"})
    assert client.get_turn_detection_type() is None
    event = await server.until_received("session.update", 2)
    assert turn_detection(event, server.wire.dialect) is None
    assert session_of(event)["instructions"] == "You are a great, upbeat friend."


async def test_the_session_follows_the_server(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    await client.realtime.wait_for_next("server.session.updated", timeout=5)
    assert client.session is not None
    assert client.session["tool_choice"] == "auto"


async def test_manual_tools_stand_beside_added_ones(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    client.add_tool(WEATHER, lambda lat: lat)
    client.update_session(tools=[{"type": "function", "name": "manual", "parameters": {}}])
    client.update_session(tools=[{"name": "other"}])
    await server.until_received("session.update", 4)
    names = [
        [(tool["type"], tool["name"]) for tool in session_of(event)["tools"]] for event in server.sent("session.update")
    ]
    assert names == [
        [],
        [("function", "get_weather")],
        [("function", "manual"), ("function", "get_weather")],
        [("function", "other"), ("function", "get_weather")],
    ]


async def test_a_name_cannot_be_of_two_tools(client: RealtimeClient) -> None:
    client.add_tool(WEATHER, lambda lat: lat)
    with pytest.raises(ToolDefinitionError, match='Tool "get_weather" has already been defined'):
        client.update_session(tools=[{"name": "get_weather"}])
    client.update_session(tools=[{"name": "manual"}])
    with pytest.raises(ToolDefinitionError, match='Tool "manual" has already been defined'):
        client.add_tool({"name": "manual"}, print)


# ---------------------------------------------------------------------- sending


async def test_text_may_be_a_plain_string(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    await client.send_user_message_content("How are you?")
    item = (await server.until_received("conversation.item.create"))["item"]
    assert item["content"] == [{"type": "input_text", "text": "How are you?"}]


async def test_no_content_only_asks_for_a_response(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    await client.send_user_message_content()
    await server.until_received("response.create")
    assert server.types == ["session.update", "response.create"]


async def test_content_that_is_none(client: RealtimeClient) -> None:
    await client.connect()
    with pytest.raises(TypeError, match="expected content parts as mappings, got str"):
        client.send_user_message_content(["text"])  # type: ignore[list-item]
    with pytest.raises(AudioTypeError):
        client.send_user_message_content([{"type": "input_audio", "audio": [1, 2]}])


async def test_audio_parts_of_another_rate_and_in_base64(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    client.send_user_message_content(
        [
            {"type": "input_audio", "audio": np.zeros(8_000, np.int16), "rate": 8_000},
            {"type": "input_audio", "audio": b64(b"\x01\x00")},
            {"type": "input_audio", "audio": np.zeros(0, np.int16)},
        ]
    )
    parts = (await server.until_received("conversation.item.create"))["item"]["content"]
    assert [len(base64.b64decode(part["audio"])) for part in parts] == [48_000, 2, 0]
    assert all(set(part) == {"type", "audio"} for part in parts)


async def test_streamed_audio_is_committed_and_comes_back_with_its_item(
    client: RealtimeClient, server: ScriptedServer
) -> None:
    await client.connect()
    noise = np.random.default_rng(1).integers(-32768, 32767, 24_000).astype(np.int16)
    for chunk in np.array_split(noise, 10):
        assert await client.append_input_audio(chunk) is True
    client.append_input_audio(b"")
    client.create_response()
    user = await client.wait_for_next_item(timeout=5)
    assert np.array_equal(user.formatted.audio, noise)
    await server.until_received("response.create")
    assert server.types == [
        "session.update",
        *["input_audio_buffer.append"] * 10,
        "input_audio_buffer.commit",
        "response.create",
    ]
    sent = b"".join(base64.b64decode(event["audio"]) for event in server.sent("input_audio_buffer.append"))
    assert sent == noise.tobytes()


async def test_without_audio_nothing_is_committed(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    client.create_response({"conversation": "none", "metadata": {"topic": "x"}})
    event = await server.until_received("response.create")
    assert event["response"] == {"conversation": "none", "metadata": {"topic": "x"}}
    assert "input_audio_buffer.commit" not in server.types


async def test_with_turn_detection_the_server_commits(client: RealtimeClient, server: ScriptedServer) -> None:
    client.update_session(turn_detection={"type": "server_vad"})
    await client.connect()
    client.append_input_audio(SECOND)
    client.create_response()
    await server.until_received("response.create")
    assert "input_audio_buffer.commit" not in server.types


async def test_a_refused_commit_gives_its_audio_to_nobody(client: RealtimeClient, server: ScriptedServer) -> None:
    async def refuse(server: ScriptedServer, peer: Peer, event: Event) -> None:
        await peer.send(server.wire.error("buffer too small", "input_audio_buffer_commit_empty", event["event_id"]))

    server.handlers["input_audio_buffer.commit"] = refuse
    await client.connect()
    client.append_input_audio(bytes(480))
    client.create_response()
    await client.wait_for_next("error", timeout=5)
    del server.handlers["input_audio_buffer.commit"]
    client.append_input_audio(b"\x07\x00")
    client.create_response()
    assert (await client.wait_for_next_item(timeout=5)).formatted.audio.tolist() == [7]


async def test_cleared_audio_is_not_committed(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    client.append_input_audio(SECOND)
    client.realtime.send("input_audio_buffer.clear")
    client.create_response()
    await server.until_received("response.create")
    assert "input_audio_buffer.commit" not in server.types


async def test_audio_of_another_rate_is_resampled_as_one_stream(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    for chunk in np.array_split(np.zeros(16_000, np.float32), 7):
        client.append_input_audio(chunk, rate=16_000)
    client.create_response()
    user = await client.wait_for_next_item(timeout=5)
    assert abs(user.formatted.audio.size - 24_000) <= 2


async def test_wrong_audio_is_told_what_is_expected(client: RealtimeClient) -> None:
    await client.connect()
    with pytest.raises(AudioTypeError, match=r"expected bytes, bytearray or memoryview .* got list"):
        client.append_input_audio([1, 2])


async def test_g711_goes_as_it_is(client: RealtimeClient, server: ScriptedServer) -> None:
    client.update_session(input_audio_format="g711_ulaw")
    await client.connect()
    client.append_input_audio(b"\xff\x80\x00")
    assert base64.b64decode((await server.until_received("input_audio_buffer.append"))["audio"]) == b"\xff\x80\x00"
    with pytest.raises(AudioTypeError, match="expected bytes of g711_ulaw"):
        client.append_input_audio(np.zeros(4, np.int16))


async def test_sending_without_connection(client: RealtimeClient) -> None:
    for send in (
        lambda: client.create_response(),
        lambda: client.send_user_message_content("x"),
        lambda: client.append_input_audio(SECOND),
        lambda: client.delete_item("x"),
        lambda: client.cancel_response(),
    ):
        with pytest.raises(NotConnectedError, match="not connected"):
            send()


# ---------------------------------------------------------------------- interrupting, deleting


async def test_cancel_without_id_only_cancels(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    assert await client.cancel_response() is None
    await server.until_received("response.cancel")
    assert "conversation.item.truncate" not in server.types


@pytest.mark.parametrize(("samples", "ms"), [(0, 0), (23, 0), (24, 1), (12_000, 500), (23_999, 999)])
async def test_cancel_cuts_the_item_where_the_listener_is(
    client: RealtimeClient, server: ScriptedServer, samples: int, ms: int
) -> None:
    server.answers.append(server.wire.audio_turn("Hello ", "world", audio=SECOND))
    await client.connect()
    client.create_response()
    item = await client.wait_for_next_completed_item(timeout=5)
    assert client.cancel_response(item.id, samples).value is item
    event = await server.until_received("conversation.item.truncate")
    assert server.types[-2:] == ["response.cancel", "conversation.item.truncate"]
    assert (event["item_id"], event["content_index"], event["audio_end_ms"]) == (item.id, 0, ms)
    await client.realtime.wait_for_next("server.conversation.item.truncated", timeout=5)
    assert item.formatted.transcript == ""
    assert item.formatted.audio.size == ms * 24


async def test_cancel_of_what_cannot_be_cut(client: RealtimeClient, server: ScriptedServer) -> None:
    wire = server.wire
    server.answers += [wire.text_turn("text"), wire.tool_turn("manual", "{}", response_id="resp_2")]
    client.update_session(tools=[{"name": "manual"}])
    await client.connect()
    client.send_user_message_content("Hi")
    user = await client.wait_for_next_item(timeout=5)
    text = await client.wait_for_next_item(timeout=5)
    client.create_response()
    call = await client.wait_for_next_item(timeout=5)
    with pytest.raises(UnknownItemError, match='Could not find item "item_x"'):
        client.cancel_response("item_x")
    with pytest.raises(ItemKindError, match='of type "message"'):
        client.cancel_response(call.id)
    with pytest.raises(ItemKindError, match='of role "assistant"'):
        client.cancel_response(user.id)
    with pytest.raises(ValueError, match="expected sample_count from 0"):
        client.cancel_response(text.id, -1)
    assert "response.cancel" not in server.types
    with pytest.raises(ItemKindError, match="Could not find audio"):
        client.cancel_response(text.id)
    await server.until_received("response.cancel")


async def test_delete_item(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    client.send_user_message_content("Hi")
    item = await client.wait_for_next_item(timeout=5)
    await client.delete_item(item.id)
    await client.realtime.wait_for_next("server.conversation.item.deleted", timeout=5)
    assert client.conversation.get_items() == []


async def test_root_puts_an_item_first(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    client.send_user_message_content("second")
    await client.wait_for_next_item(timeout=5)
    content = [{"type": "input_text", "text": "first"}]
    item = {"id": "item_first", "type": "message", "role": "user", "content": content}
    client.realtime.send("conversation.item.create", {"previous_item_id": "root", "item": item})
    await client.wait_for_next_item(timeout=5)
    assert [entry.formatted.text for entry in client.conversation.get_items()] == ["first", "second"]


# ---------------------------------------------------------------------- the utility events


async def test_the_order_of_the_utility_events(client: RealtimeClient, server: ScriptedServer) -> None:
    log = Log(client)
    server.answers.append(server.wire.text_turn("Hel", "lo"))
    await client.connect()
    client.send_user_message_content("Hi")
    await client.realtime.wait_for_next("server.response.done", timeout=5)
    of_user = [(name, event) for name, event in log.entries if event.item.role == "user"]
    assert [name for name, _ in of_user[:3]] == [
        "conversation.updated",
        "conversation.item.appended",
        "conversation.item.completed",
    ]
    names = [name for name, event in log.entries if event.item.role == "assistant"]
    assert names[:2] == ["conversation.updated", "conversation.item.appended"]
    assert names.count("conversation.item.appended") == names.count("conversation.item.completed") == 1
    assert names.index("conversation.item.completed") > names.index("conversation.item.appended") + 2
    deltas = [event.delta.text for event in log.of("conversation.updated") if event.delta]
    assert deltas == ["Hel", "lo"]
    assert all(event.item.status == "completed" for event in log.of("conversation.item.completed"))


async def test_the_cache_and_the_utility_events_come_before_realtime_event(
    client: RealtimeClient, server: ScriptedServer
) -> None:
    order: list[str] = []
    client.on("conversation.item.appended", lambda event: order.append("appended"))
    client.on(
        "realtime.event",
        lambda event: (
            order.append(f"event, {len(client.conversation.get_items())} items")
            if event.event["type"] in ("conversation.item.added", "conversation.item.created")
            else None
        ),
    )
    await client.connect()
    client.send_user_message_content("Hi")
    await client.wait_for_next_item(timeout=5)
    await client.realtime.wait_for_next("server.*", timeout=5) if server.wire.dialect == "ga" else None
    assert order[:2] == ["appended", "event, 1 items"]


async def test_updated_can_be_unpacked(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    client.send_user_message_content("Hi")
    item, delta = await client.wait_for_next("conversation.updated", timeout=5)
    assert (item.formatted.text, delta) == ("Hi", None)


async def test_speech_interrupts_and_its_audio_comes_with_the_item(
    client: RealtimeClient, server: ScriptedServer
) -> None:
    wire = server.wire
    log = Log(client)
    client.update_session(turn_detection={"type": "server_vad"})
    await client.connect()
    samples = np.arange(24_000, dtype=np.int16)
    client.append_input_audio(samples)
    await server.until_received("input_audio_buffer.append")
    await server.send(
        wire.event("input_audio_buffer.speech_started", item_id="u", audio_start_ms=100),
        wire.event("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=200),
        wire.event("input_audio_buffer.committed", item_id="u", previous_item_id=None),
        wire.transcribed("u", "early"),
        *wire.user_audio("u"),
    )
    interrupted = await client.wait_for_next("conversation.interrupted", timeout=5)
    assert (interrupted.item_id, interrupted.audio_start_ms) == ("u", 100)
    item = await client.wait_for_next_item(timeout=5)
    assert np.array_equal(item.formatted.audio, samples[2400:4800])
    assert item.formatted.transcript == "early"
    assert log.names[0] == "interrupted"


async def test_server_errors_are_dispatched_and_nothing_ends(client: RealtimeClient, server: ScriptedServer) -> None:
    await client.connect()
    await client.wait_for_session_created(timeout=5)
    asyncio.get_running_loop().create_task(server.send(server.wire.error("Nope", "invalid_value")))
    error = await client.wait_for_next("error", timeout=5)
    assert isinstance(error, ServerError)
    assert error.code == "invalid_value"
    assert client.is_connected()


async def test_events_that_do_not_fit_the_cache_are_errors_and_nothing_ends(
    client: RealtimeClient, server: ScriptedServer
) -> None:
    log = Log(client)
    await client.connect()
    await client.wait_for_session_created(timeout=5)
    wire = server.wire
    await server.send(
        wire.event("conversation.item.deleted", item_id="item_x"),
        wire.part_event("response.output_audio.delta", "item_x", "resp_x", delta="AAAA"),
        *wire.user_text("still here"),
    )
    assert (await client.wait_for_next_item(timeout=5)).formatted.text == "still here"
    assert [type(error) for error in log.of("error")] == [ConversationEventError] * 2


async def test_an_out_of_band_response_beside_the_conversation(client: RealtimeClient, server: ScriptedServer) -> None:
    wire = server.wire
    log = Log(client)
    message = {"id": "oob", "type": "message", "role": "assistant"}
    final = {**message, "content": [{"type": wire.text_part, "text": "spam"}]}
    call = {"id": "oob_call", "type": "function_call", "name": "get_weather", "call_id": "c", "arguments": "{}"}
    server.answers.append(
        [
            wire.response_created("resp_9", out_of_band=True),
            *wire.start({**message, "content": []}, "resp_9", in_conversation=False),
            *wire.text_stream("oob", "resp_9", "spam"),
            *wire.finish(final, "resp_9", in_conversation=False),
            *wire.start(call, "resp_9", in_conversation=False),
            *wire.finish(call, "resp_9", in_conversation=False),
            wire.response_done("resp_9", "completed", final),
        ]
    )
    client.add_tool(WEATHER, lambda: 1)
    await client.connect()
    client.create_response({"conversation": "none"})
    done = await client.realtime.wait_for_next("server.response.done", timeout=5)
    assert done["response"]["output"][0]["content"][0]["text"] == "spam"
    response = client.conversation.get_response("resp_9")
    assert response is not None
    assert response.output[0].formatted.text == "spam"
    assert log.entries == []
    assert "conversation.item.create" not in server.types


async def test_a_callback_that_raises_is_an_error_event(
    client: RealtimeClient, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(event: Any) -> None:
        raise ValueError("mine")

    client.on("conversation.item.appended", fails)
    log = Log(client)
    await client.connect()
    client.send_user_message_content("Hi")
    await client.wait_for_next("conversation.item.completed", timeout=5)
    errors = log.of("error")
    assert [type(error) for error in errors] == [CallbackError]
    assert "fails" in str(errors[0])
    assert "ValueError: mine" in caplog.text


# ---------------------------------------------------------------------- tools


async def test_a_tool_runs_its_output_is_sent_and_a_response_asked_for(
    client: RealtimeClient, server: ScriptedServer
) -> None:
    got: list[Any] = []

    async def get_weather(lat: float, lng: float) -> dict[str, Any]:
        got.append((lat, lng))
        return {"temperature": 21.5}

    added = client.add_tool(WEATHER, get_weather)
    assert added.value["type"] == "function"
    server.answers += [server.wire.tool_turn("get_weather", '{"lat":1,', '"lng":2}'), server.wire.text_turn("Warm.")]
    await client.connect()
    client.create_response()
    output = await server.until_received("conversation.item.create")
    assert got == [(1, 2)]
    assert output["item"] == {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": '{"temperature":21.5}',
    }
    await server.until_received("response.create", 2)
    await client.realtime.wait_for_next("server.response.done", timeout=5)
    assert [item.type for item in client.conversation.get_items()] == [
        "function_call",
        "function_call_output",
        "message",
    ]


@pytest.mark.parametrize(
    ("handler", "arguments", "error"),
    [
        (lambda lat: 1 / 0, '{"lat":1}', "division by zero"),
        (lambda lat: 1, '{"lat":', "expected the arguments as a JSON object"),
        (lambda lat: 1, "[1]", "expected the arguments as a JSON object"),
        (lambda lat: 1, '{"other":1}', "unexpected keyword argument 'other'"),
        (lambda lat: object(), '{"lat":1}', "unsupported"),
        (None, "{}", 'Tool "get_weather" has not been added'),
    ],
    ids=["raises", "broken", "array", "other arguments", "no JSON", "unknown"],
)
async def test_a_tools_error_is_its_output_and_the_client_lives_on(
    client: RealtimeClient, server: ScriptedServer, handler: Any, arguments: str, error: str
) -> None:
    if handler is not None:
        client.add_tool(WEATHER, handler)
    server.answers.append(server.wire.tool_turn("get_weather", arguments))
    await client.connect()
    client.create_response()
    output = (await server.until_received("conversation.item.create"))["item"]["output"]
    assert output.startswith('{"error":')
    assert error in output.replace('\\"', '"')
    await server.until_received("response.create", 2)
    assert client.is_connected()


async def test_a_plain_tool_may_block(client: RealtimeClient, server: ScriptedServer) -> None:
    loop = asyncio.get_running_loop()

    def blocking(lat: float) -> str:
        # Waits for the loop: would never return if it ran in the loop's own thread.
        return asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "done"), loop).result(timeout=5)

    client.add_tool(WEATHER, blocking)
    server.answers.append(server.wire.tool_turn("get_weather", '{"lat":1}'))
    await client.connect()
    client.create_response()
    assert (await server.until_received("conversation.item.create"))["item"]["output"] == '"done"'


async def test_a_tool_that_takes_too_long(server: ScriptedServer) -> None:
    async def forever(lat: float) -> None:
        await asyncio.Event().wait()

    async with make(server, tool_timeout=0.01) as client:
        client.add_tool(WEATHER, forever)
        server.answers.append(server.wire.tool_turn("get_weather", '{"lat":1}'))
        client.create_response()
        output = (await server.until_received("conversation.item.create"))["item"]["output"]
        assert "did not finish within 0.01 s" in output


async def test_two_calls_of_a_response_are_answered_by_one_response_create(
    client: RealtimeClient, server: ScriptedServer
) -> None:
    gates = {"a": asyncio.Event(), "b": asyncio.Event()}

    async def tool(name: str) -> str:
        await gates[name].wait()
        return name

    client.add_tool(WEATHER, tool)
    first = server.wire.tool_turn("get_weather", '{"name":"a"}', call_id="ca", item_id="ia")
    second = server.wire.tool_turn("get_weather", '{"name":"b"}', call_id="cb", item_id="ib")
    server.answers.append([*first[:-1], *second[1:]])
    await client.connect()
    client.create_response()
    await client.realtime.wait_for_next("server.response.done", timeout=5)
    gates["b"].set()
    assert (await server.until_received("conversation.item.create"))["item"]["call_id"] == "cb"
    assert len(server.sent("response.create")) == 1
    gates["a"].set()
    await server.until_received("response.create", 2)
    assert [e["item"]["call_id"] for e in server.sent("conversation.item.create")] == ["cb", "ca"]
    await client.disconnect()
    await server.until(lambda: len(server.received) == 5)
    assert len(server.sent("response.create")) == 2


async def test_after_an_interruption_the_output_is_sent_and_no_response_asked_for(
    client: RealtimeClient, server: ScriptedServer
) -> None:
    client.add_tool(WEATHER, lambda lat: lat)
    server.answers.append(server.wire.tool_turn("get_weather", '{"lat":1}', status="cancelled"))
    await client.connect()
    client.create_response()
    await server.until_received("conversation.item.create")
    client.delete_item("a marker")
    await server.until_received("conversation.item.delete")
    assert len(server.sent("response.create")) == 1


async def test_incomplete_calls_and_manual_tools_do_not_run(client: RealtimeClient, server: ScriptedServer) -> None:
    wire = server.wire
    call = {"id": "cut", "type": "function_call", "name": "get_weather", "call_id": "c2", "arguments": '{"lat":'}
    client.add_tool(WEATHER, lambda lat: lat)
    client.update_session(tools=[{"name": "manual"}])
    server.answers += [
        wire.tool_turn("manual", "{}"),
        [
            wire.response_created("resp_2"),
            *wire.start(call, "resp_2"),
            *wire.finish(call, "resp_2", status="incomplete"),
            wire.response_done("resp_2", "incomplete"),
        ],
    ]
    await client.connect()
    client.create_response()
    done = await client.wait_for_next_completed_item(timeout=5)
    assert (done.type, done.name) == ("function_call", "manual")
    client.create_response()
    await client.realtime.wait_for_next("server.response.done", timeout=5)
    await client.disconnect()
    assert "conversation.item.create" not in server.types


async def test_a_call_told_twice_runs_once(client: RealtimeClient, server: ScriptedServer) -> None:
    ran: list[float] = []
    client.add_tool(WEATHER, ran.append)
    events = server.wire.tool_turn("get_weather", '{"lat":1}')
    client.remove_tool("get_weather")
    client.add_tool(WEATHER, lambda lat: ran.append(lat))
    server.answers.append([*events[:-1], events[-2], events[-1]])
    await client.connect()
    client.create_response()
    await server.until_received("response.create", 2)
    assert ran == [1]
    assert len(server.sent("conversation.item.create")) == 1


async def test_disconnect_cancels_tools(client: RealtimeClient, server: ScriptedServer) -> None:
    started, cancelled = asyncio.Event(), []

    async def forever(lat: float) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    client.add_tool(WEATHER, forever)
    server.answers.append(server.wire.tool_turn("get_weather", '{"lat":1}'))
    await client.connect()
    client.create_response()
    await started.wait()
    await client.disconnect()
    assert cancelled == [True]


async def test_a_tool_may_disconnect(client: RealtimeClient, server: ScriptedServer) -> None:
    left = asyncio.Event()

    async def hang_up() -> None:
        await client.disconnect()
        left.set()

    client.add_tool({"name": "hang_up"}, hang_up)
    server.answers.append(server.wire.tool_turn("hang_up", "{}"))
    await client.connect()
    client.create_response()
    async with asyncio.timeout(5):
        await left.wait()
    assert not client.is_connected()


@pytest.mark.parametrize(
    ("definition", "handler", "words"),
    [
        ({}, print, 'expected a definition with a "name"'),
        (None, print, 'expected a definition with a "name"'),
        ({"name": "x"}, "no function", "expected a callable handler"),
    ],
)
def test_tools_that_cannot_be_added(definition: Any, handler: Any, words: str) -> None:
    with pytest.raises(ToolDefinitionError, match=words):
        RealtimeClient().add_tool(definition, handler)


def test_tools_are_added_once_and_removed_once() -> None:
    client = RealtimeClient()
    client.add_tool(WEATHER, print)
    with pytest.raises(ToolDefinitionError, match="already added"):
        client.add_tool(WEATHER, print)
    assert client.remove_tool("get_weather") is True
    with pytest.raises(ToolDefinitionError, match="does not exist"):
        client.remove_tool("get_weather")


async def test_removing_a_tool_sends_nothing_until_the_next_update(
    client: RealtimeClient, server: ScriptedServer
) -> None:
    await client.connect()
    client.add_tool(WEATHER, print)
    client.remove_tool("get_weather")
    client.update_session()
    await server.until_received("session.update", 3)
    assert [len(session_of(event)["tools"]) for event in server.sent("session.update")] == [0, 1, 0]


# ---------------------------------------------------------------------- reconnection


async def reconnected_server(server: ScriptedServer, replay: bool) -> tuple[RealtimeClient, Any]:
    """A client with a conversation whose connection was cut and came back."""
    wire = server.wire
    client = make(server, reconnect=Reconnect(first_delay=0, replay=replay))
    client.add_tool(WEATHER, lambda lat: lat)
    server.answers += [
        wire.audio_turn("Good ", "morning", item_id="item_said", response_id="r1"),
        wire.tool_turn("get_weather", '{"lat":1}', response_id="r2"),
        wire.text_turn("One.", item_id="item_written", response_id="r3"),
    ]
    await client.connect()
    client.append_input_audio(SECOND)
    client.create_response()
    await client.realtime.wait_for_next("server.response.done", timeout=5)
    client.create_response()
    await client.wait_for_next("conversation.item.completed", timeout=5)
    while (await client.realtime.wait_for_next("server.response.done", timeout=5))["response"]["id"] != "r3":
        continue
    await server.send(
        *wire.start({"id": "item_open", "type": "message", "role": "assistant", "content": []}, "r4"),
        *wire.text_stream("item_open", "r4", "I was just")[:2],
    )
    await client.realtime.wait_for_next(f"server.{wire.name('response.output_text.delta')}", timeout=5)
    server.received.clear()
    back = asyncio.create_task(client.wait_for_next("reconnected", timeout=5))
    await asyncio.wait({back}, timeout=0)
    server.peers[0].socket.transport.abort()
    return client, await back


async def test_a_conversation_is_replayed_when_asked(server: ScriptedServer) -> None:
    client, event = await reconnected_server(server, replay=True)
    before = [item.id for item in client.conversation.get_items()]
    assert event.replayed == 6
    await server.until_received("conversation.item.create", 6)
    assert server.types[0] == "session.update"
    items = [event["item"] for event in server.sent("conversation.item.create")]
    assert [item["id"] for item in items] == before
    kind = server.wire.text_part
    assert items[0]["content"][0]["type"] == "input_audio"
    assert base64.b64decode(items[0]["content"][0]["audio"]) == SECOND
    assert items[1]["content"] == [{"type": kind, "text": "Good morning"}]
    assert (items[2]["type"], items[2]["arguments"]) == ("function_call", '{"lat":1}')
    assert (items[3]["type"], items[3]["call_id"]) == ("function_call_output", "call_1")
    assert items[4]["content"] == [{"type": kind, "text": "One."}]
    assert items[5]["content"] == [{"type": kind, "text": "I was just"}]
    log = Log(client)
    client.send_user_message_content("And now?")
    assert (await client.wait_for_next_item(timeout=5)).formatted.text == "And now?"
    assert log.names.count("item.appended") == 1
    assert [item.id for item in client.conversation.get_items()[:-1]] == before
    assert client.conversation.get_items()[1].formatted.audio_bytes == SECOND
    await client.disconnect()


async def test_without_replay_the_conversation_begins_anew(server: ScriptedServer) -> None:
    client, event = await reconnected_server(server, replay=False)
    assert event.replayed == 0
    assert client.conversation.get_items() == []
    await server.until_received("session.update")
    client.send_user_message_content("Hello again")
    assert (await client.wait_for_next_item(timeout=5)).formatted.text == "Hello again"
    await client.disconnect()


async def test_waits_outlive_a_reconnection(server: ScriptedServer) -> None:
    client = make(server, reconnect=Reconnect(first_delay=0))
    await client.connect()
    await client.wait_for_session_created(timeout=5)
    waiting = asyncio.create_task(client.wait_for_next_item(timeout=5))
    back = asyncio.create_task(client.wait_for_next("reconnected", timeout=5))
    await asyncio.wait({waiting, back}, timeout=0)
    server.peers[0].socket.transport.abort()
    await back
    client.send_user_message_content("Still waiting?")
    assert (await waiting).formatted.text == "Still waiting?"
    await client.disconnect()


# ---------------------------------------------------------------------- a fuzz over the wire


@pytest.mark.parametrize("seed", range(8))
async def test_any_order_of_events_leaves_the_client_alive(
    client: RealtimeClient, server: ScriptedServer, seed: int
) -> None:
    rng = random.Random(seed)
    wire: Wire = server.wire
    client.add_tool(WEATHER, lambda lat: lat)
    events = [
        *wire.user_text("Hi"),
        *wire.text_turn("a", "b"),
        *wire.audio_turn("c", "d", response_id="r2"),
        *wire.tool_turn("get_weather", '{"lat":', "1}", response_id="r3"),
        wire.event("input_audio_buffer.speech_started", item_id="item_user", audio_start_ms=0),
        wire.event("conversation.item.deleted", item_id="item_audio"),
        wire.event("unheard.of"),
        {"type": "conversation.item.added"},
        {"type": "response.done", "event_id": "e", "response": None},
        {"type": "error", "event_id": "e", "error": "text"},
        {"type": "response.output_item.done", "event_id": "e", "item": {"id": "item_call", "type": "message"}},
    ] * 2
    rng.shuffle(events)
    await client.connect()
    await client.wait_for_session_created(timeout=5)
    await server.send(*events, *wire.user_text("the last", "item_last"))
    while client.conversation.get_item("item_last") is None:
        await client.wait_for_next_item(timeout=5)
    ids = [item.id for item in client.conversation.get_items()]
    assert len(ids) == len(set(ids))
    assert client.is_connected()
