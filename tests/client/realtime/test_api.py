"""The connection: dialects, authentication, failures, back-pressure, reconnection. Against a server on a socket."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import pytest
from realtime_script import Peer, ScriptedServer, Wire
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from antiphon.client.realtime.api import Closed, RealtimeAPI, Reconnecting
from antiphon.client.realtime.connection import Reconnect, is_loopback, realtime_url
from antiphon.client.realtime.errors import (
    AlreadyConnectedError,
    BadKeyError,
    ConnectError,
    ConnectionClosedError,
    NotConnectedError,
    RealtimeError,
    RealtimeTimeoutError,
    SendBufferFullError,
    ServerError,
)
from antiphon.client.realtime.models import SessionEvent

AT_ONCE = Reconnect(attempts=3, first_delay=0, jitter=0)


@pytest.fixture
async def api(server: ScriptedServer) -> AsyncIterator[RealtimeAPI]:
    api = RealtimeAPI(url=server.url, dialect=server.wire.dialect, api_key="sk-test")  # type: ignore[arg-type]
    yield api
    await api.disconnect()


# ---------------------------------------------------------------------- construction


def test_without_key_there_is_none() -> None:
    api = RealtimeAPI()
    assert not api.api_key
    assert api.url == "wss://api.openai.com/v1/realtime"
    assert not api.is_connected()


def test_the_key_is_kept() -> None:
    assert RealtimeAPI(api_key="sk-test").api_key == "sk-test"


@pytest.mark.parametrize(("option", "words"), [({"dialect": "v2"}, "dialect"), ({"auth": "cookie"}, "auth")])
def test_wrong_options_are_told(option: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f'expected {"the " if words == "dialect" else ""}{words} "'):
        RealtimeAPI(**option)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://host/v1/realtime", "wss://host/v1/realtime?model=m"),
        ("ws://localhost:8081", "ws://localhost:8081/?model=m"),
        ("https://host/x", "wss://host/x?model=m"),
        ("http://127.0.0.1:8000/v1/realtime?a=b", "ws://127.0.0.1:8000/v1/realtime?a=b&model=m"),
        ("ws://h/?model=other", "ws://h/?model=other"),
        ("ws://h/?call_id=rtc_1", "ws://h/?call_id=rtc_1"),
    ],
)
def test_addresses(url: str, expected: str) -> None:
    assert realtime_url(url, "m") == expected


def test_an_intent_takes_the_models_place() -> None:
    assert realtime_url("ws://h", "m", {"intent": "transcription"}) == "ws://h/?intent=transcription"


@pytest.mark.parametrize("url", ["ftp://host", "host:80", "", "ws://"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConnectError, match="expected an address like"):
        realtime_url(url, "m")


def test_loopback() -> None:
    hosts = ["localhost", "a.localhost", "127.0.0.1", "::1", "example.org", "10.0.0.1", None]
    assert [is_loopback(host) for host in hosts] == [True, True, True, True, False, False, False]


# ---------------------------------------------------------------------- connecting


async def test_connect_and_disconnect(api: RealtimeAPI, server: ScriptedServer) -> None:
    closed: list[Closed] = []
    api.on("close", closed.append)
    assert await api.connect() is True
    assert api.is_connected()
    created = await api.wait_for_next("server.session.created", timeout=5)
    assert created["session"]["id"] == "sess_1"
    assert await api.disconnect() is True
    assert not api.is_connected()
    assert closed == [Closed(False, 1000)]
    assert await api.disconnect() is True


async def test_header_authentication_and_the_dialects_sign(api: RealtimeAPI, server: ScriptedServer) -> None:
    await api.connect("my-model")
    await server.until(lambda: bool(server.requests))
    headers = server.requests[0].headers
    assert headers["Authorization"] == "Bearer sk-test"
    assert headers.get("OpenAI-Beta") == ("realtime=v1" if server.wire.dialect == "beta" else None)
    assert "Sec-WebSocket-Protocol" not in headers
    assert server.requests[0].path == "/v1/realtime?model=my-model"


async def test_subprotocol_authentication(server: ScriptedServer) -> None:
    server.key = "sk-test"
    dialect: Any = server.wire.dialect
    api = RealtimeAPI(url=server.url, dialect=dialect, api_key="sk-test", auth="subprotocol", headers={"X-A": "b"})
    await api.connect()
    await api.wait_for_next("server.session.created", timeout=5)
    offered = server.requests[0].headers["Sec-WebSocket-Protocol"].split(", ")
    assert offered[:2] == ["realtime", "openai-insecure-api-key.sk-test"]
    assert ("openai-beta.realtime-v1" in offered) == (server.wire.dialect == "beta")
    assert "Authorization" not in server.requests[0].headers
    assert server.requests[0].headers["X-A"] == "b"
    assert server.subprotocols == ["realtime"]
    await api.disconnect()


@pytest.mark.parametrize("auth", ["header", "subprotocol"])
@pytest.mark.parametrize("key", [None, "sk-wrong"])
async def test_a_bad_key_connects_and_is_told_by_an_event(server: ScriptedServer, auth: Any, key: str | None) -> None:
    server.key = "sk-right"
    api = RealtimeAPI(url=server.url, dialect=server.wire.dialect, api_key=key, auth=auth)  # type: ignore[arg-type]
    errors: list[RealtimeError] = []
    api.on("error", errors.append)
    assert await api.connect() is True
    event = await api.wait_for_next("server.error", timeout=1)
    assert "Incorrect API key provided" in event["error"]["message"]
    with pytest.raises(BadKeyError, match="Incorrect API key provided"):
        await api.wait_for_next("server.session.created", timeout=5)
    assert not api.is_connected()
    assert [type(error) for error in errors] == [BadKeyError]


async def test_connecting_twice(api: RealtimeAPI) -> None:
    await api.connect()
    with pytest.raises(AlreadyConnectedError, match="Already connected"):
        await api.connect()


async def test_connecting_again_after_disconnect(api: RealtimeAPI, server: ScriptedServer) -> None:
    await api.connect()
    await api.disconnect()
    await api.connect()
    await api.wait_for_next("server.session.created", timeout=5)
    assert len(server.requests) == 2


async def refuse(status: HTTPStatus, body: str) -> Any:
    def answer(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(status, body)

    async def never(connection: ServerConnection) -> None:
        raise AssertionError("the upgrade was refused")

    return await serve(never, "127.0.0.1", 0, process_request=answer)


def url_of(server: Any) -> str:
    return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (HTTPStatus.UNAUTHORIZED, '{"error": {"message": "No such key"}}', BadKeyError, "No such key"),
        (HTTPStatus.FORBIDDEN, "", BadKeyError, r"Incorrect API key provided \(HTTP 403\)"),
        (HTTPStatus.NOT_FOUND, "[]", ConnectError, "the server answered HTTP 404"),
        (HTTPStatus.SERVICE_UNAVAILABLE, '{"error": "too busy"}', ConnectError, "too busy"),
    ],
)
async def test_a_refused_upgrade(status: HTTPStatus, body: str, kind: type[RealtimeError], words: str) -> None:
    server = await refuse(status, body)
    api = RealtimeAPI(url=url_of(server), api_key="sk")
    with pytest.raises(kind, match=words) as caught:
        await api.connect()
    if isinstance(caught.value, ConnectError):
        assert caught.value.status == status
    assert not api.is_connected()
    server.close()
    await server.wait_closed()


async def test_nobody_listens() -> None:
    server = await refuse(HTTPStatus.OK, "")
    url = url_of(server)
    server.close()
    await server.wait_closed()
    api = RealtimeAPI(url=url)
    with pytest.raises(ConnectError, match="Could not connect to"):
        await api.connect()


async def test_nobody_answers() -> None:
    hold = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hold.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    api = RealtimeAPI(url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", open_timeout=0.05)
    with pytest.raises(RealtimeTimeoutError, match=r"waited 0.05 s for the connection to ws://127"):
        await api.connect()
    hold.set()
    server.close()
    await server.wait_closed()


# ---------------------------------------------------------------------- sending


async def test_send_dispatches_before_it_writes(api: RealtimeAPI, server: ScriptedServer) -> None:
    order: list[tuple[str, Any]] = []
    api.on("client.response.create", lambda event: order.append(("named", event)))
    api.on("client.*", lambda event: order.append(("any", event)))
    await api.connect()
    sent = api.send("response.create", {"response": {"metadata": {"a": "b"}}})
    assert [name for name, _ in order] == ["named", "any"]
    assert server.received == []
    received = await server.until_received("response.create")
    assert received == sent.value == order[0][1] == await sent
    assert received["event_id"].startswith("evt_")
    assert len(received["event_id"]) == 21


async def test_an_event_id_of_ones_own_wins(api: RealtimeAPI, server: ScriptedServer) -> None:
    await api.connect()
    api.send("response.cancel", {"event_id": "mine"})
    assert (await server.until_received("response.cancel"))["event_id"] == "mine"


async def test_sending_needs_a_connection_and_a_mapping(api: RealtimeAPI) -> None:
    with pytest.raises(NotConnectedError, match="RealtimeAPI is not connected"):
        api.send("response.create")
    await api.connect()
    with pytest.raises(TypeError, match="data must be an object, expected a mapping, got list"):
        api.send("response.create", [])  # type: ignore[arg-type]


async def test_sending_from_another_thread_is_told(api: RealtimeAPI) -> None:
    await api.connect()
    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        await asyncio.to_thread(api.send, "response.create")


async def test_everything_sent_before_disconnect_arrives(api: RealtimeAPI, server: ScriptedServer) -> None:
    await api.connect()
    for number in range(50):
        api.send("input_audio_buffer.append", {"event_id": f"e{number}", "audio": "A" * 4000})
    await api.disconnect()
    await server.until(lambda: len(server.received) == 50)
    assert [event["event_id"] for event in server.received] == [f"e{number}" for number in range(50)]


async def deaf_server() -> tuple[Any, asyncio.Event]:
    """A server that reads nothing until the event is set."""
    listen = asyncio.Event()

    async def deaf(socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        await listen.wait()
        socket.transport.resume_reading()
        async for _ in socket:
            pass

    return await serve(deaf, "127.0.0.1", 0, compression=None, max_size=None), listen


async def test_awaiting_a_send_waits_while_the_network_takes_no_more() -> None:
    server, listen = await deaf_server()
    api = RealtimeAPI(url=url_of(server), high_water=100_000)
    await api.connect()
    chunk = {"audio": "A" * 1_000_000}
    for _ in range(30):
        api.send("input_audio_buffer.append", chunk)
    waiting = asyncio.ensure_future(api.send("input_audio_buffer.append", chunk))
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    assert api.buffered > 100_000
    listen.set()
    await waiting
    assert api.buffered <= 100_000
    await api.disconnect()
    server.close()
    await server.wait_closed()


async def test_the_send_buffer_has_a_hard_limit() -> None:
    server, listen = await deaf_server()
    api = RealtimeAPI(url=url_of(server), max_buffered=1_000_000)
    sent: list[Any] = []
    api.on("client.*", sent.append)
    await api.connect()
    with pytest.raises(SendBufferFullError, match="await what the sending methods return") as caught:
        for _ in range(10):
            api.send("input_audio_buffer.append", {"audio": "A" * 300_000})
    assert caught.value.limit == 1_000_000
    assert len(sent) == 3
    listen.set()
    await api.disconnect()
    server.close()
    await server.wait_closed()


# ---------------------------------------------------------------------- receiving


async def test_received_events_go_to_their_name_then_to_the_wildcard(api: RealtimeAPI, server: ScriptedServer) -> None:
    order: list[tuple[str, str]] = []
    api.on("server.*", lambda event: order.append(("any", event["type"])))
    api.on("server.session.created", lambda event: order.append(("named", event["type"])))
    await api.connect()
    await api.wait_for_next("server.*", timeout=5)
    assert order == [("named", "session.created"), ("any", "session.created")]


async def test_nonsense_is_an_error_and_the_connection_lives(api: RealtimeAPI, server: ScriptedServer) -> None:
    errors: list[RealtimeError] = []
    api.on("error", errors.append)
    await api.connect()
    nonsense: list[str | bytes] = ["no json", "[1]", '"text"', "{}", b"\xff\xfe", "[" * 5000 + "]" * 5000, "null"]
    for message in nonsense:
        await server.peers[0].socket.send(message)
    await server.send(server.wire.session("updated"))
    await api.wait_for_next("server.session.updated", timeout=5)
    assert len(errors) == len(nonsense)
    assert all("expected a JSON object with a type" in str(error) for error in errors)


async def test_server_errors_are_typed(api: RealtimeAPI, server: ScriptedServer) -> None:
    await api.connect()
    waiting = asyncio.create_task(api.wait_for_next("error", timeout=5))
    await api.wait_for_next("server.session.created", timeout=5)
    event = server.wire.error("Cancellation failed", "response_cancel_not_active", "evt_7")
    await server.send(event)
    error = await waiting
    assert isinstance(error, ServerError)
    assert (error.code, error.event_id, error.event) == ("response_cancel_not_active", "evt_7", event)
    assert str(error) == "Cancellation failed (code response_cancel_not_active)"
    assert api.is_connected()


async def test_a_callback_that_raises_is_an_error_and_the_connection_lives(
    api: RealtimeAPI, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[RealtimeError] = []

    def fails(event: Any) -> None:
        raise ValueError("mine")

    def fails_too(error: RealtimeError) -> None:
        errors.append(error)
        raise ValueError("of the error callback")

    api.on("server.session.created", fails)
    api.on("error", fails_too)
    await api.connect()
    await api.wait_for_next("server.*", timeout=5)
    assert [str(error.__cause__) for error in errors] == ["mine"]
    await server.send(server.wire.session("updated"))
    await api.wait_for_next("server.session.updated", timeout=5)
    assert "of the error callback" in caplog.text


async def test_the_end_of_the_connection_ends_waits(api: RealtimeAPI, server: ScriptedServer) -> None:
    closed: list[Closed] = []
    errors: list[RealtimeError] = []
    api.on("close", closed.append)
    api.on("error", errors.append)
    await api.connect()
    await server.until(lambda: bool(server.peers))
    waiting = asyncio.create_task(api.wait_for_next("server.response.done"))
    await api.wait_for_next("server.session.created", timeout=5)
    await server.peers[0].socket.close(1011, "engine failed")
    with pytest.raises(ConnectionClosedError, match="code 1011: engine failed"):
        await waiting
    assert closed == [Closed(True, 1011, "engine failed")]
    assert [type(error) for error in errors] == [ConnectionClosedError]
    assert not api.is_connected()


# ---------------------------------------------------------------------- events as a stream


async def test_async_for_gives_typed_events_until_the_end(api: RealtimeAPI, server: ScriptedServer) -> None:
    await api.connect()
    types = []
    async for event in api:
        types.append(event.type)
        if event.type == "session.created":
            assert isinstance(event, SessionEvent)
            api.send("session.update", {"session": {}})
        else:
            await api.disconnect()
    assert types == ["session.created", "session.updated"]


async def test_a_stream_raises_when_the_connection_was_lost(api: RealtimeAPI, server: ScriptedServer) -> None:
    await api.connect()
    types = []
    with pytest.raises(ConnectionClosedError, match="1011"):
        async for event in api:
            types.append(event.type)
            await server.peers[0].socket.close(1011)
    assert types == ["session.created"]


async def test_a_stream_with_a_limit_stops_the_reading(api: RealtimeAPI, server: ScriptedServer) -> None:
    dispatched: list[str] = []
    api.on("server.*", lambda event: dispatched.append(event["event_id"]))
    await api.connect()
    async with api.events(max_queue=2) as stream:
        await server.until(lambda: bool(server.peers))
        events = [server.wire.session("updated") for _ in range(20)]
        await server.send(*events)
        first = await anext(stream)
        assert first.type == "session.created"
        got = [(await anext(stream)).event_id for _ in range(5)]
        assert len(dispatched) <= 6 + 2
        got += [(await anext(stream)).event_id for _ in range(15)]
    assert got == [event["event_id"] for event in events]


async def test_leaving_a_full_stream_frees_the_connection(api: RealtimeAPI, server: ScriptedServer) -> None:
    await api.connect()
    async for event in api.events(max_queue=1):
        assert event.type == "session.created"
        await server.send(*(server.wire.session("updated") for _ in range(5)))
        break
    gc.collect()
    await server.send(server.wire.response_created())
    assert await api.wait_for_next("server.response.created", timeout=5)


async def test_disconnect_is_not_held_up_by_a_full_stream(api: RealtimeAPI, server: ScriptedServer) -> None:
    await api.connect()
    stream = api.events(max_queue=1)
    await anext(stream)
    await server.send(*(server.wire.session("updated") for _ in range(5)))
    await api.wait_for_next("server.session.updated", timeout=5)
    async with asyncio.timeout(5):
        await api.disconnect()
    assert not api.is_connected()
    await stream.aclose()


# ---------------------------------------------------------------------- reconnection


async def test_a_lost_connection_comes_back(server: ScriptedServer) -> None:
    api = RealtimeAPI(url=server.url, dialect=server.wire.dialect, reconnect=AT_ONCE)  # type: ignore[arg-type]
    attempts: list[Reconnecting] = []
    api.on("reconnecting", attempts.append)
    await api.connect()
    await api.wait_for_next("server.session.created", timeout=5)
    waiting = asyncio.create_task(api.wait_for_next("server.session.created", timeout=5))
    server.peers[0].socket.transport.abort()
    await waiting
    assert api.is_connected()
    assert attempts == [Reconnecting(1, 0)]
    assert len(server.peers) == 2
    await api.disconnect()


@pytest.mark.parametrize("code", [1000, 3000, 4000])
async def test_an_end_that_no_retry_can_help_is_an_end(server: ScriptedServer, code: int) -> None:
    api = RealtimeAPI(url=server.url, reconnect=AT_ONCE)
    attempts: list[Reconnecting] = []
    api.on("reconnecting", attempts.append)
    await api.connect()
    await api.wait_for_next("server.session.created", timeout=5)
    ended = asyncio.create_task(api.wait_for_next("ended", timeout=5))
    await server.peers[0].socket.close(code)
    with pytest.raises(BadKeyError if code == 3000 else ConnectionClosedError):
        await ended
    assert attempts == []


async def test_giving_up_after_so_many_tries() -> None:
    wire = Wire("ga")
    async with ScriptedServer(wire) as server:
        api = RealtimeAPI(url=server.url, reconnect=AT_ONCE)
        attempts: list[Reconnecting] = []
        api.on("reconnecting", attempts.append)
        await api.connect()
        await api.wait_for_next("server.session.created", timeout=5)
        waiting = asyncio.create_task(api.wait_for_next("server.response.done", timeout=10))
        await asyncio.wait({waiting}, timeout=0)
    with pytest.raises(ConnectError):
        await waiting
    assert [entry.attempt for entry in attempts] == [1, 2, 3]
    assert not api.is_connected()
    with pytest.raises(NotConnectedError):
        api.send("response.create")


async def test_sending_and_disconnecting_between_two_tries(server: ScriptedServer) -> None:
    api = RealtimeAPI(url=server.url, reconnect=Reconnect(first_delay=3600, max_delay=3600))
    await api.connect()
    await api.wait_for_next("server.session.created", timeout=5)
    reconnecting = asyncio.create_task(api.wait_for_next("reconnecting", timeout=5))
    server.peers[0].socket.transport.abort()
    assert (await reconnecting).delay > 1000
    assert api.is_reconnecting
    with pytest.raises(NotConnectedError, match="it was lost and is being opened again"):
        api.send("response.create")
    with pytest.raises(AlreadyConnectedError):
        await api.connect()
    async with asyncio.timeout(5):
        await api.disconnect()
    assert not api.is_reconnecting


def test_delays_double_to_a_limit_and_vary() -> None:
    exact = Reconnect(first_delay=0.5, factor=2, max_delay=8, jitter=0)
    assert [exact.delay(attempt) for attempt in range(1, 7)] == [0.5, 1, 2, 4, 8, 8]
    varied = {Reconnect().delay(1) for _ in range(20)}
    assert len(varied) > 1
    assert all(0.375 <= delay <= 0.5 for delay in varied)


# ---------------------------------------------------------------------- debug log


async def test_the_debug_log_has_each_event_and_never_the_key(server: ScriptedServer) -> None:
    lines: list[str] = []
    api = RealtimeAPI(url=server.url, api_key="sk-secret", auth="subprotocol", debug=lines.append)
    await api.connect()
    await api.wait_for_next("server.session.created", timeout=5)
    await api.send("input_audio_buffer.append", {"audio": "A" * 10_000})
    await api.disconnect()
    log = "\n".join(lines)
    assert "sent: input_audio_buffer.append" in log
    assert "received: session.created" in log
    assert "connected to" in log
    assert "(10000 characters)" in log
    assert len(log) < 3_000
    assert "sk-secret" not in log
    assert all(line.startswith("[Websocket/20") for line in lines)


async def test_debug_true_prints_to_stderr(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    api = RealtimeAPI(url=server.url, debug=True)
    await api.connect()
    await api.wait_for_next("server.session.created", timeout=5)
    await api.disconnect()
    captured = capsys.readouterr()
    assert "received: session.created" in captured.err
    assert captured.out == ""


async def test_the_debug_log_goes_to_logging_too(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "antiphon.client.realtime")
    api = RealtimeAPI(url=server.url)
    await api.connect()
    await api.wait_for_next("server.session.created", timeout=5)
    await api.disconnect()
    line = next(record.getMessage() for record in caplog.records if "received: session.created" in record.getMessage())
    assert json.loads(line[line.index("{") :])["type"] == "session.created"


async def test_peers_are_dropped_without_a_word(server: ScriptedServer) -> None:
    api = RealtimeAPI(url=server.url)
    await api.connect()
    await api.wait_for_next("server.session.created", timeout=5)
    peer: Peer = server.peers[0]
    closed = asyncio.create_task(api.wait_for_next("close", timeout=5))
    await asyncio.wait({closed}, timeout=0)
    peer.socket.transport.abort()
    assert (await closed) == Closed(True, 1006, "")
