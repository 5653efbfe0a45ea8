"""The database: opened, brought to the current schema, and handed out a transaction at a time.

SQLite in WAL mode by default, PostgreSQL by URL. Callers write statements against
:mod:`antiphon.platform.tables`; each filters by the project it acts for.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import URL, Connection, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from antiphon.errors import StoreError

if TYPE_CHECKING:
    import aiosqlite
    from alembic.config import Config

__all__ = ["HEAD", "Store"]

HEAD = "0002"
"""Revision of the newest migration. Kept here so that an up-to-date store never imports Alembic."""

_BUSY_TIMEOUT_MS = 5000
_RETRY_SECONDS = 0.02


class Store:
    """An open database.

    Make one with :meth:`open`; close it with :meth:`close` or by ``async with``.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        """Wrap an engine whose schema is current; :meth:`open` is what callers want."""
        self._engine = engine
        # SQLite: a transaction that will write takes the write lock at once. One that starts by reading
        # fails, without waiting for its turn, when another process wrote in between.
        self._writer = engine.execution_options(begin_immediate=True)

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open a database, creating and migrating it as needed.

        Args:
            url: SQLAlchemy URL with an async driver, such as ``sqlite+aiosqlite:///antiphon.db``.

        Raises:
            StoreError: The URL is unusable, the database does not answer, or its schema is newer than
                this version of Antiphon.
        """
        engine = _create_engine(url)
        store = cls(engine)
        try:
            await store._migrate()
        except (DBAPIError, OSError) as error:
            await engine.dispose()
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"cannot open the database {_shown(engine.url)}: {cause}") from error
        except BaseException:
            await engine.dispose()
            raise
        return store

    async def close(self) -> None:
        """Close every connection. Closing twice is harmless."""
        await self._engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A transaction for reading.

        Raises:
            StoreError: The database failed.
        """
        async with _translated(), AsyncSession(self._engine, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction for writing: committed at the end of the block, undone when it raises.

        Raises:
            StoreError: The database failed.
        """
        async with (
            _translated(),
            AsyncSession(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    async def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            StoreError: It gave none.
        """
        async with self.read() as session:
            await session.execute(text("SELECT 1"))

    async def _migrate(self) -> None:
        async with self._engine.connect() as connection:
            if await connection.run_sync(_revision) == HEAD:
                return
        # Not before it is needed: Alembic costs as much start-up time as all the rest of the store. And not
        # later than here: other processes wait for the lock that the transaction takes.
        from alembic import command

        async with self._writer.begin() as connection:
            await connection.run_sync(_upgrade, command.upgrade)


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise StoreError(f"the database failed: {error.orig}") from error


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _create_engine(url: str) -> AsyncEngine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_async_engine(parsed, pool_pre_ping=True)
        if parsed.database and parsed.database != ":memory:":
            # Keys' hashes live there: nobody else's business.
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = create_async_engine(parsed)
    except NoSuchModuleError as error:
        raise StoreError(f"the database URL names an unknown kind of database: {error}") from error
    except ArgumentError as error:
        # Not the URL itself: it may hold a password.
        raise StoreError(
            "the database URL cannot be used: expected one such as sqlite+aiosqlite:///antiphon.db or "
            f"postgresql+asyncpg://user@host/antiphon ({type(error).__name__})"
        ) from None
    except ModuleNotFoundError as error:
        raise StoreError(f"the database URL needs the package {error.name!r}, which is not installed") from error
    except OSError as error:
        raise StoreError(f"cannot make the directory of the database: {error}") from error
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves: the driver's own timing spares DDL
    connection.run_async(_set_pragmas)


async def _set_pragmas(connection: aiosqlite.Connection) -> None:
    await connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    deadline = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            await connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # Two who turn a new database to WAL at once: SQLite refuses one without waiting for the other.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_RETRY_SECONDS)
    await connection.execute("PRAGMA synchronous = NORMAL")
    await connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("begin_immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _revision(connection: Connection) -> str | None:
    """The schema's revision, or None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _upgrade(connection: Connection, upgrade: Callable[[Config, str], None]) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('antiphon-migrations'))"))
    if _revision(connection) == HEAD:  # another process was first, while we waited for the lock
        return
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            f"the database is at revision {_revision(connection)!r}, which this version of Antiphon does not "
            f"know (it knows up to {HEAD!r}): use the version that wrote it, or a newer one"
        ) from error
