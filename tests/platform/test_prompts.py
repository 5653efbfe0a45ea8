from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from antiphon.errors import UsageError
from antiphon.platform.prompts import MOST_CHARACTERS, Prompts
from antiphon.platform.store import Store
from antiphon.platform.tables import DEFAULT_PROJECT_ID, Project
from antiphon.platform.tokens import utc_now


@pytest.fixture
def prompts(store: Store) -> Prompts:
    return Prompts(store)


async def test_versions_count_up_and_the_newest_is_found(prompts: Prompts) -> None:
    first = await prompts.create("Be {{mood}}.", voice="amy")
    second = await prompts.create("Be brief.", prompt_id=first.id)
    assert (first.version, second.version) == ("1", "2")
    assert first.id.startswith("pmpt_")
    assert await prompts.get(DEFAULT_PROJECT_ID, first.id) == second
    assert await prompts.get(DEFAULT_PROJECT_ID, first.id, "1") == first
    assert first.voice == "amy"
    assert first.created_at.tzinfo is not None
    assert list(await prompts.list()) == [first, second]


@pytest.mark.parametrize("version", ["3", "0", "-1", "01", "one", "", "9" * 30, "\u0661"])
async def test_versions_that_are_not_there(prompts: Prompts, version: str) -> None:
    made = await prompts.create("x")
    assert await prompts.get(DEFAULT_PROJECT_ID, made.id, version) is None
    with pytest.raises(UsageError, match="there is no version"):
        await prompts.delete(made.id, version)
    assert await prompts.get(DEFAULT_PROJECT_ID, made.id) == made


@pytest.mark.parametrize("prompt_id", ["pmpt_nobody", "", "x", "pmpt_" + "x" * 10_000, "pmpt_\0"])
async def test_prompts_that_are_not_there(prompts: Prompts, prompt_id: str) -> None:
    assert await prompts.get(DEFAULT_PROJECT_ID, prompt_id) is None


async def test_a_project_sees_its_own_only(prompts: Prompts, store: Store) -> None:
    async with store.write() as session:
        session.add(Project(id="proj_other", name="Other", created_at=utc_now()))
    ours = await prompts.create("ours", prompt_id="pmpt_same")
    theirs = await prompts.create("theirs", prompt_id="pmpt_same", project_id="proj_other")
    assert theirs.version == "1"
    assert await prompts.get("proj_other", "pmpt_same") == theirs
    assert list(await prompts.list()) == [ours]
    await prompts.delete("pmpt_same", project_id="proj_other")
    assert await prompts.get("proj_other", "pmpt_same") is None
    assert await prompts.get(DEFAULT_PROJECT_ID, "pmpt_same") == ours


async def test_deleted_by_version_or_whole(prompts: Prompts) -> None:
    for words in "abc":
        await prompts.create(words, prompt_id="pmpt_x")
    assert await prompts.delete("pmpt_x", "2") == 1
    assert [p.version for p in await prompts.list()] == ["1", "3"]
    assert await prompts.delete("pmpt_x") == 2
    with pytest.raises(UsageError, match="there is no prompt 'pmpt_x' in project 'proj_default'"):
        await prompts.delete("pmpt_x")


async def test_two_writers_get_two_versions(prompts: Prompts) -> None:
    made = await asyncio.gather(*(prompts.create(str(n), prompt_id="pmpt_x") for n in range(5)))
    assert sorted(p.version for p in made) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"instructions": ""},
        {"instructions": "  \n"},
        {"instructions": "x" * (MOST_CHARACTERS + 1)},
        {"instructions": "x", "prompt_id": "greeter"},
        {"instructions": "x", "prompt_id": "pmpt_"},
        {"instructions": "x", "prompt_id": "pmpt_a b"},
        {"instructions": "x", "voice": ""},
        {"instructions": "x", "project_id": "proj_nowhere"},
    ],
)
async def test_what_cannot_be_written(prompts: Prompts, wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        await prompts.create(**wrong)
    assert list(await prompts.list()) == []


async def test_a_store_of_the_first_revision_is_brought_up(url: str) -> None:
    async with await Store.open(url) as store, store.write() as session:
        await session.execute(text("DROP TABLE prompts"))
        await session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    async with await Store.open(url) as store:
        assert (await Prompts(store).create("back")).version == "1"
