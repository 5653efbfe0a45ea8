"""The connection without a socket."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.transports.connection import Accept, Connection, Reject, Request
from antiphon.transports.memory import MemoryConnection, RejectedError, connect

from .conftest import Recorder


async def test_messages_go_both_ways() -> None:
    endpoint = Recorder()
    connection = connect(lambda request: Accept(endpoint), Request("/x", {"model": "m"}))
    as_seen_by_the_endpoint: Connection | None = endpoint.connection
    assert as_seen_by_the_endpoint is connection
    assert connection.request.query == {"model": "m"}
    connection.text(b"hello")
    connection.binary(b"123")
    assert connection.buffered == len(b"hello") + len(b"binary 3")
    assert [await connection.receive(), await connection.receive()] == [b"hello", b"binary 3"]


async def test_receive_waits_and_ends_with_the_connection() -> None:
    endpoint = Recorder()
    connection = MemoryConnection(endpoint)
    waiting = asyncio.create_task(connection.receive())
    await asyncio.sleep(0)
    assert not waiting.done()
    connection.send(b"last")
    connection.close(4000, "why")
    connection.close(1000)
    connection.send(b"too late")
    connection.send_audio(b"too late")
    connection.text(b"too late")
    connection.binary(b"too late")
    assert await waiting == b"last"
    with pytest.raises(EOFError, match="4000 why"):
        await connection.receive()
    await endpoint.over.wait()
    assert endpoint.ends == [(4000, "why")]
    assert endpoint.texts == endpoint.binaries == []


async def test_hanging_up_tells_the_endpoint_once() -> None:
    endpoint = Recorder()
    connection = MemoryConnection(endpoint)
    connection.hang_up(1001, "away")
    connection.hang_up()
    connection.close()
    await asyncio.sleep(0)
    assert endpoint.ends == [(1001, "away")]


async def test_the_oldest_audio_gives_way() -> None:
    connection = MemoryConnection(Recorder(), audio_limit=2)
    for number in range(5):
        connection.send_audio(b"audio %d" % number)
        connection.send(b"control %d" % number)
    assert connection.dropped == 3
    assert [message for message in connection.sent if message.startswith(b"audio")] == [b"audio 3", b"audio 4"]
    assert sum(message.startswith(b"control") for message in connection.sent) == 5
    while connection.sent:
        await connection.receive()
    connection.send_audio(b"audio 5")
    assert connection.dropped == 3


def test_a_refusal_is_raised() -> None:
    with pytest.raises(RejectedError, match="403") as refusal:
        connect(lambda request: Reject(403, b"{}"))
    assert refusal.value.reject.status == 403
