from __future__ import annotations

import shutil
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from antiphon.engines.local import LocalEngines
from antiphon.engines.local.options import LocalOptions
from antiphon.engines.local.process import EngineProcess
from antiphon.engines.local.tts import EspeakTts, LocalTts
from antiphon.engines.ports import EngineError, TtsChunk, TtsRequest

TEXT = "The quick brown fox jumps over the lazy dog. Then it rests, at last."
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def check(chunks: list[TtsChunk]) -> float:
    """Words come in order and in the chunk that they end in; the length in seconds."""
    at, words, ends = 0, [], []
    for chunk in chunks:
        assert chunk.audio.dtype == np.int16
        at += len(chunk.audio)
        assert all(word.end <= at for word in chunk.words)
        words += [word.text for word in chunk.words]
        ends += [word.end for word in chunk.words]
    assert words == TEXT.split()
    assert ends == sorted(ends)
    return at / 24_000


@pytest.mark.models
@pytest.mark.asyncio(loop_scope="session")
async def test_speech_comes_in_pieces_with_its_words(engines: LocalEngines) -> None:
    await engines.tts.warm_up()
    assert engines.tts.readiness()
    chunks = [chunk async for chunk in engines.tts.synthesize(TtsRequest(TEXT, voice="nobody's"))]
    assert 3 < check(chunks) < 7
    assert len(chunks) > 5
    assert len(chunks[0].audio) < 0.4 * 24_000
    assert max(int(np.abs(chunk.audio).max()) for chunk in chunks) > 5000


@pytest.mark.models
@pytest.mark.asyncio(loop_scope="session")
async def test_closing_the_iterator_stops_the_work(engines: LocalEngines) -> None:
    process = engines.tts._process
    async with aclosing(engines.tts.synthesize(TtsRequest("A rather long story. " * 200))) as chunks:
        await anext(chunks)
        assert process._calls
    assert not process._calls
    assert [chunk async for chunk in engines.tts.synthesize(TtsRequest("Hello."))]


@pytest.mark.models
@pytest.mark.asyncio(loop_scope="session")
async def test_voices_are_listed(engines: LocalEngines) -> None:
    assert engines.tts.voices[0] == "joe"
    assert ("espeak" in engines.tts.voices) == (shutil.which("espeak-ng") is not None)


@needs_espeak
@pytest.mark.parametrize("speed", [1.0, 1.5])
async def test_espeak_speaks(speed: float) -> None:
    engine = EspeakTts()
    await engine.warm_up()
    assert engine.readiness()
    seconds = check([chunk async for chunk in engine.synthesize(TtsRequest(TEXT, speed=speed))])
    assert 2 / speed < seconds < 7 / speed
    assert [chunk async for chunk in engine.synthesize(TtsRequest("  "))] == []
    await engine.close()


@needs_espeak
async def test_espeak_can_be_the_voice_of_the_stack(tmp_path: Path) -> None:
    process = EngineProcess(tmp_path, LocalOptions(voice="espeak"))
    engine = LocalTts(process)
    await engine.warm_up()
    assert engine.readiness()
    check([chunk async for chunk in engine.synthesize(TtsRequest(TEXT))])
    assert process.pid is None, "no process is needed for it"
    await engine.close()


async def test_espeak_is_missed_clearly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    engine = EspeakTts()
    assert not engine.readiness()
    with pytest.raises(EngineError, match="espeak-ng is not installed") as caught:
        await engine.warm_up()
    assert caught.value.kind == "unavailable"


async def test_a_program_that_fails_is_bad_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"espeak-ng \(exit code 3\) wrote no sound") as caught:
        [chunk async for chunk in EspeakTts().synthesize(TtsRequest("Hello."))]
    assert caught.value.kind == "bad_output"
