"""A connection without a socket: what an endpoint sends is kept, for tests and for clients in the same process."""

from __future__ import annotations

import asyncio
from collections import deque

from antiphon.transports.connection import Accept, Endpoint, Factory, Reject, Request

__all__ = ["MemoryConnection", "RejectedError", "connect"]


class RejectedError(Exception):
    """The factory refused the handshake.

    Attributes:
        reject: Its answer.
    """

    def __init__(self, reject: Reject) -> None:
        super().__init__(f"handshake refused with status {reject.status}")
        self.reject = reject


class MemoryConnection:
    """Both ends of one connection: the endpoint calls ``send``, ``send_audio`` and ``close``, the test the rest.

    Attributes:
        sent: Messages of the endpoint that were not received yet, in order.
        close_code: What the connection was closed with, None while it is open.
        close_reason: The reason that went with it.
    """

    def __init__(self, endpoint: Endpoint, request: Request | None = None, *, audio_limit: int | None = None) -> None:
        """Join an endpoint, which is told that the connection is open.

        Args:
            endpoint: The receiving side.
            request: The handshake that it sees.
            audio_limit: Audio messages that wait before the oldest are dropped; None keeps all.
        """
        self.request = request or Request("/")
        self.sent: deque[bytes] = deque()
        self.close_code: int | None = None
        self.close_reason = ""
        self._audio: deque[bytes] = deque()
        self._audio_limit = audio_limit
        self._dropped = 0
        self._news = asyncio.Event()
        self._endpoint = endpoint
        endpoint.open(self)

    # The endpoint's side

    @property
    def buffered(self) -> int:
        """Bytes that were sent and not received."""
        return sum(map(len, self.sent))

    @property
    def dropped(self) -> int:
        """Audio messages dropped because they were not received in time."""
        return self._dropped

    def send(self, data: bytes) -> None:
        """Keep a message."""
        if self.close_code is None:
            self.sent.append(data)
            self._news.set()

    def send_audio(self, data: bytes) -> None:
        """Keep an audio message, and drop the oldest beyond the limit."""
        if self.close_code is not None:
            return
        self.send(data)
        self._audio.append(data)
        if self._audio_limit is not None and len(self._audio) > self._audio_limit:
            oldest = self._audio.popleft()
            self.sent = deque(message for message in self.sent if message is not oldest)
            self._dropped += 1

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection; the endpoint is told on the next turn of the loop, as with a socket."""
        if self.close_code is None:
            self._over(code, reason)
            asyncio.get_running_loop().call_soon(self._endpoint.closed, code, reason)

    # The peer's side

    def text(self, data: bytes) -> None:
        """Deliver a text message to the endpoint; after close it is ignored."""
        if self.close_code is None:
            self._endpoint.text(data)

    def binary(self, data: bytes) -> None:
        """Deliver a binary message to the endpoint; after close it is ignored."""
        if self.close_code is None:
            self._endpoint.binary(data)

    def hang_up(self, code: int = 1000, reason: str = "") -> None:
        """Close from the peer's side. Idempotent."""
        if self.close_code is None:
            self._over(code, reason)
            self._endpoint.closed(code, reason)

    async def receive(self) -> bytes:
        """Wait for the endpoint's next message.

        Raises:
            EOFError: When the connection is closed and everything was received.
        """
        while not self.sent:
            if self.close_code is not None:
                raise EOFError(f"closed with {self.close_code} {self.close_reason}".rstrip())
            self._news.clear()
            await self._news.wait()
        message = self.sent.popleft()
        if self._audio and self._audio[0] is message:
            self._audio.popleft()
        return message

    def _over(self, code: int, reason: str) -> None:
        self.close_code, self.close_reason = code, reason
        self._news.set()


def connect(factory: Factory, request: Request | None = None) -> MemoryConnection:
    """Go through a factory as a handshake would.

    Args:
        factory: What decides about the handshake.
        request: The handshake.

    Returns:
        The open connection.

    Raises:
        RejectedError: The factory refused.
    """
    request = request or Request("/")
    answer = factory(request)
    if isinstance(answer, Reject):
        raise RejectedError(answer)
    assert isinstance(answer, Accept)
    return MemoryConnection(answer.endpoint, request)
