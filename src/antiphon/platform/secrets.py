"""Ephemeral client secrets: short-lived credentials that a backend hands to a browser.

A secret opens sessions of one project with the configuration it was made with, until it expires. It is
kept in the store, so every worker honours it whichever one made it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select

from antiphon.errors import UsageError
from antiphon.platform.store import Store
from antiphon.platform.tables import ClientSecretRow, Project
from antiphon.platform.tokens import hashed, looks_like, new_id, new_token, utc_now

__all__ = ["MAX_TTL_SECONDS", "MIN_TTL_SECONDS", "SECRET_PREFIX", "ClientSecret", "ClientSecrets"]

SECRET_PREFIX = "ek_"
MIN_TTL_SECONDS = 10.0
MAX_TTL_SECONDS = 7200.0

_KEPT_AFTER_EXPIRY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """What a secret stands for.

    Attributes:
        id: Identifier of the secret, not the secret.
        project_id: The project it opens.
        session_config: The session's configuration, as given when it was made.
        created_at: When it was made, UTC.
        expires_at: From when on it is refused, UTC.
    """

    id: str
    project_id: str
    session_config: dict[str, Any]
    created_at: datetime
    expires_at: datetime


class ClientSecrets:
    """The client secrets of a store.

    Args:
        store: Where they are kept.
        now: The present moment, aware.
    """

    def __init__(self, store: Store, *, now: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._now = now

    async def create(
        self, project_id: str, session_config: Mapping[str, Any], ttl: float = 600.0
    ) -> tuple[str, ClientSecret]:
        """Make a secret.

        Args:
            project_id: The project it opens.
            session_config: Anything that JSON can hold; sessions opened with the secret start from it.
            ttl: Seconds it is good for, 10 to 7200.

        Returns:
            The secret itself, which is kept nowhere, and its record.

        Raises:
            UsageError: `ttl` is out of range, or there is no such project.
        """
        if not MIN_TTL_SECONDS <= ttl <= MAX_TTL_SECONDS:
            raise UsageError(f"expected a lifetime of {MIN_TTL_SECONDS:g} to {MAX_TTL_SECONDS:g} seconds, got {ttl:g}")
        value = new_token(SECRET_PREFIX)
        now = self._now()
        row = ClientSecretRow(
            id=new_id("cs_"),
            project_id=project_id,
            hash=hashed(value),
            session_config=dict(session_config),
            created_at=now,
            expires_at=now + timedelta(seconds=ttl),
        )
        async with self._store.write() as session:
            if await session.get(Project, project_id) is None:
                raise UsageError(f"there is no project {project_id!r}")
            await session.execute(
                delete(ClientSecretRow).where(
                    ClientSecretRow.project_id == project_id,
                    ClientSecretRow.expires_at < now - _KEPT_AFTER_EXPIRY,
                )
            )
            session.add(row)
        return value, _record(row)

    async def redeem(self, value: str) -> ClientSecret | None:
        """Tell what a secret stands for; it may be redeemed again until it expires.

        Args:
            value: What the caller sent.

        Returns:
            The record, or None for anything but a good secret.

        Raises:
            StoreError: The database failed.
        """
        if not looks_like(value, SECRET_PREFIX):
            return None
        async with self._store.read() as session:
            row = await session.scalar(select(ClientSecretRow).where(ClientSecretRow.hash == hashed(value)))
        if row is None or row.expires_at <= self._now():
            return None
        return _record(row)


def _record(row: ClientSecretRow) -> ClientSecret:
    return ClientSecret(
        id=row.id,
        project_id=row.project_id,
        session_config=row.session_config,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
