"""The relay between a client without key and a server that wants one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from realtime_script import ScriptedServer
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from antiphon.client.realtime import RealtimeClient
from antiphon.client.realtime.relay import Relay, RelayOptions

PAGE = "http://localhost:3000"


@pytest.fixture
async def relay(server: ScriptedServer) -> AsyncIterator[Relay]:
    server.key = "sk-held-by-the-relay"
    options = RelayOptions(server.url, api_key=server.key, port=0)
    async with Relay(options) as relay:
        yield relay


def url(relay: Relay) -> str:
    return f"ws://127.0.0.1:{relay.port}"


async def test_a_client_without_key_talks_through_it(relay: Relay, server: ScriptedServer) -> None:
    server.answers.append(server.wire.text_turn("Hello"))
    dialect: Any = server.wire.dialect
    async with RealtimeClient(url=url(relay), dialect=dialect, auth="subprotocol", model="theirs") as client:
        await client.wait_for_session_created(timeout=5)
        client.send_user_message_content("Hi")
        item = await client.wait_for_next_completed_item(timeout=5)
        while item.role != "assistant":
            item = await client.wait_for_next_completed_item(timeout=5)
        assert item.formatted.text == "Hello"
    request = server.requests[0]
    assert request.headers["Authorization"] == "Bearer sk-held-by-the-relay"
    assert request.headers.get("OpenAI-Beta") == ("realtime=v1" if dialect == "beta" else None)
    assert request.path == "/v1/realtime?model=theirs"


async def test_the_browsers_key_goes_nowhere_and_is_not_echoed(relay: Relay, server: ScriptedServer) -> None:
    offered: Any = ["realtime", "openai-insecure-api-key.null", "openai-beta.realtime-v1"]
    async with connect(url(relay), subprotocols=offered, origin=PAGE, proxy=None) as browser:  # type: ignore[arg-type]
        assert browser.subprotocol == "realtime"
        assert json.loads(await browser.recv())["type"] == "session.created"
    headers = server.requests[0].headers
    assert "null" not in str(headers)
    assert headers["OpenAI-Beta"] == "realtime=v1"


async def test_frames_pass_as_they_are(relay: Relay, server: ScriptedServer) -> None:
    async with connect(url(relay), proxy=None, max_size=None) as browser:
        await browser.recv()
        big = {"type": "something.new", "event_id": "é", "data": "A" * 3_000_000}
        await browser.send(json.dumps(big))
        assert await server.until_received("something.new") == big
        await server.send({"type": "answer.new", "data": "B" * 3_000_000})
        assert json.loads(await browser.recv()) == {"type": "answer.new", "data": "B" * 3_000_000}


async def test_the_servers_close_reaches_the_browser(relay: Relay, server: ScriptedServer) -> None:
    async with connect(url(relay), proxy=None) as browser:
        await browser.recv()
        await server.peers[0].socket.close(4000, "invalid_request_error.session_expired")
        with pytest.raises(ConnectionClosedError) as caught:
            await browser.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "invalid_request_error.session_expired")


async def test_a_vanished_server_is_a_failure_for_the_browser(relay: Relay, server: ScriptedServer) -> None:
    async with connect(url(relay), proxy=None) as browser:
        await browser.recv()
        server.peers[0].socket.transport.abort()
        with pytest.raises(ConnectionClosedError, match="1011"):
            await browser.recv()


async def test_the_browsers_leave_reaches_the_server(relay: Relay, server: ScriptedServer) -> None:
    async with connect(url(relay), proxy=None) as browser:
        await browser.recv()
    async with asyncio.timeout(5):
        await server.peers[0].socket.wait_closed()
    assert server.peers[0].socket.close_code == 1000


@pytest.mark.parametrize(
    ("origin", "options", "served"),
    [
        (None, {}, True),
        (PAGE, {}, True),
        ("http://127.0.0.1:5173", {}, True),
        ("https://evil.example", {}, False),
        ("null", {}, False),
        ("https://app.example", {"origins": ["https://app.example"]}, True),
        ("https://app.example.evil", {"origins": ["https://app.example"]}, False),
        (PAGE, {"origins": ["https://app.example"]}, False),
        ("https://any.example", {"origins": ["*"]}, True),
        (None, {"allow_missing_origin": False}, False),
        (None, {"host": "0.0.0.0"}, False),
        (None, {"host": "0.0.0.0", "allow_missing_origin": True}, True),
    ],
)
def test_who_may_connect(origin: str | None, options: dict[str, Any], served: bool) -> None:
    assert Relay(RelayOptions("ws://upstream", **options))._may_connect(origin) is served


async def test_strangers_are_refused_at_the_upgrade(relay: Relay, server: ScriptedServer) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(url(relay), origin="https://evil.example", proxy=None)  # type: ignore[arg-type]
    assert caught.value.response.status_code == 403
    assert server.requests == []


async def test_other_paths_are_not_found(relay: Relay, server: ScriptedServer) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{url(relay)}/v1/realtime", proxy=None)
    assert caught.value.response.status_code == 404
    assert server.requests == []


async def test_a_fixed_model_wins(server: ScriptedServer) -> None:
    async with (
        Relay(RelayOptions(server.url, port=0, model="ours")) as relay,
        connect(f"{url(relay)}/?model=theirs", proxy=None) as browser,
    ):
        await browser.recv()
    assert server.requests[0].path == "/v1/realtime?model=ours"


async def test_no_upstream_is_told_and_closed() -> None:
    async with (
        Relay(RelayOptions("ws://127.0.0.1:9", port=0)) as relay,
        connect(url(relay), proxy=None) as browser,
    ):
        error = json.loads(await browser.recv())
        assert (error["type"], error["error"]["code"]) == ("error", "relay_error")
        assert error["event_id"].startswith("event_")
        assert "127.0.0.1" not in error["error"]["message"]
        with pytest.raises(ConnectionClosedError, match="1011"):
            await browser.recv()


async def test_more_connections_than_may_be(server: ScriptedServer) -> None:
    async with (
        Relay(RelayOptions(server.url, port=0, max_connections=1)) as relay,
        connect(url(relay), proxy=None) as first,
    ):
        await first.recv()
        async with connect(url(relay), proxy=None) as second:
            assert json.loads(await second.recv())["type"] == "error"
            with pytest.raises(ConnectionClosedError, match="1013"):
                await second.recv()
        await first.close()
        first_events: list[str] = []
        while first_events[-1:] != ["session.created"] and len(first_events) < 100:
            # The place is free once the relay has seen both of its sides close.
            async with connect(url(relay), proxy=None) as third:
                first_events.append(json.loads(await third.recv())["type"])
        assert first_events[-1] == "session.created"


async def test_closing_the_relay_closes_the_browsers(server: ScriptedServer) -> None:
    relay = Relay(RelayOptions(server.url, port=0))
    await relay.start()
    async with connect(url(relay), proxy=None) as browser:
        await browser.recv()
        await relay.close()
        with pytest.raises((ConnectionClosedOK, ConnectionClosedError), match="1001"):
            await browser.recv()
    await relay.close()
