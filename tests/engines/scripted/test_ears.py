from __future__ import annotations

import asyncio

import numpy as np
import pytest

from antiphon.engines.ports import PCM, EngineError, SttRequest, VadState
from antiphon.engines.scripted import (
    Fault,
    ScriptedStt,
    ScriptedTurn,
    ScriptedVad,
    SttScript,
    Tones,
    TurnScript,
    Utterance,
    VadScript,
)
from antiphon.runtime.clock import run_virtual


def tone(seconds: float, dbfs: float = -20.0) -> PCM:
    t = np.arange(round(seconds * 16_000)) / 16_000
    return (np.sin(2 * np.pi * 250 * t) * 32768 * 2**0.5 * 10 ** (dbfs / 20)).astype(np.int16)


def ask(stt: ScriptedStt, audio: PCM | None = None, partial: bool = False) -> str:
    request = SttRequest(tone(1.0) if audio is None else audio, partial=partial)
    return run_virtual(stt.transcribe(request))


def test_the_sequence_goes_in_order_then_the_default_answers() -> None:
    stt = ScriptedStt(SttScript(utterances=(Utterance(text="one"), Utterance(text="two")), default="rest"))
    assert [ask(stt) for _ in range(4)] == ["one", "two", "rest", "rest"]
    assert list(stt.requests) == [(1.0, False)] * 4


def test_the_sequence_can_start_anew() -> None:
    stt = ScriptedStt(SttScript(utterances=(Utterance(text="one"), Utterance(text="two")), repeat=True))
    assert [ask(stt) for _ in range(2)] == ["one", "two"]
    assert ask(stt, partial=True) == "one"
    assert [ask(stt) for _ in range(3)] == ["one", "two", "one"]


def test_partials_see_the_next_entry_and_leave_it_there() -> None:
    stt = ScriptedStt(SttScript(utterances=(Utterance(text="one", partial="o"), Utterance(text="two"))))
    assert [ask(stt, partial=p) for p in (True, True, False, True, False, True)] == ["o", "o", "one", "two", "two", ""]


def test_a_cancelled_request_gives_its_entry_back() -> None:
    stt = ScriptedStt(SttScript(utterances=(Utterance(text="one", delay=5.0), Utterance(text="two"))))

    async def main() -> list[str]:
        speculative = asyncio.create_task(stt.transcribe(SttRequest(tone(0.5))))
        await asyncio.sleep(0.1)
        speculative.cancel()
        await asyncio.gather(speculative, return_exceptions=True)
        return [await stt.transcribe(SttRequest(tone(1.0))) for _ in range(2)]

    assert run_virtual(main()) == ["one", "two"]


def test_rules_match_on_length_level_and_ordinal_before_the_sequence() -> None:
    rules = (
        Utterance(text="short", max_seconds=0.5),
        Utterance(text="loud", min_dbfs=-10),
        Utterance(text="quiet", max_dbfs=-40, times=1),
        Utterance(text="fifth", call=5),
        Utterance(text="long", min_seconds=3.0),
    )
    stt = ScriptedStt(SttScript(utterances=(Utterance(text="first in sequence"), *rules), default="none"))
    assert ask(stt, tone(0.4)) == "short"
    assert ask(stt, tone(1.0, -6.0), partial=True) == "loud"
    assert ask(stt, tone(1.0, -6.0)) == "loud"
    assert ask(stt, np.zeros(16_000, np.int16)) == "quiet"
    assert ask(stt, np.zeros(16_000, np.int16)) == "first in sequence"
    assert ask(stt) == "fifth"
    assert ask(stt, tone(4.0)) == "long"
    assert ask(stt) == "none"


def test_words_in_tones_are_their_own_transcript() -> None:
    words = ("hello", "there", "stop")
    stt = ScriptedStt(SttScript(words=words, default="noise"))
    assert ask(stt, Tones(words).speak("stop hello")) == "stop hello"
    assert ask(stt, np.zeros(1000, np.int16)) == "noise"


@pytest.mark.parametrize("kind", ["timeout", "unavailable", "crashed", "bad_output", "rejected"])
def test_a_failing_entry_is_one_failing_call(kind: Fault) -> None:
    stt = ScriptedStt(SttScript(utterances=(Utterance(fail=kind), Utterance(text="now"))), name="ear")
    with pytest.raises(EngineError, match=f"^ear: scripted failure \\({kind}\\)$") as caught:
        ask(stt)
    assert caught.value.kind == kind
    assert ask(stt) == "now"


def test_rubbish_and_half_an_answer() -> None:
    stt = ScriptedStt(SttScript(utterances=(Utterance(fail="rubbish"), Utterance(text="abcdef", fail="truncated"))))
    assert ask(stt) is None
    assert ask(stt) == "abc"


def test_it_hangs_until_it_is_cancelled_and_waits_as_long_as_it_is_told() -> None:
    stt = ScriptedStt(SttScript(utterances=(Utterance(fail="hang"), Utterance(text="late", delay=7.0)), delay=0.5))

    async def main() -> tuple[float, str, float]:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await stt.transcribe(SttRequest(tone(1.0)))
        at = loop.time()
        # The hanging call was cancelled, so its entry is next again; a partial does not fail.
        text = await stt.transcribe(SttRequest(tone(1.0), partial=True))
        return at, text, loop.time()

    assert run_virtual(main()) == (60.0, "", 60.5)


def test_energy_is_voice() -> None:
    vad = ScriptedVad(VadScript(dbfs=-45.0))
    frames = np.stack([tone(0.032, level) for level in (-20.0, -44.0, -46.0)] + [np.zeros(512, np.int16)])
    p = vad.probabilities(frames.astype(np.float32) / np.float32(32768), [VadState() for _ in frames])
    assert p.dtype == np.float32
    assert p.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_turn_probabilities_come_in_order_and_cancelled_ones_again() -> None:
    turn = ScriptedTurn(TurnScript(probabilities=(0.1, 0.9), default=0.7, delay=0.05))

    async def main() -> list[float]:
        task = asyncio.create_task(turn.predict(tone(1.0)))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return [await turn.predict(tone(1.0)) for _ in range(4)]

    assert run_virtual(main()) == [0.1, 0.9, 0.7, 0.7]
