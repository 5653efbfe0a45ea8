"""What the server and the engine process say to each other: length-prefixed MessagePack over the child's stdio.

Each frame is four bytes of length (big-endian) and one tagged array. Requests carry an id that their replies repeat;
a request is over with ``Done`` or ``Failed``, and after ``Cancel`` nothing more of it matters.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from antiphon.engines.ports import ErrorKind

HEADER = struct.Struct(">I")
MAX_FRAME = 64 * 1024 * 1024
"""Bytes; more means that the two sides lost each other."""


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    id: int


class Start(_Message, frozen=True):
    """The first frame: how the child is to work; the first reply is a ``Pong``."""

    models_dir: str
    options: dict[str, Any]
    private_dir: str
    """An empty directory that only this user can enter, for the language model's socket."""


class Load(_Message, frozen=True):
    """Load an engine (``stt``, ``llm`` or ``tts``) and run it once."""

    engine: str


class Transcribe(_Message, frozen=True):
    pcm: bytes
    """int16 mono at 16 kHz."""
    partial: bool = False


class Chat(_Message, frozen=True):
    messages: list[dict[str, str]]
    max_tokens: int
    temperature: float


class Speak(_Message, frozen=True):
    text: str
    voice: str
    speed: float


class Cancel(_Message, frozen=True):
    pass


class Ping(_Message, frozen=True):
    pass


Request = Start | Load | Transcribe | Chat | Speak | Cancel | Ping


class Words(_Message, frozen=True):
    """A piece of text: a transcript, or some of a chat's answer."""

    text: str


class Sound(_Message, frozen=True):
    """A piece of speech, int16 mono at 24 kHz, and the words that end in it with their ends in samples."""

    pcm: bytes
    words: list[tuple[str, int]]


class Done(_Message, frozen=True):
    reason: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Failed(_Message, frozen=True):
    kind: ErrorKind
    message: str


class Pong(_Message, frozen=True):
    step: float = 0.0
    """Seconds that the oldest running step has taken: a model that hangs shows here."""


Reply = Words | Sound | Done | Failed | Pong

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def frame(message: Request | Reply) -> bytes:
    """A message as it goes over the pipe."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


def read_request(body: bytes) -> Request:
    """Decode a frame's body in the child."""
    return _requests.decode(body)


def read_reply(body: bytes) -> Reply:
    """Decode a frame's body in the server.

    Raises:
        msgspec.DecodeError: The child wrote something else.
    """
    return _replies.decode(body)
