"""The synchronous facade: plain calls, from any thread, against a server in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from realtime_script import SECOND, Event, ScriptedServer, ThreadedServer, Wire

from antiphon.client.realtime import (
    BadKeyError,
    ConnectionClosedError,
    NotConnectedError,
    RealtimeError,
    RealtimeTimeoutError,
    SyncRealtimeClient,
)


@pytest.fixture
def threaded(wire: Wire) -> Iterator[ThreadedServer]:
    server = ThreadedServer(wire)
    yield server
    server.stop()


@pytest.fixture
def make(threaded: ThreadedServer) -> Iterator[Callable[..., SyncRealtimeClient]]:
    clients: list[SyncRealtimeClient] = []

    def create(**options: Any) -> SyncRealtimeClient:
        client = SyncRealtimeClient(url=threaded.script.url, dialect=threaded.script.wire.dialect, **options)
        clients.append(client)
        return client

    yield create
    for client in clients:
        client.close()


Make = Callable[..., SyncRealtimeClient]


def test_a_conversation_in_plain_calls(make: Make, threaded: ThreadedServer) -> None:
    threaded.script.answers.append(threaded.script.wire.audio_turn("Hel", "lo", audio=SECOND))
    client = make()
    assert client.update_session(instructions="Be brief.") is True
    assert client.connect() is True
    assert client.is_connected()
    assert client.wait_for_session_created(timeout=5)["id"] == "sess_1"
    assert client.session is not None
    assert client.send_user_message_content("Hi") is True
    user = client.wait_for_next_item(timeout=5)
    assistant = client.wait_for_next_item(timeout=5)
    assert [user.role, assistant.role] == ["user", "assistant"]
    completed = client.wait_for_next_completed_item(timeout=5)
    assert completed is assistant
    assert completed.formatted.transcript == "Hello"
    assert client.conversation.get_items() == [user, assistant]
    client.disconnect()
    assert not client.is_connected()


def test_waits_count_from_the_last_send(make: Make, threaded: ThreadedServer) -> None:
    client = make()
    client.connect()
    client.send_user_message_content("one")
    assert client.wait_for_next_item(timeout=5).formatted.text == "one"
    client.send_user_message_content("two")
    threaded.run(threaded.script.until_received("conversation.item.create", 2))
    client.send_user_message_content("three")
    texts = [client.wait_for_next_item(timeout=5).formatted.text]
    while texts[-1] != "three":
        texts.append(client.wait_for_next_item(timeout=5).formatted.text)
    assert "one" not in texts


def test_ask_gives_the_answer(make: Make, threaded: ThreadedServer) -> None:
    threaded.script.answers.append(threaded.script.wire.text_turn("I am ", "fine."))
    with make() as client:
        assert client.ask("How are you?", timeout=5).formatted.text == "I am fine."


def test_ask_runs_out_of_time_or_of_connection(make: Make, threaded: ThreadedServer) -> None:
    with make() as client:
        with pytest.raises(RealtimeTimeoutError, match="the assistant's answer"):
            client.ask("How are you?", timeout=0.01)
        leave = threading.Thread(
            target=lambda: threaded.run(close_when_asked(threaded.script)),
        )
        leave.start()
        with pytest.raises(ConnectionClosedError):
            client.ask("Are you there?", timeout=10)
        leave.join()


async def close_when_asked(script: ScriptedServer) -> None:
    await script.until_received("response.create", 2)
    await script.peers[0].socket.close(1011)


def test_callbacks_run_in_the_clients_thread_and_may_send(make: Make, threaded: ThreadedServer) -> None:
    client = make()
    where: list[str] = []
    failures: list[Exception] = []

    def appended(event: Any) -> None:
        where.append(threading.current_thread().name)
        assert client.delete_item(event.item.id) is True
        try:
            client.wait_for_next_item()
        except RealtimeError as error:
            failures.append(error)

    assert client.on("conversation.item.appended", appended) is appended
    client.connect()
    client.send_user_message_content("Hi")
    threaded.run(threaded.script.until_received("conversation.item.delete"))
    assert where == ["realtime-client"]
    assert "called from a callback" in str(failures[0])
    assert client.off("conversation.item.appended", appended) is True


def test_tools_run_in_threads(make: Make, threaded: ThreadedServer) -> None:
    threaded.script.answers.append(threaded.script.wire.tool_turn("where", '{"who":"me"}'))
    client = make()
    client.add_tool({"name": "where"}, lambda who: f"{who} in another thread")
    client.connect()
    client.create_response()
    event: Event = threaded.run(threaded.script.until_received("conversation.item.create"))
    assert event["item"]["output"] == '"me in another thread"'
    assert client.remove_tool("where") is True


def test_audio_cancel_and_raw_sending(make: Make, threaded: ThreadedServer) -> None:
    threaded.script.answers.append(threaded.script.wire.audio_turn("Hi", audio=SECOND))
    client = make()
    client.connect()
    assert client.append_input_audio(np.zeros(16_000, np.int16), rate=16_000) is True
    client.create_response()
    item = client.wait_for_next_completed_item(timeout=5)
    while item.role != "assistant":
        item = client.wait_for_next_completed_item(timeout=5)
    assert client.cancel_response(item.id, 12_000) is item
    assert client.cancel_response() is None
    assert client.send("input_audio_buffer.clear")["type"] == "input_audio_buffer.clear"
    event = threaded.run(threaded.script.until_received("conversation.item.truncate"))
    assert event["audio_end_ms"] == 500


def test_events_iterates_until_the_end(make: Make, threaded: ThreadedServer) -> None:
    client = make()
    events = client.events(timeout=5)
    client.connect()
    types = []
    for event in events:
        types.append(event.type)
        if event.type == "session.updated":
            client.disconnect()
    assert types == ["session.created", "session.updated"]


def test_events_run_out_of_time_and_of_connection(make: Make, threaded: ThreadedServer) -> None:
    client = make()
    client.connect()
    client.wait_for_session_created(timeout=5)
    quick = client.events(timeout=0.01)
    with pytest.raises(RealtimeTimeoutError, match="the next server event"):
        while True:
            next(quick)
    lost = client.events(timeout=5)
    threaded.run(threaded.script.peers[0].socket.close(1011))
    with pytest.raises(ConnectionClosedError):
        list(lost)


def test_on_next_off_next_and_reset(make: Make) -> None:
    client = make()
    seen: list[Any] = []
    client.on_next("conversation.item.appended", seen.append)
    assert client.off_next("conversation.item.appended", seen.append) is True
    client.update_session(turn_detection={"type": "server_vad"})
    assert client.get_turn_detection_type() == "server_vad"
    assert client.reset() is True
    assert client.get_turn_detection_type() is None
    client.connect()
    client.send_user_message_content("Hi")
    assert client.wait_for_next_item(timeout=5).formatted.text == "Hi"
    assert seen == []


def test_a_bad_key(make: Make, threaded: ThreadedServer) -> None:
    threaded.script.key = "sk-right"
    client = make(api_key="sk-wrong")
    client.connect()
    error = client.wait_for_next("error", timeout=5)
    assert isinstance(error, BadKeyError)
    with pytest.raises((BadKeyError, NotConnectedError)):
        client.wait_for_session_created(timeout=5)


def test_entering_without_a_server_closes_the_client() -> None:
    client = SyncRealtimeClient(url="ws://127.0.0.1:9", open_timeout=1)
    with pytest.raises(RealtimeError), client:
        raise AssertionError("not entered")
    with pytest.raises(RealtimeError, match="was closed"):
        client.connect()
    client.close()


def test_close_waits_for_callbacks_and_ends_the_thread(make: Make) -> None:
    client = make()
    finished: list[bool] = []

    async def slow(event: Any) -> None:
        await asyncio.sleep(0)
        finished.append(True)

    client.on("conversation.item.completed", slow)
    client.connect()
    client.send_user_message_content("Hi")
    client.wait_for_next_item(timeout=5)
    client.close()
    assert finished == [True]
    assert "realtime-client" not in [thread.name for thread in threading.enumerate()]
