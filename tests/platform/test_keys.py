from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from antiphon.errors import StoreError, UsageError
from antiphon.platform.keys import ServiceKeys
from antiphon.platform.store import Store
from antiphon.platform.tables import DEFAULT_PROJECT_ID, Project
from antiphon.platform.tokens import new_token, utc_now


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def counted_statements(store: Store) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    engine = store._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def other_project(store: Store) -> str:
    async with store.write() as session:
        session.add(Project(id="proj_other", name="Other", created_at=utc_now()))
    return "proj_other"


async def test_a_key_is_verified_and_stored_as_a_hash_only(store: Store) -> None:
    keys = ServiceKeys(store)
    value, record = await keys.create("laptop")
    principal = await keys.verify(value)
    assert principal is not None
    assert (principal.project_id, principal.key_id) == (DEFAULT_PROJECT_ID, record.id)
    assert record.prefix == value[:8]
    async with store.read() as session:
        rows = (await session.execute(text("SELECT * FROM service_keys"))).all()
    assert value not in repr(rows)
    assert value[8:] not in repr(rows)


async def test_a_key_seen_before_costs_no_query(store: Store) -> None:
    keys = ServiceKeys(store, clock=Clock())
    value, _ = await keys.create("busy")
    assert keys.verify_cached(value) is None
    first = await keys.verify(value)
    with counted_statements(store) as statements:
        assert await keys.verify(value) == first
        assert keys.verify_cached(value) == first
        assert await keys.verify("sk-of-somebody-else") is None
        assert keys.verify_cached("") is None
    assert statements == []


async def test_revoking_works_at_once_here_and_after_a_poll_elsewhere(store: Store) -> None:
    here, elsewhere = ServiceKeys(store), ServiceKeys(store)
    value, record = await here.create("short-lived")
    assert await here.verify(value) is not None
    assert await elsewhere.verify(value) is not None
    revoked = await here.revoke(record.id)
    assert revoked.revoked_at is not None
    assert await here.verify(value) is None
    assert await elsewhere.verify(value) is not None
    await elsewhere.refresh()
    assert await elsewhere.verify(value) is None
    assert (await here.revoke(record.id)).revoked_at == revoked.revoked_at


async def test_memory_is_not_trusted_when_nobody_looked_for_too_long(store: Store) -> None:
    clock = Clock()
    here, elsewhere = ServiceKeys(store), ServiceKeys(store, max_stale_seconds=5, clock=clock)
    value, record = await here.create("stale")
    assert await elsewhere.verify(value) is not None
    await here.revoke(record.id)
    clock.now += 5.1
    assert elsewhere.verify_cached(value) is None
    assert await elsewhere.verify(value) is None


async def test_watching_forgets_keys_revoked_elsewhere(store: Store) -> None:
    here = ServiceKeys(store)
    refreshed = asyncio.Event()

    class Watched(ServiceKeys):
        async def refresh(self) -> None:
            await super().refresh()
            refreshed.set()

    elsewhere = Watched(store, poll_seconds=0.001)
    value, record = await here.create("watched")
    assert await elsewhere.verify(value) is not None
    await here.revoke(record.id)
    task = asyncio.create_task(elsewhere.watch())
    try:
        await refreshed.wait()
        assert await elsewhere.verify(value) is None
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (listed,) = await here.list()
    assert listed.last_used_at is not None, "uses are written down when the watch ends"


async def test_watching_outlives_a_failing_database(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    attempts = asyncio.Queue[None]()

    class Failing(ServiceKeys):
        async def refresh(self) -> None:
            attempts.put_nowait(None)
            raise StoreError("gone fishing")

    task = asyncio.create_task(Failing(store, poll_seconds=0.001).watch())
    for _ in range(3):
        await attempts.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [record.message for record in caplog.records] == ["service keys cannot be checked: gone fishing"]


async def test_uses_are_written_down_once_a_minute(store: Store) -> None:
    clock = Clock()
    keys = ServiceKeys(store, clock=clock)
    value, _ = await keys.create("used")
    await keys.verify(value)
    await keys.refresh()
    assert (await keys.list())[0].last_used_at is None
    clock.now += 60
    await keys.refresh()
    used = (await keys.list())[0].last_used_at
    assert used is not None
    assert abs(utc_now() - used) < timedelta(minutes=1)


async def test_projects_see_and_revoke_their_own_keys_only(store: Store) -> None:
    keys = ServiceKeys(store)
    other = await other_project(store)
    value, record = await keys.create("theirs", other)
    await keys.create("ours")
    assert [key.name for key in await keys.list()] == ["ours"]
    assert [key.name for key in await keys.list(other)] == ["theirs"]
    with pytest.raises(UsageError, match="there is no key"):
        await keys.revoke(record.id)
    principal = await keys.verify(value)
    assert principal is not None
    assert principal.project_id == other


async def test_the_first_key_is_made_once(store: Store) -> None:
    made = await asyncio.gather(*(ServiceKeys(store).create_first() for _ in range(4)))
    (value,) = [key for key in made if key is not None]
    assert await ServiceKeys(store).verify(value) is not None
    (record,) = await ServiceKeys(store).list()
    await ServiceKeys(store).revoke(record.id)
    assert await ServiceKeys(store).create_first() is None, "a revoked key is no empty table"


@pytest.mark.parametrize("name", ["", "x" * 201])
async def test_bad_names_are_refused(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match=f"1 to 200 characters, got {len(name)}"):
        await ServiceKeys(store).create(name)


async def test_an_unknown_project_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="no project 'proj_missing'"):
        await ServiceKeys(store).create("lost", "proj_missing")


operations = st.lists(
    st.tuples(st.sampled_from(["create", "revoke", "refresh"]), st.integers(0, 1), st.integers(0, 5)),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations)
def test_after_a_poll_every_process_agrees_with_the_store(steps: list[tuple[str, int, int]]) -> None:
    """Two processes over one store, any order of steps: exactly the keys not revoked are good."""

    @asynccontextmanager
    async def opened() -> Any:
        async with await Store.open("sqlite+aiosqlite:///:memory:") as store:
            yield store

    async def scenario() -> None:
        async with opened() as store:
            processes = [ServiceKeys(store, clock=Clock()) for _ in range(2)]
            made: list[tuple[str, str]] = []
            revoked: set[str] = set()
            for action, process, pick in steps:
                keys = processes[process]
                if action == "create":
                    value, record = await keys.create("any")
                    made.append((value, record.id))
                elif action == "refresh":
                    await keys.refresh()
                elif made:
                    value, key_id = made[pick % len(made)]
                    await keys.revoke(key_id)
                    revoked.add(value)
                    assert await keys.verify(value) is None
                for value, _ in made:
                    if value not in revoked:
                        assert await keys.verify(value) is not None
            for keys in processes:
                await keys.refresh()
                for value, _ in made:
                    assert (await keys.verify(value) is None) == (value in revoked)
                assert await keys.verify(new_token("ak_")) is None

    asyncio.run(scenario())
