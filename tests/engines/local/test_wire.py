from __future__ import annotations

import msgspec
import pytest

from antiphon.engines.local import wire

REQUESTS: list[wire.Request] = [
    wire.Start(0, "models", {"threads": 1, "voice": "joe"}, "private"),
    wire.Load(1, "stt"),
    wire.Transcribe(2, b"\x00\x01" * 1000, True),
    wire.Chat(3, [{"role": "user", "content": "héllo"}], 10, 0.5),
    wire.Speak(4, "text", "joe", 1.25),
    wire.Cancel(5),
    wire.Ping(6),
]
REPLIES: list[wire.Reply] = [
    wire.Words(1, "some text"),
    wire.Sound(2, b"\x01\x02", [("hello", 12_000)]),
    wire.Done(3, "length", 5, 4, 3),
    wire.Failed(4, "bad_output", "why"),
    wire.Pong(5),
]


@pytest.mark.parametrize("message", REQUESTS)
def test_requests_survive_the_pipe(message: wire.Request) -> None:
    data = wire.frame(message)
    (length,) = wire.HEADER.unpack(data[:4])
    assert length == len(data) - 4
    assert wire.read_request(data[4:]) == message


@pytest.mark.parametrize("message", REPLIES)
def test_replies_survive_the_pipe(message: wire.Reply) -> None:
    assert wire.read_reply(wire.frame(message)[4:]) == message


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91\xa5Wrong", wire.frame(wire.Ping(1))[4:]])
def test_rubbish_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.read_reply(body)
