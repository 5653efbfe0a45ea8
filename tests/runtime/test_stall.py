from __future__ import annotations

import asyncio

from antiphon.runtime.clock import run_virtual
from antiphon.runtime.stall import INTERVAL, StallWatch


class Looked:
    def __init__(self) -> None:
        self.at: list[float] = []

    def check_stalled(self, now: float) -> None:
        self.at.append(now)


def test_only_those_watched_are_looked_at() -> None:
    async def main() -> None:
        watch, one, other = StallWatch(), Looked(), Looked()
        watch.watch(one)
        watch.watch(one)
        await asyncio.sleep(INTERVAL * 2.5)
        assert len(one.at) == 2
        watch.watch(other)
        watch.forget(one)
        await asyncio.sleep(INTERVAL)
        assert len(one.at) == 2 and len(other.at) == 1
        watch.forget(other)
        watch.forget(other)
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(10)
        assert len(other.at) == 1 and asyncio.get_running_loop().time() == before + 10
        watch.watch(one)
        watch.close()
        await asyncio.sleep(1)
        assert len(one.at) == 2

    run_virtual(main())


def test_a_session_may_be_forgotten_from_within_a_look() -> None:
    class Leaving(Looked):
        def check_stalled(self, now: float) -> None:
            super().check_stalled(now)
            watch.forget(self)

    watch = StallWatch()

    async def main() -> None:
        leaving = Leaving()
        watch.watch(leaving)
        await asyncio.sleep(1)
        assert len(leaving.at) == 1

    run_virtual(main())
