"""What a scripted session hears with: STT, voice activity and the end of turn."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from antiphon.audio.pcm import level
from antiphon.core.items import INPUT_RATE
from antiphon.engines.ports import PCM, SttRequest, VadState
from antiphon.engines.scripted.faults import KEPT_REQUESTS, Uses, go_wrong, pause
from antiphon.engines.scripted.script import SttScript, TurnScript, Utterance, VadScript
from antiphon.engines.scripted.tones import Tones


class ScriptedStt:
    """Answers what its script says.

    A partial request sees the entry that the final one will get, and leaves it there. A request that is cancelled
    gives its entry of the sequence back, so that speculation does not use the script up.

    Attributes:
        requests: (seconds of audio, partial) of the latest 1,000 requests, in order.
    """

    def __init__(self, script: SttScript | None = None, *, name: str = "scripted") -> None:
        self.name = name
        self.requests: deque[tuple[float, bool]] = deque(maxlen=KEPT_REQUESTS)
        self._script = script or SttScript()
        self._rules = [(i, u) for i, u in enumerate(self._script.utterances) if u.conditional]
        self._sequence = [u for u in self._script.utterances if not u.conditional]
        self._next = list(range(len(self._sequence)))
        self._tones = Tones(self._script.words) if self._script.words else None
        self._uses = Uses()
        self._calls = 0

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to release."""

    async def transcribe(self, request: SttRequest) -> str:
        """The scripted text.

        Raises:
            EngineError: the entry says so.
        """
        self.requests.append((request.audio.size / INPUT_RATE, request.partial))
        if request.partial:
            return await self._partial(request)
        self._calls += 1
        rule = self._matching(request.audio)
        if rule is not None:
            self._uses.take(rule)
            return await self._answer(self._script.utterances[rule], request.audio)
        if not self._next and self._script.repeat:
            self._next = list(range(len(self._sequence)))
        if not self._next:
            return await self._answer(Utterance(text=self._unscripted(request.audio)), request.audio)
        index = heapq.heappop(self._next)
        try:
            return await self._answer(self._sequence[index], request.audio)
        except asyncio.CancelledError:
            heapq.heappush(self._next, index)
            raise

    async def _partial(self, request: SttRequest) -> str:
        rule = self._matching(request.audio)
        if rule is not None:
            entry = self._script.utterances[rule]
        elif self._next:
            entry = self._sequence[self._next[0]]
        elif self._sequence and self._script.repeat:
            entry = self._sequence[0]
        else:
            entry = Utterance(text=self._unscripted(request.audio))
        await pause(self._script.delay if entry.delay is None else entry.delay)
        return entry.text if entry.partial is None else entry.partial

    async def _answer(self, entry: Utterance, audio: PCM) -> str:
        await pause(self._script.delay if entry.delay is None else entry.delay)
        if entry.fail == "rubbish":
            return cast(str, None)
        if entry.fail == "truncated":
            return entry.text[: len(entry.text) // 2]
        if entry.fail is not None:
            await go_wrong(self.name, entry.fail)
        return entry.text

    def _matching(self, audio: PCM) -> int | None:
        return next((i for i, u in self._rules if self._uses.left(i, u.times) and self._holds(u, audio)), None)

    def _holds(self, entry: Utterance, audio: PCM) -> bool:
        if entry.call is not None and entry.call != self._calls:
            return False
        seconds = audio.size / INPUT_RATE
        if not (entry.min_seconds or 0.0) <= seconds <= (np.inf if entry.max_seconds is None else entry.max_seconds):
            return False
        if entry.min_dbfs is None and entry.max_dbfs is None:
            return True
        low = -np.inf if entry.min_dbfs is None else entry.min_dbfs
        return bool(low <= level(audio) <= (np.inf if entry.max_dbfs is None else entry.max_dbfs))

    def _unscripted(self, audio: PCM) -> str:
        return self._script.default if self._tones is None else self._tones.hear(audio) or self._script.default


class ScriptedVad:
    """Energy as voice activity: 1.0 for a frame at or above the script's level, else 0.0. Keeps no state."""

    frame = 512

    def __init__(self, script: VadScript | None = None) -> None:
        dbfs = (script or VadScript()).dbfs
        self._energy = np.float32(self.frame * 10 ** (dbfs / 10))

    def probabilities(self, frames: NDArray[np.float32], states: Sequence[VadState]) -> NDArray[np.float32]:
        """One of 0.0 and 1.0 per row of ``frames`` [B, 512] in -1..1."""
        energy: NDArray[np.float32] = np.einsum("ij,ij->i", frames, frames)
        return (energy >= self._energy).astype(np.float32)


class ScriptedTurn:
    """Answers its script's probabilities in order; a cancelled request gives its one back."""

    def __init__(self, script: TurnScript | None = None, *, name: str = "scripted") -> None:
        self.name = name
        self._script = script or TurnScript()
        self._next = list(range(len(self._script.probabilities)))

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to release."""

    async def predict(self, audio: PCM) -> float:
        """The next scripted probability that the turn is over, 0 to 1."""
        index = heapq.heappop(self._next) if self._next else None
        try:
            await pause(self._script.delay)
        except asyncio.CancelledError:
            if index is not None:
                heapq.heappush(self._next, index)
            raise
        return self._script.default if index is None else self._script.probabilities[index]
