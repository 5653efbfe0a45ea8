from __future__ import annotations

import asyncio

import numpy as np
import pytest

from antiphon.audio.pcm import PCM
from antiphon.cli.call.drive import CHUNK, Driver, settled
from antiphon.core.config import Config
from antiphon.core.inputs import CreateResponse, GenerationDone, TextGenerated
from antiphon.core.session import open_session, step
from antiphon.core.state import State
from antiphon.runtime.clock import run_virtual


class Listener:
    """A session as the driver sees it: busy from each sound until some seconds later."""

    def __init__(self, answers: float = 0.0, ends_at: float | None = None) -> None:
        self.state, _ = open_session(Config(), seed="0123456789", at=0.0)
        self._idle = self.state
        self._busy = busy(self.state)
        self._answers = answers
        self._ends_at = ends_at
        self._until = 0.0
        self.heard: list[tuple[float, PCM]] = []

    @property
    def closed(self) -> bool:
        return self._ends_at is not None and asyncio.get_running_loop().time() >= self._ends_at

    def hear(self, pcm: PCM) -> None:
        now = asyncio.get_running_loop().time()
        self.heard.append((now, pcm))
        if pcm.any():
            self._until = now + self._answers
        self.state = self._busy if now < self._until else self._idle

    def sounds(self) -> list[float]:
        return [at for at, pcm in self.heard if pcm.any()]


def busy(state: State) -> State:
    return step(state, CreateResponse(at=0.0))[0]


async def play(listener: Listener, *lengths: int, idle: float = 30.0) -> tuple[bool, list[PCM]]:
    kept: list[PCM] = []
    driver = Driver(listener, kept.append, idle)
    return await driver.play([np.ones(n, np.int16) for n in lengths]), kept


def test_chunks_come_when_their_time_is_over() -> None:
    listener = Listener()
    finished, kept = run_virtual(play(listener, 16_000 + 100))
    assert finished
    assert listener.sounds()[:2] == [pytest.approx(0.02), pytest.approx(0.04)]
    assert listener.sounds()[-1] == pytest.approx(1 + 100 / 16_000)
    assert [len(pcm) for pcm in kept[:51]] == [CHUNK] * 50 + [100]
    assert sum(map(len, kept)) == sum(len(pcm) for _, pcm in listener.heard)
    assert listener.heard[-1][0] == pytest.approx(sum(map(len, kept)) / 16_000)


def test_the_next_recording_waits_for_the_answer() -> None:
    listener = Listener(answers=5.0)
    finished, _ = run_virtual(play(listener, 320, 320))
    first, second = listener.sounds()
    assert finished
    assert second - first == pytest.approx(6.0, abs=0.1)


def test_an_answer_that_never_comes_is_given_up() -> None:
    listener = Listener(answers=1000.0)
    finished, _ = run_virtual(play(listener, 320, idle=3.0))
    assert not finished
    assert listener.heard[-1][0] == pytest.approx(3.0, abs=0.1)


def test_a_session_that_ends_by_itself_ends_the_recording() -> None:
    listener = Listener(ends_at=0.5)
    finished, _ = run_virtual(play(listener, 16_000))
    assert not finished
    assert len(listener.sounds()) == 25


def test_settled() -> None:
    state, _ = open_session(Config(), seed="0123456789", at=0.0)
    assert settled(state)
    state = busy(state)
    assert not settled(state)
    assert state.active is not None
    job = state.active.job
    for given in (TextGenerated(at=1.0, job=job, delta="Hello."), GenerationDone(at=1.0, job=job)):
        state, _ = step(state, given)
    assert not settled(state)
