"""What a message transport and a protocol say to each other, whatever carries the bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Accept", "Connection", "Endpoint", "Factory", "Reject", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """The handshake that asked for a connection."""

    path: str
    """Without the query, as it came (not percent-decoded)."""
    query: dict[str, str] = field(default_factory=dict)
    """Percent-decoded; of a repeated name the first value."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; repeated headers joined by a comma and a space."""
    subprotocols: tuple[str, ...] = ()
    """As offered, first choice first."""
    client: str = ""
    """``host:port`` of the peer."""
    secure: bool = False
    """Whether TLS ends in this process."""


class Connection(Protocol):
    """The sending side of one open connection. Every method must be called on the event loop's thread."""

    request: Request

    @property
    def buffered(self) -> int:
        """Bytes that were sent and have not left this process."""
        ...

    @property
    def dropped(self) -> int:
        """Audio messages dropped because the reader was too slow."""
        ...

    def send(self, data: bytes) -> None:
        """Send a text message (UTF-8) that must arrive. It is never dropped; after close it is ignored."""
        ...

    def send_audio(self, data: bytes) -> None:
        """Send a text message (UTF-8) that a slow reader may miss: oldest first, counted in ``dropped``."""
        ...

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Start the closing handshake; nothing is received from here on. Idempotent.

        Args:
            code: 1000, 1001, 1003, 1007 to 1013, or 3000 to 4999 (RFC 6455 section 7.4).
            reason: At most 123 bytes of UTF-8; the rest is cut off.
        """
        ...


class Endpoint(Protocol):
    """The receiving side: one object a connection, called on the event loop's thread."""

    def open(self, connection: Connection) -> None:
        """The handshake is done. Called once, before anything else."""
        ...

    def text(self, data: bytes) -> None:
        """A whole text message: valid UTF-8, within the message limit."""
        ...

    def binary(self, data: bytes) -> None:
        """A whole binary message, within the message limit."""
        ...

    def closed(self, code: int, reason: str) -> None:
        """The connection is over. Called exactly once after ``open``, and last.

        Args:
            code: The peer's close code, or ours when we closed; 1005 when it came without one; 1006 when the
                connection broke.
            reason: As given with the code.
        """
        ...


@dataclass(frozen=True, slots=True)
class Accept:
    """Take the connection."""

    endpoint: Endpoint
    subprotocol: str | None = None
    """Echoed to the client; must be one that it offered."""
    too_big: Callable[[int], bytes] | None = None
    """Makes a last text message, given the limit in bytes, before a message above it closes the connection (1009)."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse the handshake with an HTTP response."""

    status: int
    body: bytes = b""
    """JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)


Factory = Callable[[Request], Accept | Reject]
"""Decides about one handshake. Synchronous: what must be looked up is looked up by the endpoint once it is open."""
