from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.engines.openai import OpenAiTts
from antiphon.engines.ports import PCM, EngineError, TtsRequest

if TYPE_CHECKING:
    from tests.engines.openai.conftest import Server

SOUND = (np.sin(np.arange(24_000) / 10) * 9000).astype(np.int16)


@pytest.fixture
async def make(server: Server) -> AsyncIterator[Any]:
    made: list[OpenAiTts] = []

    def factory(**options: Any) -> OpenAiTts:
        table = {"base_url": server.url, "model": "kokoro", "voice": "anna", **options}
        made.append(OpenAiTts("mouth", table))
        return made[-1]

    yield factory
    for engine in made:
        await engine.close()


async def say(tts: OpenAiTts, text: str = "Hello.", **fields: Any) -> PCM:
    chunks = [c.audio async for c in tts.synthesize(TtsRequest(text, **fields))]
    assert all(c.dtype == np.int16 for c in chunks)
    return np.concatenate([np.zeros(0, np.int16), *chunks])


async def test_the_audio_is_streamed_as_pcm(server: Server, make: Any) -> None:
    server.audio(SOUND[:5000].tobytes(), SOUND[5000:].tobytes())
    tts = make(voices=["anna", "ben"], instructions="Whisper.", extra={"seed": 1})
    assert np.array_equal(await say(tts, voice="ben", speed=9.0), SOUND)
    assert server.received[0].path == "/v1/audio/speech"
    assert server.received[0].json == {
        "model": "kokoro",
        "input": "Hello.",
        "voice": "ben",
        "response_format": "pcm",
        "speed": 4.0,
        "instructions": "Whisper.",
        "seed": 1,
    }


async def test_an_unknown_voice_is_the_default_one(server: Server, make: Any) -> None:
    server.audio(SOUND.tobytes())
    await say(make(), voice="somebody")
    body = server.received[0].json
    assert body["voice"] == "anna"
    assert "speed" not in body


def test_the_voices_of_openai_itself() -> None:
    assert OpenAiTts("o", {}).voices[0] == "alloy"
    assert "marin" in OpenAiTts("o", {}).voices
    assert list(OpenAiTts("o", {"voice": "nova"}).voices)[:2] == ["nova", "alloy"]


async def test_blank_text_is_not_sent(server: Server, make: Any) -> None:
    assert (await say(make(), " \n")).size == 0
    assert not server.received


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cuts=st.lists(st.integers(1, 47_999), max_size=8, unique=True))
def test_samples_are_whole_wherever_the_network_cuts(cuts: list[int]) -> None:
    from antiphon.engines.openai.endpoint import Endpoint
    from antiphon.engines.openai.options import Options
    from antiphon.engines.openai.tts import _Samples

    data = SOUND.tobytes()
    edges = [0, *sorted(cuts), len(data)]
    samples = _Samples(Endpoint("mouth", Options()))
    parts = [samples.take(data[a:b]) for a, b in pairwise(edges)]
    samples.finish()
    assert np.array_equal(np.concatenate(parts), SOUND)


async def test_odd_chunks_over_the_wire(server: Server, make: Any) -> None:
    data = SOUND.tobytes()
    server.audio(data[:1], data[1:3], data[3:10_001], data[10_001:])
    assert np.array_equal(await say(make()), SOUND)


async def test_another_rate_is_resampled(server: Server, make: Any) -> None:
    t = np.arange(22_050) / 22_050
    tone = (np.sin(2 * np.pi * 440 * t) * 9000).astype(np.int16)
    server.audio(tone[:7000].tobytes(), tone[7000:].tobytes())
    audio = await say(make(sample_rate=22_050))
    assert audio.size == pytest.approx(24_000, abs=2)
    assert int(np.argmax(np.abs(np.fft.rfft(audio[:24_000])))) == pytest.approx(440, abs=1)


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (SOUND.tobytes()[:-1], "audio/pcm", "the audio broke off in the middle of a sample"),
        (b"RIFF" + bytes(100), "application/octet-stream", "expected raw PCM, got a WAV file"),
        (b"OggS" + bytes(100), "audio/pcm", "expected raw PCM, got an Ogg file"),
        (bytes(100), "audio/mpeg", "answered audio/mpeg where raw PCM was asked for"),
        (b"<html></html>", "text/html; charset=utf-8", "answered text/html where raw PCM was asked for"),
        (b'{"audio": ""}', "application/json", "answered application/json where raw PCM was asked for"),
    ],
)
async def test_what_is_no_raw_pcm(server: Server, make: Any, data: bytes, kind: str, says: str) -> None:
    server.audio(data, kind=kind)
    with pytest.raises(EngineError, match=says) as caught:
        await say(make())
    assert caught.value.kind == "bad_output"


async def test_failures_before_and_in_the_audio(server: Server, make: Any, special: tuple[object, object]) -> None:
    hang, cut = special
    server.json({"error": {"message": "no such voice"}}, 400)
    server.audio(SOUND.tobytes(), cut)
    server.audio(SOUND.tobytes(), hang)
    kinds = []
    for timeout in (60, 60, 0.05):
        with pytest.raises(EngineError) as caught:
            await say(make(timeout=timeout))
        kinds.append(caught.value.kind)
    assert kinds == ["rejected", "unavailable", "timeout"]


async def test_closing_hangs_up(server: Server, make: Any, special: tuple[object, object]) -> None:
    server.audio(SOUND.tobytes(), special[0])
    stream = make().synthesize(TtsRequest("Hello."))
    assert (await anext(stream)).audio.size
    await stream.aclose()
    await asyncio.wait_for(server.left.wait(), 5)


async def test_warm_up_asks_for_the_models(server: Server, make: Any) -> None:
    server.json({"object": "list", "data": []})
    await make().warm_up()
    assert server.received[0].path == "/v1/models"
