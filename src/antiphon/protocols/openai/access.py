"""Who may open a session, and what it starts from: API keys, and client secrets bound to a session of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from antiphon.errors import ApiError
from antiphon.platform.secrets import SECRET_PREFIX
from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.ports import Secrets
from antiphon.protocols.openai.session_object import (
    SessionObject,
    merge_beta,
    merge_beta_transcription,
    merge_ga,
)
from antiphon.protocols.openai.session_wire import SessionType
from antiphon.protocols.openai.settings import Authenticate, RealtimeSettings

__all__ = ["Access", "Grant", "Kind", "incorrect_key", "started", "stored_session"]

Kind = Literal["ga", "beta", "beta_transcription"]
"""How a stored session is written."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to open a session.

    Attributes:
        project_id: Whose it will be.
        stored: The session that the client secret was made with, or empty.
    """

    project_id: str
    stored: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Access:
    """The door.

    Attributes:
        authenticate: Knows API keys.
        secrets: Knows client secrets; None where there are none.
    """

    authenticate: Authenticate
    secrets: Secrets | None = None

    async def grant(self, key: str | None) -> Grant:
        """Let a caller in.

        Raises:
            WireError: ``invalid_api_key``: the key is wrong, missing or expired.
        """
        if key is not None and key.startswith(SECRET_PREFIX):
            secret = await self.secrets.redeem(key) if self.secrets is not None else None
            if secret is not None:
                return Grant(secret.project_id, secret.session_config)
            raise incorrect_key(key)
        try:
            principal = await self.authenticate(key)
        except ApiError as error:
            if error.status != 401:
                raise
            principal = None
        if principal is None:
            raise incorrect_key(key)
        return Grant(principal.project_id)


def incorrect_key(key: str | None) -> WireError:
    """The refusal; it shows no more of the key than tells it from another."""
    shown = "null" if key is None else f"{key[:3]}***{key[-4:]}" if len(key) >= 16 else "***"
    return WireError(
        "invalid_api_key", f"Incorrect API key provided: {shown}. Service keys are listed by 'antiphon keys list'."
    )


def started(grant: Grant, settings: RealtimeSettings, type: SessionType = "realtime", model: str = "") -> SessionObject:
    """What a new session starts from: the session its client secret was made with, or else the defaults.

    Raises:
        WireError: The stored session is refused, since settings changed meanwhile.
    """
    if not grant.stored:
        return SessionObject.default(settings, type, model)
    return stored_session(grant.stored["kind"], msgspec.json.encode(grant.stored["session"]), settings)


def stored_session(kind: Kind, data: bytes, settings: RealtimeSettings) -> SessionObject:
    """The session that a REST body describes.

    Args:
        kind: How it is written.
        data: Its JSON.
        settings: Defaults.

    Raises:
        WireError: A field is refused.
    """
    if kind == "beta":
        return merge_beta(SessionObject.default(settings), data, settings, start=True)
    if kind == "beta_transcription":
        return merge_beta_transcription(SessionObject.default(settings, "transcription"), data, settings)
    return merge_ga(SessionObject.default(settings), data, settings, start=True)
