"""What an upgrade request says: dialect, key, model; and how it ends when it may not enter."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.platform.keys import Principal
from antiphon.protocols.openai.access import Access
from antiphon.protocols.openai.dialect import BETA, GA
from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.handshake import hello
from antiphon.transports.connection import Request

from .rig import KEY, CoreManager, Rig, authenticate, types


def asked(*subprotocols: str, query: dict[str, str] | None = None, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("/v1/realtime", query or {}, named, subprotocols)


@pytest.mark.parametrize(
    ("request_", "beta"),
    [
        (asked(), False),
        (asked("realtime"), False),
        (asked(openai_beta="realtime=v1"), True),
        (asked(openai_beta="assistants=v2, realtime=v1"), True),
        (asked("realtime", "openai-insecure-api-key.x", "openai-beta.realtime-v1"), True),
        (asked("openai-agents-sdk.0.20"), False),
    ],
)
def test_dialect(request_: Request, beta: bool) -> None:
    assert hello(request_).dialect is (BETA if beta else GA)


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        (asked(authorization="Bearer k1"), "k1"),
        (asked(authorization="bearer k1"), "k1"),
        (asked("realtime", "openai-insecure-api-key.k2"), "k2"),
        (asked("openai-insecure-api-key.k2", authorization="Bearer k1"), "k1"),
        (asked("openai-insecure-api-key.k2", authorization="Bearer null"), "k2"),
        (asked(authorization="Bearer null"), None),
        (asked(authorization="Bearer undefined"), None),
        (asked(authorization="Bearer "), None),
        (asked(authorization="Basic abc"), None),
        (asked("openai-insecure-api-key.null"), None),
        (asked("openai-insecure-api-key."), None),
        (asked(), None),
    ],
)
def test_key(request_: Request, key: str | None) -> None:
    assert hello(request_).key == key


def test_subprotocol_is_echoed_only_when_offered_and_never_the_key() -> None:
    assert hello(asked("openai-insecure-api-key.x", "realtime")).subprotocol == "realtime"
    assert hello(asked("openai-insecure-api-key.x")).subprotocol is None


def test_query() -> None:
    said = hello(asked(query={"model": "m"}))
    assert (said.model, said.type, said.call_id) == ("m", "realtime", None)
    assert hello(asked(query={"intent": "transcription"})).type == "transcription"
    assert hello(asked(query={"call_id": "rtc_1"})).call_id == "rtc_1"


@pytest.mark.parametrize("key", ["", "null", "undefined", "sk-wrong", "ek_wrong"])
@pytest.mark.parametrize("beta", [False, True])
async def test_bad_key_is_told_and_closed(key: str, beta: bool) -> None:
    rig = await Rig(beta=beta, headers={"authorization": f"Bearer {key}"}).open()
    events = rig.take()
    assert types(events) == ["error"]
    error = events[0]["error"]
    assert error["code"] == "invalid_api_key"
    assert error["message"].startswith("Incorrect API key provided")
    assert (rig.wire.code, rig.wire.reason) == (3000, "invalid_request_error.invalid_api_key")
    assert rig.manager.sessions == []


def test_the_refusal_shows_little_of_a_key() -> None:
    from antiphon.protocols.openai.access import incorrect_key

    secret = "sk-" + "a1b2c3d4" * 5
    assert secret[4:30] not in incorrect_key(secret).message
    assert "null" in incorrect_key(None).message


async def test_a_full_server_says_so_with_a_code_that_is_retried() -> None:
    rig = await Rig(manager=CoreManager(full=True)).open()
    error = rig.take()[0]["error"]
    assert (error["code"], error["type"]) == ("session_limit_reached", "server_error")
    assert rig.wire.code == 1013


async def test_unknown_call() -> None:
    rig = await Rig(query={"call_id": "rtc_404"}).open()
    assert rig.take()[0]["error"]["code"] == "call_not_found"
    assert (rig.wire.code, rig.wire.reason) == (4000, "invalid_request_error.call_not_found")


async def test_a_broken_key_store_is_no_wrong_key() -> None:
    async def broken(key: str | None) -> Principal | None:
        raise RuntimeError("the database is gone")

    access = Access(broken)
    with pytest.raises(RuntimeError):
        await access.grant(KEY)
    with pytest.raises(WireError):
        await Access(authenticate).grant("ek_0")


async def test_events_sent_before_the_greeting_are_handled_after_it() -> None:
    rig = Rig()
    rig.endpoint.open(rig.wire)
    rig.endpoint.text(b'{"type":"session.update","session":{"type":"realtime","instructions":"Hi."}}')
    rig.endpoint.text(b'{"type":"input_audio_buffer.clear"}')
    while len(rig.wire.sent) < 3:
        rig.wire.changed.clear()
        await rig.wire.changed.wait()
    assert types(rig.wire.sent) == ["session.created", "session.updated", "input_audio_buffer.cleared"]


async def test_a_client_that_leaves_before_the_greeting_leaves_no_session() -> None:
    rig = Rig()
    rig.endpoint.open(rig.wire)
    rig.endpoint.closed(1006, "")
    assert rig.wire.sent == []
    assert rig.manager.sessions == []


async def test_a_thousand_connects_and_drops_leave_nothing_behind() -> None:
    manager = CoreManager()
    before = asyncio.all_tasks()
    for n in range(1000):
        rig = Rig(manager=manager, beta=n % 2 == 0)
        if n % 3:
            await rig.open()
        else:
            rig.endpoint.open(rig.wire)
        rig.endpoint.closed(1006, "")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert all(session.state.ended for session in manager.sessions)


async def test_the_old_relays_path_speaks_beta() -> None:
    rig = await Rig(path="/", subprotocols=("realtime",)).open()
    assert rig.take()[0]["session"]["modalities"] == ["text", "audio"]


async def test_binary_frames_are_refused_and_the_session_lives() -> None:
    rig = await Rig().open()
    rig.take()
    rig.endpoint.binary(b"\0" * 9)
    assert types(rig.take()) == ["error"]
    assert types(rig.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
