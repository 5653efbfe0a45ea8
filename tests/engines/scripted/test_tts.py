from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.ports import EngineError, TtsChunk, TtsRequest
from antiphon.engines.scripted import Clause, ScriptedTts, TtsScript
from antiphon.runtime.clock import run_virtual


async def collect(tts: ScriptedTts, request: TtsRequest) -> list[tuple[float, TtsChunk]]:
    loop = asyncio.get_running_loop()
    return [(loop.time(), chunk) async for chunk in tts.synthesize(request)]


def say(tts: ScriptedTts, text: str, **fields: object) -> list[TtsChunk]:
    return [chunk for _, chunk in run_virtual(collect(tts, TtsRequest(text, **fields)))]  # type: ignore[arg-type]


@given(st.text(max_size=80), st.floats(0.25, 4.0))
def test_length_and_word_ends_follow_from_the_text(text: str, speed: float) -> None:
    tts = ScriptedTts(TtsScript(chunk=0.3))
    chunks = say(tts, text, speed=speed)
    total = sum(c.audio.size for c in chunks)
    assert total == tts.samples(text, speed) == round(len(text.strip()) * 1600 / speed)
    words = [w for c in chunks for w in c.words]
    assert [w.text for w in words] == text.split()
    ends = [w.end for w in words]
    assert ends == sorted(ends)
    assert not ends or ends[-1] == total
    done = 0
    for chunk in chunks:
        done += chunk.audio.size
        assert all(done - chunk.audio.size < w.end <= done for w in chunk.words)


def test_the_tone_is_the_voice() -> None:
    tts = ScriptedTts(TtsScript(frequency=200, voices={"high": 400}, dbfs=-20.0))
    assert list(tts.voices) == ["tone", "high"]
    for voice, hertz in (("", 200), ("high", 400), ("unknown", 200)):
        audio = np.concatenate([c.audio for c in say(tts, "a" * 30, voice=voice)])
        assert audio.dtype == np.int16
        assert int(np.argmax(np.abs(np.fft.rfft(audio)))) / 2 == hertz
        rms = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
        assert 20 * np.log10(rms / 32768) == pytest.approx(-20.0, abs=0.1)


def test_the_same_text_gives_the_same_samples_without_copies() -> None:
    tts = ScriptedTts()
    first, second = say(tts, "Hello there."), say(tts, "Hello there.")
    assert all(np.shares_memory(a.audio, b.audio) for a, b in zip(first, second, strict=True))
    with pytest.raises(ValueError, match="read-only"):
        first[0].audio[0] = 1
    assert list(tts.requests) == ["Hello there."] * 2


def test_long_texts_outgrow_the_first_tone() -> None:
    audio = np.concatenate([c.audio for c in say(ScriptedTts(), "a" * 1000)])
    assert audio.size == 1_600_000
    assert np.array_equal(audio[24_000:48_000], audio[1_200_000:1_224_000])


def test_chunks_come_at_their_times() -> None:
    tts = ScriptedTts(TtsScript(delay=0.5, chunk_delay=0.1, chunk=0.4))
    got = run_virtual(collect(tts, TtsRequest("a" * 15)))
    assert [(round(at, 6), c.audio.size) for at, c in got] == [(0.5, 9600), (0.6, 9600), (0.7, 4800)]


def test_the_third_clause_fails_after_some_audio() -> None:
    tts = ScriptedTts(TtsScript(rules=(Clause(call=3, fail="crashed", after=0.3, times=1),), chunk=0.2))

    async def third() -> int:
        samples = 0
        with pytest.raises(EngineError) as caught:
            async for chunk in tts.synthesize(TtsRequest("a" * 15)):
                samples += chunk.audio.size
        assert caught.value.kind == "crashed"
        return samples

    assert [sum(c.audio.size for c in say(tts, "a" * 15)) for _ in range(2)] == [24_000, 24_000]
    assert run_virtual(third()) == 7200
    assert sum(c.audio.size for c in say(tts, "a" * 15)) == 24_000


def test_half_rubbish_and_hanging() -> None:
    rules = (
        Clause(match="HALF", fail="truncated", after=0.1),
        Clause(match="rubbish", fail="rubbish", delay=2.0),
        Clause(match="hang", fail="hang"),
    )
    tts = ScriptedTts(TtsScript(rules=rules, words=False))
    assert [c.audio.size for c in say(tts, "half a sentence")] == [2400]
    at, chunk = run_virtual(collect(tts, TtsRequest("rubbish")))[0]
    assert at == 2.0
    assert chunk.audio.dtype == np.float32
    assert not any(c.words for c in say(tts, "no words told"))

    async def main() -> None:
        async with asyncio.timeout(100):
            await collect(tts, TtsRequest("hang"))

    with pytest.raises(TimeoutError):
        run_virtual(main())
