"""A dialogue held in virtual time, with scripted ears and a voice made of tones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from antiphon.cli.turn_bench.material import NOISES, Dialogue, Utterance
from antiphon.cli.turn_bench.play import play
from antiphon.cli.turn_bench.score import Result, score
from antiphon.cli.turn_bench.sound import PEAK, Sounds, noise
from antiphon.core.config import Config, Turn
from antiphon.engines.ports import Tts, TtsChunk, TtsRequest
from antiphon.engines.scripted import ScriptedLlm, ScriptedStt, ScriptedTts, ScriptedVad, SttScript
from antiphon.runtime.clock import run_virtual
from antiphon.runtime.engines import Engines
from antiphon.runtime.manager import Limits, SessionManager


class Voice:
    """Speaks a second of tone between two silences; counts."""

    def __init__(self) -> None:
        self.spoken: list[tuple[str, float]] = []

    async def synthesize(self, request: TtsRequest) -> AsyncIterator[TtsChunk]:
        self.spoken.append((request.text, request.speed))
        tone = (8000 * np.sin(np.arange(24_000) * 0.1)).astype(np.int16)
        yield TtsChunk(np.concatenate([np.zeros(4800, np.int16), tone, np.zeros(9600, np.int16)]))


def hold(dialogue: Dialogue, directory: Path, text: str = "Stop, I have a question for you.") -> Result:
    async def main() -> Result:
        sounds = Sounds(directory)
        await sounds.make([dialogue], cast(Tts, Voice()))
        stt = ScriptedStt(SttScript(default=text))
        manager = SessionManager(Engines(ScriptedVad(), None, stt, ScriptedLlm(), ScriptedTts()), Limits(sessions=1))
        try:
            return score(await play(dialogue, sounds, manager, Config(playout="server", turn=Turn())))
        finally:
            await manager.close()

    return run_virtual(main())


def test_a_turn_is_answered_after_the_wait(tmp_path: Path) -> None:
    result = hold(Dialogue("turn", "piper", (Utterance("Hello?", 0.5),), False), tmp_path)
    assert result.taken
    assert result.latency is not None and 0.45 < result.latency < 0.7


def test_an_interruption_stops_the_agent_and_is_answered(tmp_path: Path) -> None:
    result = hold(Dialogue("interruption", "piper", (Utterance("Stop.", 2.0, "agent"),), True), tmp_path)
    assert result.taken and result.unheard == 0
    assert result.stopped is not None and 0.2 < result.stopped < 1.0
    assert result.latency is not None


def test_a_backchannel_does_not(tmp_path: Path) -> None:
    dialogue = Dialogue("backchannel", "piper", (Utterance("Uh-huh.", 2.0, "agent"),), True)
    assert not hold(dialogue, tmp_path, "Uh-huh.").taken


async def test_sounds_are_made_once_trimmed_and_kept(tmp_path: Path) -> None:
    voice, far = Voice(), Utterance("words", 0.0, gain=0.25)
    dialogue = Dialogue("aside", "piper:0.9", (Utterance("words", 0.0), far), False)
    for _ in range(2):
        sounds = Sounds(tmp_path)
        await sounds.make([dialogue], cast(Tts, voice))
        near, soft = (sounds.of(dialogue, one) for one in dialogue.utterances)
        assert len(near) == pytest.approx(16_000, abs=200)
        assert np.abs(near).max() == pytest.approx(PEAK * 32767, rel=0.01)
        assert np.abs(soft).max() == pytest.approx(PEAK * 32767 / 4, rel=0.01)
    assert voice.spoken == [("words", 0.9)]


@pytest.mark.parametrize("name", NOISES)
def test_noises_are_short_and_as_loud_as_speech(name: str) -> None:
    made = noise(name)
    assert 0.2 < len(made) / 16_000 < 1.5
    assert np.abs(made).max() == pytest.approx(PEAK * 32767, rel=0.01)
    assert np.array_equal(made, noise(name))


def test_there_is_no_other_noise() -> None:
    with pytest.raises(ValueError, match="thunder"):
        noise("thunder")
