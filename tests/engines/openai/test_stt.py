from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from antiphon.engines.openai import OpenAiStt
from antiphon.engines.ports import EngineError, SttRequest

if TYPE_CHECKING:
    from tests.engines.openai.conftest import Server

AUDIO = (np.arange(16_000) % 200).astype(np.int16)


@pytest.fixture
async def make(server: Server) -> AsyncIterator[Any]:
    made: list[OpenAiStt] = []

    def factory(**options: Any) -> OpenAiStt:
        made.append(OpenAiStt("ear", {"base_url": server.url, "api_key": "k", "model": "whisper", **options}))
        return made[-1]

    yield factory
    for engine in made:
        await engine.close()


def fields(received: Any) -> dict[str, bytes]:
    boundary = received.headers["content-type"].partition("boundary=")[2].encode()
    found = {}
    for part in received.body.split(b"--" + boundary)[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        found[head.partition(b'name="')[2].partition(b'"')[0].decode()] = body.removesuffix(b"\r\n")
    return found


async def test_the_audio_is_uploaded_as_wav(server: Server, make: Any) -> None:
    server.json({"text": " Hello there. "})
    request = SttRequest(AUDIO, language="en-US", prompt="Antiphon")
    assert await make(extra={"temperature": 0}).transcribe(request) == "Hello there."
    assert server.received[0].path == "/v1/audio/transcriptions"
    sent = fields(server.received[0])
    with wave.open(io.BytesIO(sent.pop("file"))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        assert np.array_equal(np.frombuffer(file.readframes(1 << 20), "<i2"), AUDIO)
    assert sent == {
        "model": b"whisper",
        "response_format": b"json",
        "language": b"en",
        "prompt": b"Antiphon",
        "temperature": b"0",
    }


async def test_the_tables_language_and_prompt_are_defaults(server: Server, make: Any) -> None:
    server.json({"text": ""})
    assert await make(language="de", prompt="Namen").transcribe(SttRequest(AUDIO)) == ""
    sent = fields(server.received[0])
    assert (sent["language"], sent["prompt"]) == (b"de", b"Namen")


async def test_too_short_to_say_anything(server: Server, make: Any) -> None:
    assert await make().transcribe(SttRequest(AUDIO[:1599])) == ""
    assert not server.received


async def test_one_partial_at_a_time(server: Server, make: Any, special: tuple[object, object]) -> None:
    server.audio(special[0], kind="application/json")
    server.json({"text": "final"})
    stt = make()
    partial = asyncio.create_task(stt.transcribe(SttRequest(AUDIO, partial=True)))
    await asyncio.wait_for(server.asked.wait(), 5)
    assert await stt.transcribe(SttRequest(AUDIO, partial=True)) == ""
    assert await stt.transcribe(SttRequest(AUDIO)) == "final"
    partial.cancel()
    await asyncio.wait([partial])
    await asyncio.wait_for(server.left.wait(), 5)
    server.json({"text": "again"})
    assert await stt.transcribe(SttRequest(AUDIO, partial=True)) == "again"


async def test_partials_can_be_switched_off(server: Server, make: Any) -> None:
    assert await make(partials=False).transcribe(SttRequest(AUDIO, partial=True)) == ""
    assert not server.received


@pytest.mark.parametrize("body", [{"txt": "x"}, {"text": None}, {"text": 5}, [], "plain", 3])
async def test_answers_without_a_transcript(server: Server, make: Any, body: object) -> None:
    server.json(body)
    with pytest.raises(EngineError, match="ear: ") as caught:
        await make().transcribe(SttRequest(AUDIO))
    assert caught.value.kind == "bad_output"


async def test_what_is_no_json(server: Server, make: Any) -> None:
    server.audio(b"<html>", kind="text/html")
    server.audio(b'{"text": "ha', kind="application/json")
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            await make().transcribe(SttRequest(AUDIO))
        assert caught.value.kind == "bad_output"


async def test_a_failing_and_a_hanging_endpoint(server: Server, make: Any, special: tuple[object, object]) -> None:
    server.json({"error": {"message": "x"}}, 500)
    with pytest.raises(EngineError) as caught:
        await make().transcribe(SttRequest(AUDIO))
    assert caught.value.kind == "unavailable"
    server.audio(special[0])
    with pytest.raises(EngineError) as caught:
        await make(timeout=0.05).transcribe(SttRequest(AUDIO))
    assert caught.value.kind == "timeout"


async def test_warm_up_asks_for_the_models(server: Server, make: Any) -> None:
    server.json({"object": "list", "data": []})
    await make().warm_up()
    assert server.received[0].path == "/v1/models"
