from __future__ import annotations

import asyncio
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text

import antiphon.platform
from antiphon.errors import StoreError
from antiphon.platform.store import HEAD, Store
from antiphon.platform.tables import DEFAULT_PROJECT_ID, Base, Project
from antiphon.platform.tokens import utc_now


def _project(name: str) -> Project:
    return Project(id=f"proj_{name}", name=name, created_at=utc_now())


async def test_a_new_store_holds_the_default_project(store: Store) -> None:
    async with store.read() as session:
        projects = list(await session.scalars(select(Project)))
    assert [project.id for project in projects] == [DEFAULT_PROJECT_ID]
    assert projects[0].created_at.utcoffset() is not None
    assert abs((utc_now() - projects[0].created_at).total_seconds()) < 60


async def test_sqlite_is_in_wal_mode_with_foreign_keys(store: Store) -> None:
    async with store.read() as session:
        assert await session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert await session.scalar(text("PRAGMA foreign_keys")) == 1


async def test_what_was_written_is_there_after_reopening(url: str) -> None:
    async with await Store.open(url) as first, first.write() as session:
        session.add(_project("kept"))
    async with await Store.open(url) as second, second.read() as session:
        assert await session.get(Project, "proj_kept") is not None


async def test_a_block_that_raises_writes_nothing(store: Store) -> None:
    with pytest.raises(LookupError):
        async with store.write() as session:
            session.add(_project("undone"))
            await session.flush()
            raise LookupError
    async with store.read() as session:
        assert await session.get(Project, "proj_undone") is None


async def test_writers_wait_for_each_other(url: str) -> None:
    """Read then write in one transaction, from two stores at once: neither is refused, none is lost."""
    async with await Store.open(url) as one, await Store.open(url) as two:

        async def rename(store: Store, mark: str) -> None:
            async with store.write() as session:
                project = await session.get(Project, DEFAULT_PROJECT_ID)
                assert project is not None
                project.name += mark

        await asyncio.gather(*(rename(store, mark) for store, mark in [(one, "1"), (two, "2")] * 5))
        async with one.read() as session:
            project = await session.get(Project, DEFAULT_PROJECT_ID)
        assert project is not None
        assert sorted(project.name.removeprefix("Default project")) == list("1111122222")


async def test_two_processes_may_open_a_new_database_at_once(url: str) -> None:
    stores = await asyncio.gather(*(Store.open(url) for _ in range(4)))
    for store in stores:
        await store.close()
    async with await Store.open(url) as store, store.read() as session:
        assert len(list(await session.scalars(select(Project)))) == 1


async def test_the_migrations_make_the_tables_that_the_code_knows(store: Store) -> None:
    def differences(connection: Any) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with store.read() as session:
        assert await (await session.connection()).run_sync(differences) == []


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(antiphon.platform.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


async def test_an_up_to_date_store_opens_without_alembic(url: str) -> None:
    await (await Store.open(url)).close()
    code = (
        "import asyncio, sys\n"
        "from antiphon.platform.store import Store\n"
        f"async def main(): await (await Store.open({url!r})).close()\n"
        "asyncio.run(main())\n"
        "sys.exit('alembic' in sys.modules)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0


async def test_a_database_from_a_newer_version_is_refused(url: str) -> None:
    async with await Store.open(url) as store, store.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"revision '9999'.*knows up to '0002'"):
        await Store.open(url)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("no url at all", "expected one such as"),
        ("oracle9+nothing://host/db", "unknown kind of database"),
        ("sqlite+aiosqlite:////dev/null/no/antiphon.db", "cannot make the directory"),
    ],
)
async def test_unusable_urls_are_explained(bad: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        await Store.open(bad)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "antiphon.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(StoreError, match=r"cannot open the database .*antiphon\.db: file is not a database"):
        await Store.open(f"sqlite+aiosqlite:///{path}")


async def test_the_data_directory_is_private(url: str, store: Store, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


async def test_a_failing_database_is_a_store_error(store: Store) -> None:
    with pytest.raises(StoreError, match="no such table: missing"):
        async with store.read() as session:
            await session.execute(text("SELECT * FROM missing"))
