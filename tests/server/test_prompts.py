from __future__ import annotations

from pathlib import Path

from antiphon.platform.prompts import Prompts
from antiphon.platform.store import Store
from antiphon.platform.tables import DEFAULT_PROJECT_ID
from antiphon.protocols.openai.settings import StoredPrompt
from antiphon.server.compose import StoredPrompts


async def test_sessions_find_stored_prompts(tmp_path: Path) -> None:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}") as store:
        prompts = Prompts(store)
        await prompts.create("Be {{mood}}.", prompt_id="pmpt_a", voice="amy")
        await prompts.create("Be brief.", prompt_id="pmpt_a")
        found = StoredPrompts(prompts)
        assert await found.get(DEFAULT_PROJECT_ID, "pmpt_a", "1") == StoredPrompt("pmpt_a", "1", "Be {{mood}}.", "amy")
        assert await found.get(DEFAULT_PROJECT_ID, "pmpt_a", None) == StoredPrompt("pmpt_a", "2", "Be brief.", None)
        assert await found.get(DEFAULT_PROJECT_ID, "pmpt_a", "3") is None
        assert await found.get("proj_other", "pmpt_a", None) is None
