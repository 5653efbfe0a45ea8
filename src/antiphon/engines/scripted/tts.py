"""A voice made of tones: exact lengths, exact word timings, next to no work."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import cast

import numpy as np

from antiphon.core.inputs import Word
from antiphon.core.items import OUTPUT_RATE
from antiphon.engines.ports import PCM, TtsChunk, TtsRequest
from antiphon.engines.scripted.faults import KEPT_REQUESTS, Uses, go_wrong, pause
from antiphon.engines.scripted.script import Clause, TtsScript

_WORD = re.compile(r"\S+")
_GROW = 30 * OUTPUT_RATE
_NO_RULE = Clause()


class ScriptedTts:
    """Plays a ``TtsScript``. Chunks are read-only views of one tone per voice, made when first needed.

    Attributes:
        requests: the latest 1,000 texts, in order.
    """

    def __init__(self, script: TtsScript | None = None, *, name: str = "scripted") -> None:
        self.name = name
        self.requests: deque[str] = deque(maxlen=KEPT_REQUESTS)
        self._calls = 0
        self._script = script or TtsScript()
        self.voices: Sequence[str] = ("tone", *self._script.voices)
        self._tones: dict[int, PCM] = {}
        self._uses = Uses()

    async def warm_up(self) -> None:
        """Make the default voice's tone."""
        self._tone(self._script.frequency, 1)

    async def close(self) -> None:
        """Nothing to release."""

    def samples(self, text: str, speed: float = 1.0) -> int:
        """How long a text becomes, in samples (24 kHz)."""
        return self._position(len(text.strip()), speed)

    async def synthesize(self, request: TtsRequest) -> AsyncIterator[TtsChunk]:
        """Stream the tone of a text.

        Raises:
            EngineError: a rule says so.
        """
        self.requests.append(request.text)
        self._calls += 1
        rule = self._choose(request.text)
        chunk_delay = self._script.chunk_delay if rule.chunk_delay is None else rule.chunk_delay
        text = request.text.strip()
        total = self._position(len(text), request.speed)
        if rule.fail is not None:
            total = min(total, round(rule.after * OUTPUT_RATE))
        tone = self._tone(self._script.voices.get(request.voice, self._script.frequency), total)
        step = max(1, round(self._script.chunk * OUTPUT_RATE))
        words = self._words(text, request.speed) if self._script.words else []
        told = 0
        await pause(self._script.delay if rule.delay is None else rule.delay)
        for start in range(0, total, step):
            if start:
                await pause(chunk_delay)
            end = min(start + step, total)
            upto = told
            while upto < len(words) and words[upto].end <= end:
                upto += 1
            yield TtsChunk(tone[start:end], tuple(words[told:upto]))
            told = upto
        if rule.fail == "rubbish":
            yield TtsChunk(cast(PCM, np.full(100, np.nan, np.float32)))
        elif rule.fail is not None and rule.fail != "truncated":
            await go_wrong(self.name, rule.fail)

    def _choose(self, text: str) -> Clause:
        for index, rule in enumerate(self._script.rules):
            if (
                self._uses.left(index, rule.times)
                and (rule.call is None or rule.call == self._calls)
                and (rule.match is None or rule.match.casefold() in text.casefold())
            ):
                self._uses.take(index)
                return rule
        return _NO_RULE

    def _position(self, characters: int, speed: float) -> int:
        return round(characters * OUTPUT_RATE / (self._script.chars_per_second * speed))

    def _words(self, text: str, speed: float) -> list[Word]:
        return [Word(m[0], self._position(m.end(), speed)) for m in _WORD.finditer(text)]

    def _tone(self, frequency: int, samples: int) -> PCM:
        have = self._tones.get(frequency)
        if have is None or have.size < samples:
            size = -(-max(samples, 1) // _GROW) * _GROW
            amplitude = 32767 * min(1.0, 10 ** (self._script.dbfs / 20) * 2**0.5)
            second = np.sin(2 * np.pi * frequency * np.arange(OUTPUT_RATE) / OUTPUT_RATE) * amplitude
            have = np.resize(second.astype(np.int16), size)
            have.flags.writeable = False
            self._tones[frequency] = have
        return have
