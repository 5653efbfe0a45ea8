"""What a WebSocket upgrade says about its client: the dialect, the key, and what it wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from antiphon.protocols.openai.dialect import BETA, GA, Dialect
from antiphon.transports.connection import Request

__all__ = ["Hello", "bearer", "hello"]

SUBPROTOCOL = "realtime"
_KEY_SUBPROTOCOL = "openai-insecure-api-key."
_BETA_SUBPROTOCOL = "openai-beta.realtime-v1"
_NO_KEY = frozenset(["", "null", "undefined"])
"""What clients without a key send in its place."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A client's first words.

    Attributes:
        dialect: What it speaks.
        key: Its API key or client secret, or None.
        model: The model it asks for; empty when it names none.
        type: The kind of session.
        call_id: The WebRTC call whose control socket this is to be, or None.
        subprotocol: What to echo, or None: many clients refuse a handshake without it.
    """

    dialect: Dialect
    key: str | None
    model: str
    type: Literal["realtime", "transcription"]
    call_id: str | None
    subprotocol: str | None


def hello(request: Request, dialect: Dialect | None = None) -> Hello:
    """Read an upgrade request (section 2.1).

    Args:
        request: The handshake.
        dialect: What paths of old relays speak whatever their clients say; None lets the client choose.
    """
    offered = request.subprotocols
    if dialect is None:
        opted = _BETA_SUBPROTOCOL in offered or "realtime=v1" in request.headers.get("openai-beta", "")
        dialect = BETA if opted else GA
    key = bearer(request.headers.get("authorization", ""))
    if key is None:
        keys = (name.removeprefix(_KEY_SUBPROTOCOL) for name in offered if name.startswith(_KEY_SUBPROTOCOL))
        key = _key(next(keys, ""))
    return Hello(
        dialect=dialect,
        key=key,
        model=request.query.get("model", ""),
        type="transcription" if request.query.get("intent") == "transcription" else "realtime",
        call_id=request.query.get("call_id"),
        subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
    )


def bearer(authorization: str) -> str | None:
    """The key in an ``Authorization`` header, or None."""
    scheme, _, key = authorization.partition(" ")
    return _key(key) if scheme.lower() == "bearer" else None


def _key(value: str) -> str | None:
    value = value.strip()
    return None if value in _NO_KEY else value
