"""Holds one dialogue in virtual time and notes what was heard when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from antiphon.audio.pcm import PCM
from antiphon.cli.turn_bench.material import SPEECH, Dialogue
from antiphon.cli.turn_bench.sound import Sounds
from antiphon.core import events as ev
from antiphon.core.config import Config
from antiphon.core.inputs import CreateResponse
from antiphon.core.items import INPUT_RATE, Message
from antiphon.runtime.manager import SessionManager
from antiphon.runtime.playout import FRAME_SECONDS

CHUNK = INPUT_RATE // 50
TAIL = 4.0
"""Seconds of silence after the user's last sound, when the agent was not speaking."""
AFTER_SPEECH = 3.0
"""Seconds without the agent's voice after which a dialogue over its speech is over."""
LONGEST = 60.0
FLOOR = 4
"""RMS of the noise floor in int16 units: -78 dBFS."""
AUDIBLE = 100
"""Peak from which a frame of the agent counts as sound."""


@dataclass(slots=True)
class Heard:
    """A dialogue as an ear in the middle heard it; seconds since its beginning.

    Attributes:
        said: First and last sound of each utterance.
        frames: When each frame of the agent began, and its peak.
        events: What the session told, and when.
        history: The agent's words in the history at the end, message by message.
    """

    dialogue: Dialogue
    said: list[tuple[float, float]] = field(default_factory=list)
    frames: list[tuple[float, int]] = field(default_factory=list)
    events: list[tuple[float, ev.Event]] = field(default_factory=list)
    history: tuple[str, ...] = ()

    def voice(self) -> Iterator[tuple[float, float]]:
        """Stretches of the agent's voice, ducked or not; gaps up to 100 ms do not count."""
        start = end = None
        for at, peak in self.frames:
            if peak < AUDIBLE:
                continue
            if start is None or end is None:
                start = at
            elif at > end + 0.1:
                yield start, end
                start = at
            end = at + FRAME_SECONDS
        if start is not None and end is not None:
            yield start, end


class _Ear:
    """The person's loudspeaker."""

    latency = 0.0

    def __init__(self, heard: Heard, begun: float) -> None:
        self._heard, self._begun = heard, begun

    def play(self, frame: PCM, at: float) -> None:
        self._heard.frames.append((at - self._begun, int(np.abs(frame.astype(np.int32)).max())))


async def play(dialogue: Dialogue, sounds: Sounds, manager: SessionManager, config: Config) -> Heard:
    """Hold a dialogue; to be called on a virtual loop, or it takes its time."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    heard = Heard(dialogue)
    session = manager.open(
        config,
        lambda event: heard.events.append((loop.time() - begun, event)),
        seed=f"{len(dialogue.utterances[0].text)}{begun:.0f}",
        speaker=_Ear(heard, begun),
    )
    session.start()
    if dialogue.agent_speaks:
        session.do(CreateResponse, say=SPEECH)
    microphone = _Microphone(heard, sounds)
    due = begun
    while not microphone.is_over(loop.time() - begun):
        due += CHUNK / INPUT_RATE
        await asyncio.sleep(max(0.0, due - loop.time()))
        session.hear(microphone.chunk(due - begun))
    heard.history = tuple(
        item.text for item in session.state.conversation.items if isinstance(item, Message) and item.role == "assistant"
    )
    await session.close()
    return heard


class _Microphone:
    """The user's side, 20 ms at a time: utterances when they are due, a noise floor between."""

    def __init__(self, heard: Heard, sounds: Sounds) -> None:
        self._heard = heard
        dialogue = heard.dialogue
        self._waiting = [(utterance, sounds.of(dialogue, utterance)) for utterance in dialogue.utterances]
        self._floor = np.random.default_rng(1)
        self._rest = np.zeros(0, np.int16)
        self._ended_at = 0.0

    def chunk(self, now: float) -> PCM:
        """What was picked up in the 20 ms up to `now`."""
        start = now - CHUNK / INPUT_RATE
        if not len(self._rest) and self._waiting and self._is_due(start):
            self._rest = self._waiting.pop(0)[1]
            self._heard.said.append((start, start + len(self._rest) / INPUT_RATE))
        chunk = self._floor.normal(0, FLOOR, CHUNK).astype(np.int16)
        sound, self._rest = self._rest[:CHUNK], self._rest[CHUNK:]
        chunk[: len(sound)] += sound
        if len(sound):
            self._ended_at = now
        return chunk

    def _is_due(self, now: float) -> bool:
        utterance = self._waiting[0][0]
        if self._heard.said:
            return now >= self._ended_at + utterance.after
        if utterance.cue == "start":
            return now >= utterance.after
        return bool(self._heard.frames) and now >= self._heard.frames[0][0] + utterance.after

    def is_over(self, now: float) -> bool:
        """Whether nothing more is to be expected of either side."""
        if now > LONGEST:
            return True
        if self._waiting or len(self._rest):
            return False
        last_voice = self._heard.frames[-1][0] if self._heard.frames else 0.0
        quiet = now - max(self._ended_at, last_voice)
        return quiet >= (AFTER_SPEECH if self._heard.frames else TAIL)
