"""Service keys: made, listed, revoked, and verified without a database round trip.

A verified key is remembered in memory. :meth:`ServiceKeys.watch` asks the database every `poll_seconds`
which remembered keys are still good, so a key revoked by another process stops working within that time;
when the database cannot be asked, nothing is taken from memory for longer than `max_stale_seconds`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update

from antiphon.errors import StoreError, UsageError
from antiphon.platform.store import Store
from antiphon.platform.tables import DEFAULT_PROJECT_ID, Project, ServiceKeyRow
from antiphon.platform.tokens import SHOWN_LENGTH, hashed, looks_like, new_id, new_token, utc_now

__all__ = ["KEY_PREFIX", "Principal", "ServiceKey", "ServiceKeys"]

KEY_PREFIX = "ak_"

_log = logging.getLogger(__name__)
_USE_WRITTEN_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a caller is.

    Attributes:
        project_id: The project that everything it does belongs to.
        key_id: Identifier of the credential it came with; None for an anonymous caller.
    """

    project_id: str
    key_id: str | None


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """What may be known of a key once it was made.

    Attributes:
        id: Identifier, by which it is revoked.
        project_id: The project it opens.
        name: What its owner calls it.
        prefix: Its first characters, for display.
        created_at: When it was made, UTC.
        revoked_at: When it was revoked, or None while it is good.
        last_used_at: When it was last used, give or take a minute, or None.
    """

    id: str
    project_id: str
    name: str
    prefix: str
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


class ServiceKeys:
    """The service keys of a store.

    Args:
        store: Where they are kept.
        poll_seconds: How often :meth:`watch` looks for revocations, above 0.
        max_stale_seconds: How long memory is trusted after the last successful look.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        poll_seconds: float = 2.0,
        max_stale_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._max_stale_seconds = max_stale_seconds
        self._clock = clock
        self._good: dict[str, Principal] = {}
        self._checked_at = clock()
        self._used: dict[str, datetime] = {}
        self._use_written_at = clock()

    async def create(self, name: str, project_id: str = DEFAULT_PROJECT_ID) -> tuple[str, ServiceKey]:
        """Make a key.

        Args:
            name: What to call it, 1 to 200 characters.
            project_id: The project it opens.

        Returns:
            The key itself, which is kept nowhere and cannot be had again, and its record.

        Raises:
            UsageError: The name is empty or too long, or there is no such project.
        """
        if not 1 <= len(name) <= 200:
            raise UsageError(f"expected a key name of 1 to 200 characters, got {len(name)}")
        value = new_token(KEY_PREFIX)
        row = _row(value, name, project_id)
        async with self._store.write() as session:
            if await session.get(Project, project_id) is None:
                raise UsageError(f"there is no project {project_id!r}")
            session.add(row)
        return value, _record(row)

    async def create_first(self) -> str | None:
        """Make a key for the default project if the store never held one.

        Returns:
            The key, or None when there is or was one already.
        """
        async with self._store.read() as session:
            if await session.scalar(select(ServiceKeyRow.id).limit(1)) is not None:
                return None
        value = new_token(KEY_PREFIX)
        async with self._store.write() as session:
            # Asked again under the write lock: two servers may start at once.
            if await session.scalar(select(func.count()).select_from(ServiceKeyRow)):
                return None
            session.add(_row(value, "first start", DEFAULT_PROJECT_ID))
        return value

    async def list(self, project_id: str = DEFAULT_PROJECT_ID) -> Sequence[ServiceKey]:
        """List a project's keys, the oldest first, revoked ones among them."""
        query = (
            select(ServiceKeyRow)
            .where(ServiceKeyRow.project_id == project_id)
            .order_by(ServiceKeyRow.created_at, ServiceKeyRow.id)
        )
        async with self._store.read() as session:
            return [_record(row) for row in await session.scalars(query)]

    async def revoke(self, key_id: str, project_id: str = DEFAULT_PROJECT_ID) -> ServiceKey:
        """Revoke a key: at once in this process, within `poll_seconds` in others.

        Revoking twice is harmless; the first time counts.

        Raises:
            UsageError: The project has no such key.
        """
        query = select(ServiceKeyRow).where(ServiceKeyRow.id == key_id, ServiceKeyRow.project_id == project_id)
        async with self._store.write() as session:
            row = await session.scalar(query)
            if row is None:
                raise UsageError(f"there is no key {key_id!r} in project {project_id!r}")
            if row.revoked_at is None:
                row.revoked_at = utc_now()
            hash_ = row.hash
        self._good.pop(hash_, None)
        return _record(row)

    async def verify(self, value: str) -> Principal | None:
        """Tell whose key this is.

        Args:
            value: What the caller sent.

        Returns:
            The principal, or None for anything but a good key.

        Raises:
            StoreError: The key is not in memory and the database failed.
        """
        if not looks_like(value, KEY_PREFIX):
            return None
        hash_ = hashed(value)
        principal = self._remembered(hash_)
        if principal is None:
            principal = await self._look_up(hash_)
        if principal is not None and principal.key_id is not None:
            self._used[principal.key_id] = utc_now()
        return principal

    def verify_cached(self, value: str) -> Principal | None:
        """Like :meth:`verify`, from memory alone: for a handshake that would rather not wait.

        Returns:
            The principal of a key that was verified before, else None, which does not mean a bad key.
        """
        if not looks_like(value, KEY_PREFIX):
            return None
        principal = self._remembered(hashed(value))
        if principal is not None and principal.key_id is not None:
            self._used[principal.key_id] = utc_now()
        return principal

    def _remembered(self, hash_: str) -> Principal | None:
        # Looking up by hash leaks nothing through timing: who tries keys cannot steer their SHA-256.
        if self._clock() - self._checked_at > self._max_stale_seconds:
            return None
        return self._good.get(hash_)

    async def _look_up(self, hash_: str) -> Principal | None:
        query = select(ServiceKeyRow.project_id, ServiceKeyRow.id).where(
            ServiceKeyRow.hash == hash_, ServiceKeyRow.revoked_at.is_(None)
        )
        async with self._store.read() as session:
            row = (await session.execute(query)).one_or_none()
        if row is None:
            self._good.pop(hash_, None)
            return None
        return self._good.setdefault(hash_, Principal(row.project_id, row.id))

    async def refresh(self) -> None:
        """Forget remembered keys that were revoked, and write down when keys were used.

        Raises:
            StoreError: The database failed.
        """
        started = self._clock()
        if remembered := list(self._good):
            query = select(ServiceKeyRow.hash).where(
                ServiceKeyRow.hash.in_(remembered), ServiceKeyRow.revoked_at.is_(None)
            )
            async with self._store.read() as session:
                good = set(await session.scalars(query))
            for hash_ in remembered:
                if hash_ not in good:
                    self._good.pop(hash_, None)
        self._checked_at = started
        if self._used and started - self._use_written_at >= _USE_WRITTEN_EVERY_SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Write down when keys were used; :meth:`watch` does it every minute and when it is cancelled."""
        used, self._used = self._used, {}
        self._use_written_at = self._clock()
        async with self._store.write() as session:
            for key_id, moment in used.items():
                await session.execute(
                    update(ServiceKeyRow).where(ServiceKeyRow.id == key_id).values(last_used_at=moment)
                )

    async def watch(self) -> None:
        """Run until cancelled: keep memory in step with the database."""
        failing = False
        try:
            while True:
                await asyncio.sleep(self._poll_seconds)
                try:
                    await self.refresh()
                except StoreError as error:
                    if not failing:
                        _log.error("service keys cannot be checked: %s", error)
                    failing = True
                else:
                    failing = False
        finally:
            if self._used:
                await self.flush()


def _row(value: str, name: str, project_id: str) -> ServiceKeyRow:
    return ServiceKeyRow(
        id=new_id("key_"),
        project_id=project_id,
        name=name,
        prefix=value[:SHOWN_LENGTH],
        hash=hashed(value),
        created_at=utc_now(),
        revoked_at=None,
        last_used_at=None,
    )


def _record(row: ServiceKeyRow) -> ServiceKey:
    return ServiceKey(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        prefix=row.prefix,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
