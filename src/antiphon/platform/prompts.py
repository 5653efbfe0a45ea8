"""Prompts kept on the server: instructions that sessions name by id and version instead of sending them.

A version never changes once it is written; a new text is a new version. Versions count from "1".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select

from antiphon.errors import UsageError
from antiphon.platform.store import Store
from antiphon.platform.tables import DEFAULT_PROJECT_ID, Project, PromptRow
from antiphon.platform.tokens import new_id, utc_now

__all__ = ["MOST_CHARACTERS", "PROMPT_PREFIX", "Prompt", "Prompts"]

PROMPT_PREFIX = "pmpt_"
MOST_CHARACTERS = 100_000
"""How long a prompt's instructions may be."""

_ID = re.compile(rf"{PROMPT_PREFIX}[A-Za-z0-9_-]{{1,64}}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt.

    Attributes:
        id: What clients name it by, ``pmpt_...``.
        version: Which of its versions this is, from "1".
        project_id: Whose it is.
        instructions: Text in which ``{{name}}`` stands for a variable.
        voice: The voice that goes with it, or None for the session's.
        created_at: When this version was written, UTC.
    """

    id: str
    version: str
    project_id: str
    instructions: str
    voice: str | None
    created_at: datetime


class Prompts:
    """The prompts of a store.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(
        self,
        instructions: str,
        *,
        prompt_id: str | None = None,
        voice: str | None = None,
        project_id: str = DEFAULT_PROJECT_ID,
    ) -> Prompt:
        """Write a prompt's next version, which is its first when there is none of this id.

        Args:
            instructions: 1 to `MOST_CHARACTERS` characters.
            prompt_id: ``pmpt_`` and 1 to 64 letters, digits, ``-`` or ``_``; None makes one up.
            voice: 1 to 128 characters, or None.
            project_id: Whose it is. Projects may use the same ids.

        Raises:
            UsageError: An argument is not as above, or there is no such project.
        """
        if not 1 <= len(instructions) <= MOST_CHARACTERS or not instructions.strip():
            raise UsageError(f"expected instructions of 1 to {MOST_CHARACTERS} characters, got {len(instructions)}")
        if prompt_id is not None and not _ID.fullmatch(prompt_id):
            raise UsageError(f"expected an id such as {PROMPT_PREFIX}greeter, got {prompt_id!r}")
        if voice is not None and not 1 <= len(voice) <= 128:
            raise UsageError(f"expected a voice of 1 to 128 characters, got {len(voice)}")
        prompt_id = prompt_id or new_id(PROMPT_PREFIX)
        newest = select(func.max(PromptRow.version)).where(
            PromptRow.project_id == project_id, PromptRow.prompt_id == prompt_id
        )
        async with self._store.write() as session:
            if await session.get(Project, project_id, with_for_update=True) is None:
                raise UsageError(f"there is no project {project_id!r}")
            row = PromptRow(
                project_id=project_id,
                prompt_id=prompt_id,
                version=(await session.scalar(newest) or 0) + 1,
                instructions=instructions,
                voice=voice,
                created_at=utc_now(),
            )
            session.add(row)
        return _record(row)

    async def list(self, project_id: str = DEFAULT_PROJECT_ID) -> Sequence[Prompt]:
        """List a project's prompts in all versions, by id, the oldest version first."""
        query = (
            select(PromptRow).where(PromptRow.project_id == project_id).order_by(PromptRow.prompt_id, PromptRow.version)
        )
        async with self._store.read() as session:
            return [_record(row) for row in await session.scalars(query)]

    async def get(self, project_id: str, prompt_id: str, version: str | None = None) -> Prompt | None:
        """Find a version of a prompt, the newest when none is named; None when there is none.

        Raises:
            StoreError: The database failed.
        """
        if not _ID.fullmatch(prompt_id) or (version is not None and not _VERSION.fullmatch(version)):
            return None
        query = select(PromptRow).where(PromptRow.project_id == project_id, PromptRow.prompt_id == prompt_id)
        if version is not None:
            query = query.where(PromptRow.version == int(version))
        async with self._store.read() as session:
            row = await session.scalar(query.order_by(PromptRow.version.desc()).limit(1))
        return None if row is None else _record(row)

    async def delete(self, prompt_id: str, version: str | None = None, project_id: str = DEFAULT_PROJECT_ID) -> int:
        """Delete a version of a prompt, or all of them when none is named.

        The number of a deleted newest version is given again to the next one.

        Returns:
            How many versions went.

        Raises:
            UsageError: There is none.
        """
        found = delete(PromptRow).where(PromptRow.project_id == project_id, PromptRow.prompt_id == prompt_id)
        if version is not None:
            # What is no number is no version: 0 never was one.
            found = found.where(PromptRow.version == (int(version) if _VERSION.fullmatch(version) else 0))
        async with self._store.write() as session:
            gone = (await session.scalars(found.returning(PromptRow.version))).all()
        if not gone:
            which = f"prompt {prompt_id!r}" if version is None else f"version {version!r} of prompt {prompt_id!r}"
            raise UsageError(f"there is no {which} in project {project_id!r}")
        return len(gone)


def _record(row: PromptRow) -> Prompt:
    return Prompt(row.prompt_id, str(row.version), row.project_id, row.instructions, row.voice, row.created_at)
