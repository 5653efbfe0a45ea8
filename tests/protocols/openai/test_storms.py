"""Too much of everything, over a real socket to the server as composed: bounded, told, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from .attacked import Caller, Target, attacked, b64, call

SCRIPT = """
[llm]
default = "You said {text}"
[[llm.rule]]
instructions = "long"
text = "a very long speech indeed, that goes on and on and on, and does not come to its end before we all are asleep"
[tts]
chars_per_second = 2
"""
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("storms")
    (directory / "script.toml").write_text(SCRIPT)
    with attacked(directory, "--script", "script.toml") as running:
        yield running
        assert running.reaches("antiphon_sessions_active", 0)


def packed(*events: dict[str, Any]) -> bytes:
    """Masked text frames for one write to the socket."""
    frames = []
    for event in events:
        data = json.dumps(event).encode()
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
        frames.append(b"\x81" + size + bytes(4) + data)
    return b"".join(frames)


async def test_10_000_events_in_one_go_are_answered_each_in_order(target: Target) -> None:
    append = {"type": "input_audio_buffer.append", "audio": b64(bytes(960))}
    storm: list[dict[str, Any]] = []
    for n in range(2_500):
        storm += [
            append,
            {"type": "input_audio_buffer.clear"},
            {"type": "conversation.item.delete", "item_id": "no", "event_id": f"d{n}"},
            {"type": "what", "event_id": f"w{n}"},
        ]
    async with call(target, compression=None) as caller:
        caller.socket.transport.write(packed(*storm))
        for n in range(2_500):
            assert (await caller.next())["type"] == "input_audio_buffer.cleared"
            assert (await caller.error())["event_id"] == f"d{n}"
            assert (await caller.error())["event_id"] == f"w{n}"
        assert await caller.lives()


async def test_a_storm_of_responses_is_refused_but_for_one(target: Target) -> None:
    async with call(target, compression=None) as caller:
        await caller.say("hello")
        asked = [
            {"type": "response.create", "event_id": f"r{n}", "response": {"instructions": "long"}} for n in range(500)
        ]
        caller.socket.transport.write(packed(*asked, {"type": "response.cancel"}))
        while (await caller.next())["type"] != "response.done":
            pass
        errors = [event["error"] for event in caller.heard if event["type"] == "error"]
        assert {error["code"] for error in errors} == {"conversation_already_has_active_response"}
        assert [error["event_id"] for error in errors] == [f"r{n}" for n in range(1, 500)]
        assert len([event for event in caller.heard if event["type"] == "response.created"]) == 1
        assert await caller.lives()


async def test_a_storm_of_responses_out_of_band_all_end_once(target: Target) -> None:
    aside = {
        "type": "response.create",
        "response": {"conversation": "none", "output_modalities": ["text"], "input": []},
    }
    async with call(target, compression=None) as caller:
        caller.socket.transport.write(packed(*[aside] * 200))
        done: list[str] = []
        while len(done) < 200:
            told = await caller.until("response.done", "error")
            done.append(told["response"]["id"] if "response" in told else told["event_id"])
        assert len(set(done)) == 200
        assert await caller.lives()


async def test_a_storm_of_updates_ends_with_the_last_one(target: Target) -> None:
    update = {"type": "session.update"}
    storm = [update | {"session": {"type": "realtime", "instructions": f"number {n}"}} for n in range(2_000)]
    async with call(target, compression=None) as caller:
        caller.socket.transport.write(packed(*storm))
        for n in range(2_000):
            assert (await caller.next())["session"]["instructions"] == f"number {n}"
        assert await caller.lives()


def deaf(target: Target, window: int = 4096) -> socket.socket:
    """A socket with a small window, so that little of what is not read leaves the server."""
    host, _, port = target.address.partition(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    made.connect((host, int(port)))
    made.setblocking(False)
    return made


async def test_a_reader_that_never_reads_is_closed_with_a_reason_and_costs_bounded_memory(target: Target) -> None:
    async with connect(
        target.ws, sock=deaf(target, 256 * 1024), compression=None, max_size=None, max_queue=1, proxy=None
    ) as socket:
        caller = Caller(socket, [])
        await caller.next()
        await caller.say("x" * 50_000)
        big = caller.heard[-1]["item"]["id"]
        before = target.memory()
        ask = {"type": "conversation.item.retrieve", "item_id": big}
        socket.transport.write(packed(*[ask] * 2_000))  # 100 MB of answers, if somebody took them
        assert await target.idle(), "it is not waited for"
        assert target.memory() - before < 40 * MIB
        assert await caller.closed() == (1013, "reader too slow")
        told = [event for event in caller.heard if event["type"] == "conversation.item.retrieved"]
        assert 40 < len(told) < 2_000, "what was told before the bound arrives"


async def test_a_reader_that_pauses_loses_old_audio_and_no_control_event(target: Target) -> None:
    speech = {"instructions": "long", "conversation": "none", "input": []}
    async with connect(
        target.ws, sock=deaf(target), compression=None, max_size=None, max_queue=1, proxy=None
    ) as socket:
        caller = Caller(socket, [])
        await caller.next()
        before = target.memory()
        socket.transport.write(packed(*[{"type": "response.create", "response": speech}] * 10))
        async with call(target) as other:  # 20 s later in audio: what the others are told, this one has been, too
            for _ in range(3):
                assert await other.lives()
        assert target.memory() - before < 80 * MIB
        done = [(await caller.until("response.done"))["response"] for _ in range(10)]
        assert {response["status"] for response in done} == {"completed"}
        kinds = [event["type"] for event in caller.heard]
        assert kinds.count("response.output_audio.done") == 10
        assert kinds.count("response.output_audio_transcript.done") == 10
        assert await caller.lives()


async def test_half_open_sockets_do_not_keep_sessions(target: Target) -> None:
    """A client that shuts its sending side down in mid-frame, and one that is reset."""
    async with connect(target.ws, compression=None, proxy=None) as first:
        await first.recv()
        transport = first.transport
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"\x81\xfe\xff")
        transport.write_eof()
        await first.wait_closed()
    second = await connect(target.ws, compression=None, proxy=None)
    await second.recv()
    second.transport.abort()
    await second.wait_closed()
    assert await target.idle()


async def test_1_000_connects_and_drops_leave_nothing(target: Target) -> None:
    async def drop(n: int) -> None:
        made = await connect(target.ws, compression=None, proxy=None)
        if n % 2:
            await made.recv()
        if n % 3 == 0:
            made.transport.write(packed({"type": "response.create"}))
        made.transport.abort()
        await made.wait_closed()

    async def some(first: int, last: int) -> None:
        for start in range(first, last, 20):
            await asyncio.gather(*(drop(n) for n in range(start, start + 20)))
        assert await target.idle()

    await some(0, 200)
    memory, files = target.memory(), target.figure("process_open_fds")
    await some(200, 1_200)
    assert target.memory() - memory < 8 * MIB
    assert abs(target.figure("process_open_fds") - files) <= 4
    async with call(target) as caller:
        assert await caller.lives()


async def test_too_many_sessions_are_told_and_may_try_again(tmp_path: Path) -> None:
    with attacked(tmp_path, ANTIPHON_LIMITS__MAX_SESSIONS="2") as target:
        async with call(target) as first:
            async with call(target), connect(target.ws, proxy=None) as socket:
                third = Caller(socket, [])
                error = await third.error()
                assert (error["type"], error["code"]) == ("server_error", "session_limit_reached")
                assert "2 sessions" in error["message"]
                assert (await third.closed())[0] == 1013
            assert await asyncio.to_thread(target.reaches, "antiphon_sessions_active", 1)
            async with call(target) as second:
                assert await second.lives()
            assert await first.lives()
        assert target.figure("antiphon_sessions_refused_total") == 1


@pytest.mark.parametrize("responding", [False, True])
async def test_a_session_that_is_over_is_told_then_closed_with_1001(tmp_path: Path, responding: bool) -> None:
    (tmp_path / "script.toml").write_text("[llm]\ndefault = 'well'\ndelay = 60\n")
    with attacked(tmp_path, "--script", "script.toml", ANTIPHON_LIMITS__SESSION_SECONDS="1") as target:
        async with call(target) as caller:
            if responding:
                await caller.send("response.create")
            assert (await caller.closed())[0] == 1001
            assert [event["error"]["code"] for event in caller.heard if event["type"] == "error"] == ["session_expired"]
            assert caller.heard[-1]["type"] == "error"
            ended = [event["response"]["status"] for event in caller.heard if event["type"] == "response.done"]
            assert len(ended) == responding, "every response that was created is done"
        assert await target.idle()


async def test_sigterm_in_mid_call_ends_it_within_the_bound_with_1001(tmp_path: Path) -> None:
    (tmp_path / "script.toml").write_text(SCRIPT)
    with attacked(tmp_path, "--script", "script.toml", ANTIPHON_SERVER__DRAIN_SECONDS="1") as target:
        async with call(target) as caller, call(target) as leaves:
            await caller.send("response.create", response={"instructions": "long"})
            await caller.until("response.output_audio.delta")
            target.process.send_signal(signal.SIGTERM)
            await leaves.socket.close()
            assert (await caller.closed())[0] == 1001
            created = [event for event in caller.heard if event["type"] == "response.created"]
            done = [event for event in caller.heard if event["type"] == "response.done"]
            assert len(created) == len(done) == 1
            errors = [event["error"]["code"] for event in caller.heard if event["type"] == "error"]
            assert errors == ["server_shutting_down"]
        assert await asyncio.to_thread(target.process.wait, 10) == 0
        with pytest.raises(ConnectionRefusedError):
            await connect(target.ws, proxy=None)
