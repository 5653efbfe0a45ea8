"""The shared timer."""

from __future__ import annotations

import asyncio

from antiphon.transports.sweeper import Sweeper


class Member:
    def __init__(self, sweeper: Sweeper, goes_at: int = 0) -> None:
        self.sweeper, self.goes_at = sweeper, goes_at
        self.times: list[float] = []
        self.swept = asyncio.Event()

    def sweep(self, now: float) -> None:
        self.times.append(now)
        self.swept.set()
        if len(self.times) == self.goes_at:
            self.sweeper.discard(self)


async def test_members_are_swept_until_they_go_and_the_timer_with_the_last() -> None:
    sweeper = Sweeper(0.001)
    assert not sweeper.ticking
    once, twice = Member(sweeper, 1), Member(sweeper, 2)
    sweeper.add(once)
    sweeper.add(twice)
    assert sweeper.ticking
    while len(sweeper):
        twice.swept.clear()
        await twice.swept.wait()
    assert (len(once.times), len(twice.times)) == (1, 2)
    assert twice.times == sorted(twice.times)
    assert not sweeper.ticking


async def test_a_hundred_members_share_one_timer() -> None:
    sweeper = Sweeper(1000.0)
    members = [Member(sweeper) for _ in range(100)]
    for member in members:
        sweeper.add(member)
    sweeper.sweep(7.0)
    assert all(member.times == [7.0] for member in members)
    for member in members:
        sweeper.discard(member)
        sweeper.discard(member)
    assert not sweeper.ticking
