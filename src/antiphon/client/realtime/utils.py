"""Ids, time stamps, and what sending methods return."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Generator
from datetime import UTC, datetime
from typing import Generic, TypeVar

T = TypeVar("T")

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def generate_id(prefix: str, length: int = 21) -> str:
    """Give a random id of `length` characters, the prefix included, in base 58."""
    return prefix + "".join(random.choices(BASE58, k=length - len(prefix)))


def now_iso() -> str:
    """Give the time as ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Sent(Generic[T]):
    """What a sending method returns. The event is on its way already; awaiting is for the pace.

    `client.append_input_audio(chunk)` sends. `await client.append_input_audio(chunk)` sends and waits until the send
    buffer is below its high-water mark, so that the caller goes at the network's pace.

    Attributes:
        value: the method's result; awaiting gives the same.
    """

    __slots__ = ("_drain", "value")

    def __init__(self, value: T, drain: Callable[[], Awaitable[None]]) -> None:
        self.value = value
        self._drain = drain

    def __await__(self) -> Generator[object, None, T]:
        yield from self._drain().__await__()
        return self.value
