"""Going wrong on purpose, and counting how often an entry of a script was used."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import NoReturn

from antiphon.engines.ports import EngineError
from antiphon.engines.scripted.script import Fault

KEPT_REQUESTS = 1000
"""How many requests an engine remembers for tests to look at."""


class Uses:
    """Counts uses of a script's entries by their position."""

    def __init__(self) -> None:
        self._used: Counter[int] = Counter()

    def left(self, index: int, times: int) -> bool:
        """Whether the entry may be used again; ``times`` 0 has no end."""
        return times == 0 or self._used[index] < times

    def take(self, index: int) -> None:
        """Count one use."""
        self._used[index] += 1


async def go_wrong(engine: str, fault: Fault) -> NoReturn:
    """Raise the scripted error, or never return.

    Raises:
        EngineError: of the scripted kind. ``rubbish`` and ``truncated`` are the engines' own to play; where an engine
            has no such answer they are errors of kind ``bad_output``.
    """
    if fault == "hang":
        await asyncio.get_running_loop().create_future()
    if fault == "hang" or fault == "rubbish" or fault == "truncated":
        raise EngineError(engine, "bad_output", f"scripted fault {fault!r}")
    raise EngineError(engine, fault, f"scripted failure ({fault})")


async def pause(seconds: float) -> None:
    """Sleep, or go on at once: a delay of 0 costs nothing."""
    if seconds > 0:
        await asyncio.sleep(seconds)
