"""Random credentials: how they are made, hashed and shown.

A credential holds 256 random bits, so one SHA-256 is enough to store it by: there is nothing to guess that
a slow password hash would protect.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime

__all__ = ["SHOWN_LENGTH", "hashed", "looks_like", "new_id", "new_token", "utc_now"]

SHOWN_LENGTH = 8
"""How many characters of a credential are kept in the clear, to tell it from others."""

_RANDOM_BYTES = 32
_TOKEN_LENGTH = 43  # of URL-safe base64 without padding


def new_token(prefix: str) -> str:
    """Make a credential: `prefix` and 43 characters of URL-safe base64."""
    return prefix + secrets.token_urlsafe(_RANDOM_BYTES)


def looks_like(value: str, prefix: str) -> bool:
    """Whether `value` has the shape of a credential with this prefix; no look-up is spent on others."""
    return len(value) == len(prefix) + _TOKEN_LENGTH and value.startswith(prefix) and value.isascii()


def hashed(value: str) -> str:
    """What a credential is stored by: its SHA-256, as 64 hexadecimal digits."""
    return hashlib.sha256(value.encode()).hexdigest()


def new_id(prefix: str) -> str:
    """Make an identifier, such as ``key_`` and 24 hexadecimal digits."""
    return prefix + secrets.token_hex(12)


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)
