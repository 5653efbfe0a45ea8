"""Identifiers, made cheaply: one random prefix a source, then a count."""

from __future__ import annotations

import secrets

__all__ = ["Ids", "new_id"]


def new_id(kind: str) -> str:
    """A single random id such as ``sess_5f2…``, 24 hexadecimal digits."""
    return f"{kind}_{secrets.token_hex(12)}"


class Ids:
    """Unique ids of one kind from one source, as ``event_4b1c9a07e2d5x1f``.

    Args:
        kind: What they begin with, without the underscore.
    """

    __slots__ = ("_count", "_prefix")

    def __init__(self, kind: str) -> None:
        self._prefix = f"{kind}_{secrets.token_hex(6)}x"
        self._count = 0

    def next(self) -> str:
        """Return the next id."""
        self._count += 1
        return f"{self._prefix}{self._count:x}"
