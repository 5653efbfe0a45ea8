"""The WebSocket transport against a real uvicorn, by the ``websockets`` client and by hand-made frames."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import struct
import tracemalloc
from collections.abc import Callable

import httpx
import pytest
from websockets import frames, speedups
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from .conftest import Raw, Recorder, Serve, Server

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
PATH = "/v1/realtime"


# The handshake


async def test_a_handshake_shows_the_request_and_echoes_the_subprotocol(serve: Serve) -> None:
    async with serve() as server:
        offered = [Subprotocol("realtime"), Subprotocol("openai-insecure-api-key.sk-1")]
        url = f"{server.url}{PATH}?model=a%20b&empty=&model=c"
        async with connect(url, subprotocols=offered, additional_headers={"X-One": "1"}, proxy=None) as client:
            assert client.subprotocol == "realtime"
            await client.send("hello")
            assert await client.recv() == "hello"
        request = server.requests[0]
        assert (request.path, request.query) == (PATH, {"model": "a b", "empty": ""})
        assert request.subprotocols == tuple(offered)
        assert request.headers["x-one"] == "1"
        assert request.client.startswith("127.0.0.1:")
        assert not request.secure


async def test_no_subprotocol_is_echoed_when_none_was_chosen(serve: Serve) -> None:
    async with serve() as server:
        client = await server.raw(Sec_WebSocket_Protocol="other")
        assert client.status == 101
        assert "sec-websocket-protocol" not in client.headers
        client.drop()


async def test_a_refusal_is_an_http_response_with_a_json_body(serve: Serve) -> None:
    async with serve() as server:
        with pytest.raises(InvalidStatus) as refusal:
            await connect(f"{server.url}{PATH}?refuse=403", proxy=None)
        response = refusal.value.response
        assert (response.status_code, response.body) == (403, b'{"error":"no"}')
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Retry-After"] == "7"
        assert not server.endpoints


async def test_a_factory_that_fails_answers_500_and_the_server_lives_on(serve: Serve) -> None:
    async with serve() as server:
        with pytest.raises(InvalidStatus) as refusal:
            await connect(f"{server.url}{PATH}?crash=1", proxy=None)
        assert refusal.value.response.status_code == 500
        assert json.loads(refusal.value.response.body or b"")["error"]["type"] == "server_error"
        async with connect(f"{server.url}{PATH}", proxy=None) as client:
            await client.send("alive")
            assert await client.recv() == "alive"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_WebSocket_Version": "8"}, 400),
        ({"Sec_WebSocket_Version": ""}, 400),
        ({"Sec_WebSocket_Key": ""}, 400),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://app.example"}, 101),
        ({}, 101),
    ],
)
async def test_handshakes_are_checked(serve: Serve, headers: dict[str, str], status: int) -> None:
    async with serve(origins=("https://app.example",)) as server:
        client = await server.raw(**headers)
        assert client.status == status
        assert len(server.endpoints) == (status == 101)
        client.drop()


# What else lives on the port


async def test_the_application_keeps_its_own_websockets_and_http(serve: Serve) -> None:
    async with serve() as server:
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"http://127.0.0.1:{server.port}/health")).json() == {"status": "ok"}
        async with connect(f"{server.url}/ordinary", proxy=None) as client:
            await client.send("x" * 200_000)
            assert await client.recv() == "ordinary " + "x" * 200_000
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 4321
        with pytest.raises(InvalidStatus):
            await connect(f"{server.url}/nowhere", proxy=None)
        assert not server.endpoints
        assert len(server.protocol.sweeper) == 0


async def test_routes_may_be_added_while_serving(serve: Serve) -> None:
    async with serve() as server:
        server.routes["/late"] = server.routes[PATH]
        async with connect(f"{server.url}/late", proxy=None) as client:
            await client.send("x")
            assert await client.recv() == "x"


# Messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 1_000_000])
@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x9a\x01\x7f\x80"])
async def test_masks_and_lengths(serve: Serve, size: int, mask: bytes) -> None:
    async with serve() as server:
        client = await server.raw()
        data = (b"0123456789" * (size // 10 + 1))[:size]
        client.send(TEXT, data, mask=mask)
        assert await client.receive() == (TEXT, data)
        client.send(BINARY, bytes(size), mask=mask)
        assert await client.receive() == (TEXT, b"binary %d" % size)
        assert server.endpoints[0].binaries == [bytes(size)]
        client.drop()


async def test_a_frame_byte_by_byte_and_many_frames_in_one_packet(serve: Serve) -> None:
    async with serve() as server:
        client = await server.raw()
        for byte in client.frame(TEXT, b"drip"):
            client.writer.write(bytes([byte]))
            await client.writer.drain()
        assert await client.receive() == (TEXT, b"drip")
        client.writer.write(b"".join(client.frame(TEXT, b"%d" % number) for number in range(200)))
        assert [await client.receive() for _ in range(200)] == [(TEXT, b"%d" % number) for number in range(200)]
        client.drop()


async def test_fragments_are_joined_around_control_frames_and_split_characters(serve: Serve) -> None:
    async with serve() as server:
        client = await server.raw()
        word = "Größe 😀".encode()
        client.send(TEXT, b"", fin=False)
        for index, byte in enumerate(word):
            client.send(CONT, bytes([byte]), fin=False)
            client.send(PING, b"%d" % index)
            assert await client.receive() == (PONG, b"%d" % index)
        client.send(CONT, b"", fin=True)
        assert await client.receive() == (TEXT, word)
        client.drop()


async def test_a_message_of_24_mebibytes_passes(serve: Serve) -> None:
    async with serve() as server:
        client = await server.raw()
        size = 24 * 1024 * 1024
        client.send(BINARY, bytes(size))
        assert await client.receive() == (TEXT, b"binary %d" % size)
        client.drop()


@pytest.mark.parametrize("whole", [True, False], ids=["one frame", "fragments"])
async def test_a_message_above_the_limit_gets_an_error_and_1009_even_while_it_is_still_sent(
    serve: Serve, whole: bool
) -> None:
    async with serve() as server:
        client = await server.raw()
        size = 30_000_000
        if whole:
            client.send(TEXT, b"x" * size)
        else:
            client.send(TEXT, b"x", fin=False)
            for _ in range(30):
                client.send(CONT, b"x" * 1_000_000, fin=False)
        assert await client.receive() == (TEXT, b"no more than 25165824")
        assert (await client.receive_close())[0] == 1009
        assert await client.at_eof()
        await server.endpoints[0].over.wait()
        assert server.endpoints[0].ends[0][0] == 1009
        assert server.endpoints[0].texts == []
        client.writer.close()


async def test_compression_is_negotiated_and_inflates_within_the_limit(serve: Serve) -> None:
    async with (
        serve(max_message_bytes=100_000) as server,
        connect(f"{server.url}{PATH}", proxy=None, compression="deflate") as client,
    ):
        assert client.response is not None
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        for text in ("short", "long " * 5000, "x" * 100_000):
            await client.send(text)
            assert await client.recv() == text
        await client.send("@big")
        assert [await client.recv(), await client.recv()] == ["abc " * 50_000] * 2
        await client.send("x" * 100_001)
        assert await client.recv() == "no more than 100000"
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1009


async def test_audio_is_not_compressed_and_large_control_is(serve: Serve) -> None:
    async with serve() as server:
        client = await server.raw(Sec_WebSocket_Extensions="permessage-deflate")
        client.send(TEXT, b"@big")
        control, audio = await client.receive(), await client.receive()
        assert len(control[1]) < 2000
        assert audio == (TEXT, b"abc " * 50_000)
        client.drop()


async def test_compression_can_be_switched_off(serve: Serve) -> None:
    async with serve(compression=False) as server:
        client = await server.raw(Sec_WebSocket_Extensions="permessage-deflate")
        assert "sec-websocket-extensions" not in client.headers
        client.drop()


# Breaking the rules: a table in the place of the Autobahn suite

BAD: dict[str, tuple[int, Callable[[Raw], bytes]]] = {
    "reserved opcode 3": (1002, lambda c: c.frame(3, b"x")),
    "reserved opcode 7": (1002, lambda c: c.frame(7, b"x")),
    "reserved control opcode 11": (1002, lambda c: c.frame(11)),
    "rsv1 without compression": (1002, lambda c: c.frame(TEXT, b"x", rsv=4)),
    "rsv2": (1002, lambda c: c.frame(TEXT, b"x", rsv=2)),
    "rsv3": (1002, lambda c: c.frame(TEXT, b"x", rsv=1)),
    "unmasked": (1002, lambda c: c.frame(TEXT, b"x", mask=None)),
    "ping of 126 bytes": (1002, lambda c: c.frame(PING, b"x" * 126)),
    "fragmented ping": (1002, lambda c: c.frame(PING, b"x", fin=False)),
    "fragmented close": (1002, lambda c: c.frame(CLOSE, b"", fin=False)),
    "continuation of nothing": (1002, lambda c: c.frame(CONT, b"x")),
    "text within a fragmented text": (1002, lambda c: c.frame(TEXT, b"x", fin=False) + c.frame(TEXT, b"y")),
    "binary within a fragmented text": (1002, lambda c: c.frame(TEXT, b"x", fin=False) + c.frame(BINARY, b"y")),
    "close payload of one byte": (1002, lambda c: c.frame(CLOSE, b"\x03")),
    "close code 999": (1002, lambda c: c.frame(CLOSE, struct.pack("!H", 999))),
    "close code 1005": (1002, lambda c: c.frame(CLOSE, struct.pack("!H", 1005))),
    "close code 1006": (1002, lambda c: c.frame(CLOSE, struct.pack("!H", 1006))),
    "close code 5000": (1002, lambda c: c.frame(CLOSE, struct.pack("!H", 5000))),
    "close reason not UTF-8": (1007, lambda c: c.frame(CLOSE, b"\x03\xe8\xff")),
    "text not UTF-8": (1007, lambda c: c.frame(TEXT, b"a\xff")),
    "surrogate": (1007, lambda c: c.frame(TEXT, b"\xed\xa0\x80")),
    "overlong": (1007, lambda c: c.frame(TEXT, b"\xc0\xaf")),
    "text cut within a character": (1007, lambda c: c.frame(TEXT, "ü".encode()[:1])),
    "bad UTF-8 over fragments": (1007, lambda c: c.frame(TEXT, b"\xc3", fin=False) + c.frame(CONT, b"\x28")),
    "length of 2**63": (1009, lambda c: b"\x81\xff" + struct.pack("!Q", 2**63) + b"\1\2\3\4"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_broken_frame_closes_with_its_code_after_what_came_before_it(serve: Serve, name: str) -> None:
    code, frames = BAD[name]
    async with serve() as server:
        client = await server.raw()
        client.writer.write(client.frame(TEXT, b"good") + frames(client) + client.frame(TEXT, b"too late"))
        assert (await client.receive_close())[0] == code
        assert await client.at_eof()
        client.writer.close()
        endpoint = server.endpoints[0]
        await endpoint.over.wait()
        assert endpoint.texts == [b"good"]
        assert [end[0] for end in endpoint.ends] == [code]


# Closing


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"", 1005, ""),
        (struct.pack("!H", 1000), 1000, ""),
        (struct.pack("!H", 1001) + b"bye", 1001, "bye"),
        (struct.pack("!H", 4999) + "größe".encode(), 4999, "größe"),
    ],
)
async def test_a_close_of_the_peer_is_echoed_and_told_once(
    serve: Serve, payload: bytes, code: int, reason: str
) -> None:
    async with serve() as server:
        client = await server.raw()
        client.writer.write(client.frame(TEXT, b"last") + client.frame(CLOSE, payload) + client.frame(TEXT, b"late"))
        assert await client.receive_close() == (code, reason)
        assert await client.at_eof()
        client.writer.close()
        assert server.endpoints[0].texts == [b"last"]
        assert server.endpoints[0].ends == [(code, reason)]


async def test_a_close_of_ours_is_final_idempotent_and_cuts_the_reason(serve: Serve) -> None:
    async with serve() as server:
        client = await server.raw()
        client.writer.write(client.frame(TEXT, b"@close") + client.frame(TEXT, b"late"))
        code, reason = await client.receive_close()
        assert (code, len(reason)) == (4000, 123)
        client.send(CLOSE, struct.pack("!H", code))
        assert await client.at_eof()
        client.writer.close()
        endpoint = server.endpoints[0]
        await endpoint.over.wait()
        assert endpoint.texts == [b"@close"]
        assert endpoint.ends == [(4000, reason)]
        endpoint.wire.close()
        endpoint.wire.send(b"into the void")
        assert endpoint.ends == [(4000, reason)]


async def test_a_broken_endpoint_costs_its_own_connection_only(serve: Serve) -> None:
    async with serve() as server, connect(f"{server.url}{PATH}", proxy=None) as other:
        client = await server.raw()
        client.send(TEXT, b"@fail")
        assert (await client.receive_close())[0] == 1011
        client.drop()
        await other.send("fine")
        assert await other.recv() == "fine"


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "end of file"])
async def test_a_connection_that_breaks_ends_with_1006(serve: Serve, reset: bool) -> None:
    async with serve() as server:
        client = await server.raw()
        if reset:
            client.drop()
        else:
            client.writer.close()
        await server.endpoints[0].over.wait()
        assert [code for code, _ in server.endpoints[0].ends] == [1006]


async def test_a_server_that_stops_says_1001(serve: Serve) -> None:
    async with serve() as server:
        client = await server.raw()
        for connection in list(server.state.connections):
            connection.shutdown()
        assert await client.receive_close() == (1001, "server shutting down")
        client.send(CLOSE, struct.pack("!H", 1001))
        assert await client.at_eof()
        client.writer.close()


# Time: the shared timer is driven by hand


def wire_is_quiet(client: Raw) -> bool:
    return not client.reader._buffer  # type: ignore[attr-defined]


async def test_a_silent_peer_is_pinged_and_dies_without_an_answer(serve: Serve) -> None:
    async with serve(ping_interval=20, ping_timeout=10, sweep_period=1e6) as server:
        client = await server.raw()
        sweep = server.protocol.sweeper.sweep
        endpoint = server.endpoints[0]
        for now in (0, 1, 19):
            sweep(now)
        assert wire_is_quiet(client)
        sweep(20)
        assert await client.receive() == (PING, b"")
        sweep(29)
        assert endpoint.ends == []
        sweep(30)
        assert endpoint.ends == [(1006, "no answer to ping")]
        assert await client.at_eof()
        client.writer.close()


async def test_an_answer_to_a_ping_or_any_other_frame_keeps_a_peer_alive(serve: Serve) -> None:
    async with serve(ping_interval=20, ping_timeout=10, sweep_period=1e6) as server:
        client = await server.raw()
        sweep = server.protocol.sweeper.sweep
        endpoint = server.endpoints[0]
        for start in (0, 100, 200):
            sweep(start)
            sweep(start + 1)
            sweep(start + 21)
            assert await client.receive() == (PING, b"")
            client.send(PONG)
            client.send(PING, b"are you there")
            assert await client.receive() == (PONG, b"are you there")
        assert endpoint.ends == []
        client.drop()


async def test_a_peer_that_never_answers_our_close_is_cut_off(serve: Serve) -> None:
    async with serve(close_timeout=5, sweep_period=1e6) as server:
        client = await server.raw()
        wire = server.endpoints[0].wire
        wire.close(1000)
        assert await client.receive_close() == (1000, "")
        now = asyncio.get_running_loop().time()
        server.protocol.sweeper.sweep(now + 4)
        assert not wire._transport.is_closing()
        server.protocol.sweeper.sweep(now + 6)
        assert await client.at_eof()
        client.writer.close()


async def test_the_timer_runs_only_while_there_are_connections(serve: Serve) -> None:
    async with serve() as server:
        sweeper = server.protocol.sweeper
        assert not sweeper.ticking
        client = await server.raw()
        assert (sweeper.ticking, len(sweeper)) == (True, 1)
        client.drop()
        await server.endpoints[0].over.wait()
        assert (sweeper.ticking, len(sweeper)) == (False, 0)


# Readers that are slow


async def _narrow(server: Server) -> Raw:
    """A client whose kernel takes little, and which reads only when asked."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=2048)
    client = Raw(reader, writer)
    server.clients.append(client)
    writer.write(
        f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return client


async def test_a_slow_reader_loses_the_oldest_audio_and_no_control(serve: Serve) -> None:
    told: list[int] = []
    async with serve(audio_backlog=1_000_000, dropped=told.append) as server:
        client = await _narrow(server)
        endpoint = server.endpoints[0]
        await endpoint.opened.wait()
        wire = endpoint.wire
        total, piece = 3000, b"a" * 10_000
        for number in range(total):
            wire.send_audio(b"%06d" % number + piece)
            wire.send(b"control %d" % number)
            if number % 50 == 0:
                wire._flush()
        assert wire.buffered < 1_000_000 + 6_000_000  # the kernel's send buffer is not ours; the queue is
        assert wire._backlog.audio <= 1_000_000
        assert wire.dropped > 0
        audio: list[int] = []
        control: list[int] = []
        while len(control) < total:
            _, data = await client.receive()
            if data.startswith(b"control"):
                control.append(int(data[8:]))
            else:
                audio.append(int(data[:6]))
        assert control == list(range(total))
        assert audio == sorted(audio)
        assert audio[-1] == total - 1
        assert len(audio) + wire.dropped == total
        assert endpoint.ends == []
        client.drop()
    assert told == [wire.dropped]


async def test_a_reader_too_slow_for_control_is_closed_with_1013_and_freed(serve: Serve) -> None:
    async with serve(control_backlog=100_000, close_timeout=5, sweep_period=1e6) as server:
        client = await _narrow(server)
        endpoint = server.endpoints[0]
        await endpoint.opened.wait()
        wire = endpoint.wire
        for _ in range(20_000):
            wire.send(b"c" * 1000)
            wire._flush()
            if wire._closing:
                break
        assert wire._backlog.control < 200_000
        await endpoint.over.wait()
        assert endpoint.ends == [(1013, "reader too slow")]
        server.protocol.sweeper.sweep(asyncio.get_running_loop().time() + 6)
        with contextlib.suppress(ConnectionError):
            await client.reader.read()
        assert len(server.protocol.sweeper) == 0
        assert wire._backlog.control == 0


async def test_a_ping_flood_without_reading_is_bounded(serve: Serve) -> None:
    async with serve(control_backlog=100_000, sweep_period=1e6) as server:
        client = await _narrow(server)
        endpoint = server.endpoints[0]
        flood = client.frame(PING, b"p" * 125) * 1000
        with contextlib.suppress(ConnectionError):
            while not endpoint.over.is_set():
                client.writer.write(flood)
                await client.writer.drain()
        await endpoint.over.wait()
        assert endpoint.ends[0][0] in (1013, 1006)
        assert endpoint.wire._backlog.control <= 400_000


async def test_a_reader_that_stops_is_closed_after_the_blocked_timeout_and_a_slow_one_is_not(serve: Serve) -> None:
    async with serve(blocked_timeout=30, control_backlog=2**30, sweep_period=1e6) as server:
        client = await _narrow(server)
        endpoint = server.endpoints[0]
        await endpoint.opened.wait()
        wire, sweep = endpoint.wire, server.protocol.sweeper.sweep
        wire.send(b"c" * 20_000_000)
        wire._flush()
        start = asyncio.get_running_loop().time()
        assert wire._backlog.paused
        before = wire.buffered
        while wire.buffered == before:
            await client.reader.read(100_000)
        sweep(start + 31)  # it read something since
        assert endpoint.ends == []
        assert not wire._closing
        sweep(start + 62)
        await endpoint.over.wait()
        assert endpoint.ends == [(1013, "reader too slow")]


# Many


async def test_a_thousand_connects_and_drops_leave_nothing_behind(serve: Serve) -> None:
    async with serve() as server:

        async def visit(number: int) -> None:
            client = await Raw.connect(server.port, PATH, {})
            client.send(TEXT, b"x" * 1000)
            if number % 3 == 0:
                client.send(TEXT, b"half", fin=False)
            elif number % 3 == 1:
                client.send(CLOSE, struct.pack("!H", 1000))
                await client.receive_close()
            client.drop()
            with contextlib.suppress(ConnectionError):
                await client.writer.wait_closed()

        async def round_of(count: int) -> None:
            for number in range(0, count, 20):
                await asyncio.gather(*(visit(number + extra) for extra in range(20)))
            for endpoint in server.endpoints:
                await endpoint.over.wait()
                assert len(endpoint.ends) == 1
            server.endpoints.clear()
            server.requests.clear()

        await round_of(100)
        tasks = len(asyncio.all_tasks())
        gc.collect()
        tracemalloc.start()
        base = tracemalloc.get_traced_memory()[0]
        await round_of(1000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - base
        tracemalloc.stop()
        assert len(asyncio.all_tasks()) == tasks
        assert len(server.protocol.sweeper) == 0
        assert server.state.connections == set()
        assert grown < 500_000


async def test_small_messages_leave_at_once_and_together(serve: Serve) -> None:
    async with serve() as server:
        client = await server.raw()
        await server.endpoints[0].opened.wait()
        wire = server.endpoints[0].wire
        raw = wire._transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        writes: list[bytes] = []
        plain = wire._transport

        class Spy:
            def write(self, data: bytes) -> None:
                writes.append(data)
                plain.write(data)

            def is_closing(self) -> bool:
                return plain.is_closing()

            def get_write_buffer_size(self) -> int:
                return plain.get_write_buffer_size()

        wire._transport = Spy()  # type: ignore[assignment]
        for number in range(10):
            wire.send(b"%d" % number)
        assert [await client.receive() for _ in range(10)] == [(TEXT, b"%d" % number) for number in range(10)]
        assert len(writes) == 1
        wire._transport = plain
        client.drop()


def test_the_library_has_its_compiled_masking() -> None:
    assert vars(frames)["apply_mask"] is speedups.apply_mask


def test_recorder_is_an_endpoint() -> None:
    from antiphon.transports.connection import Endpoint

    endpoint: Endpoint = Recorder()
    assert endpoint is not None
