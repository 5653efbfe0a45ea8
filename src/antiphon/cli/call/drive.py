"""Plays recordings into a session as a microphone would, and knows when the answer to them is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from antiphon.audio.pcm import PCM
from antiphon.core.items import INPUT_RATE
from antiphon.core.state import State

CHUNK = INPUT_RATE // 50
"""Samples (16 kHz) in the 20 ms that are handed over at a time."""

_SETTLE = 1.0
"""Seconds of nothing left to do after which an answer counts as over."""


class Ear(Protocol):
    """What the driver asks of a session."""

    @property
    def state(self) -> State: ...

    @property
    def closed(self) -> bool: ...

    def hear(self, pcm: PCM) -> None: ...


def settled(state: State) -> bool:
    """Whether nothing is under way: no speech, no turn to be answered, no answer, no voice, no tool."""
    return (
        state.turn.phase == "idle"
        and not state.pending
        and state.active is None
        and state.wanted is None
        and not state.tools
        and state.playout.mode == "stopped"
    )


class Driver:
    """Feeds one session, 20 ms every 20 ms, by the running loop's clock.

    Args:
        session: What hears.
        heard: Told each chunk as well, to keep it.
        idle: Seconds that the agent may take, after the user fell silent, without saying anything, before it is given
            up.
    """

    def __init__(self, session: Ear, heard: Callable[[PCM], None], idle: float = 30.0) -> None:
        self._session = session
        self._heard = heard
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._silence: PCM = np.zeros(CHUNK, np.int16)

    async def play(self, recordings: Sequence[PCM]) -> bool:
        """Play recordings (16 kHz), each when the answer to the one before is over, then wait for the last answer.

        Returns:
            Whether the agent came to an end; False when it took longer than `idle` or the session ended by itself.
        """
        finished = settled(self._session.state) or await self._wait()
        for recording in recordings:
            for start in range(0, len(recording), CHUNK):
                await self._hear(recording[start : start + CHUNK])
                if self._session.closed:
                    return False
            finished = await self._wait()
        return finished

    async def _hear(self, chunk: PCM) -> None:
        # A microphone hands over what has been said: the chunk comes when its time is over.
        self._due += len(chunk) / INPUT_RATE
        delay = self._due - self._loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        self._heard(chunk)
        self._session.hear(chunk)

    async def _wait(self) -> bool:
        """Feed silence until the agent has finished, or says nothing for too long."""
        quiet = waited = 0.0
        while quiet < _SETTLE:
            if waited > self._idle or self._session.closed:
                return False
            await self._hear(self._silence)
            state = self._session.state
            step = CHUNK / INPUT_RATE
            quiet = quiet + step if settled(state) else 0.0
            waited = 0.0 if state.playout.audible else waited + step
        return True
