from __future__ import annotations

import asyncio
import re
import time

import numpy as np
import pytest

from antiphon.audio.files import read_speech
from antiphon.audio.resample import resample
from antiphon.engines.local import LocalEngines
from antiphon.engines.ports import PCM, EngineError, SttRequest, TtsRequest

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="session")]

BECKETT = "ever tried ever failed no matter try again fail again fail better"
TWO_CITIES = """it was the best of times it was the worst of times it was the age of wisdom it was the age of
foolishness it was the epoch of belief it was the epoch of incredulity it was the season of light it was the season of
darkness it was the spring of hope it was the winter of despair we had everything before us we had nothing before us we
were all going direct to heaven we were all going direct the other way in short the period was so far like the present
period that some of its noisiest authorities insisted on its being received for good or for evil in the superlative
degree of comparison only"""


def word_errors(said: str, heard: str) -> float:
    """Substitutions, insertions and deletions for each word that was said."""
    reference, words = (re.findall(r"\w+(?:'\w+)?", text.lower()) for text in (said, heard))
    row = list(range(len(words) + 1))
    for i, wanted in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, word in enumerate(words, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (wanted != word))
    return row[-1] / len(reference)


async def test_a_person_is_understood(engines: LocalEngines, beckett: PCM) -> None:
    await engines.stt.warm_up()
    assert engines.stt.readiness()
    assert word_errors(BECKETT, await engines.stt.transcribe(SttRequest(beckett, language="en-US"))) == 0


async def test_a_long_passage_is_cut_and_joined(engines: LocalEngines) -> None:
    audio = read_speech(engines.stt._process.models_dir / "samples/two_cities.wav")
    assert len(audio) > 40 * 16_000
    assert word_errors(TWO_CITIES, await engines.stt.transcribe(SttRequest(audio))) < 0.05


async def test_what_the_voice_says_is_understood(engines: LocalEngines) -> None:
    text = "Your table for two is booked for tomorrow evening. Is there anything else that I can do for you?"
    chunks = [np.zeros(12_000, np.int16)]
    chunks += [chunk.audio async for chunk in engines.tts.synthesize(TtsRequest(text))]
    heard = await engines.stt.transcribe(SttRequest(resample(np.concatenate(chunks), 24_000, 16_000)))
    assert word_errors(text, heard) < 0.25


async def test_nothing_said_is_no_text(engines: LocalEngines, noise: PCM) -> None:
    for nothing in (noise, np.zeros(0, np.int16), np.zeros(16_000, np.int16), noise[:2000]):
        assert await engines.stt.transcribe(SttRequest(nothing)) == ""


async def test_other_languages_are_refused(engines: LocalEngines, beckett: PCM) -> None:
    with pytest.raises(EngineError, match="English only, got 'de'") as caught:
        await engines.stt.transcribe(SttRequest(beckett, language="de"))
    assert caught.value.kind == "rejected"


async def test_cancelling_stops_the_work(engines: LocalEngines, beckett: PCM) -> None:
    await engines.stt.warm_up()
    process = engines.stt._process
    long = SttRequest(np.tile(beckett, 60))
    tasks = [asyncio.create_task(engines.stt.transcribe(long)) for _ in range(2)]
    while len(process._calls) < 2:
        await asyncio.wait(tasks, timeout=0.001)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert not process._calls
    started = time.monotonic()
    assert await engines.stt.transcribe(SttRequest(beckett)) != ""
    assert time.monotonic() - started < 8, "ten minutes of speech on each thread would take far longer"
