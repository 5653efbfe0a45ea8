"""The newest ``openai`` SDK, unmodified, and the embedded models: a person's recorded speech answered in speech."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import wave
from pathlib import Path

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from antiphon.audio.files import read_speech
from antiphon.audio.resample import resample
from antiphon.engines.local.models import default_models_dir

from .server import serve

CHUNK = 480
"""20 ms at 24 kHz."""


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.lower()))


def as_wav(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(24_000)
        out.writeframes(pcm)
    return file.getvalue()


async def talk(connection: AsyncRealtimeConnection, pcm: np.ndarray[tuple[int], np.dtype[np.int16]]) -> None:
    """Speak in real time, then be silent for as long as it takes."""
    loop = asyncio.get_running_loop()
    began, n = loop.time(), 0
    while True:
        chunk = pcm[n * CHUNK : (n + 1) * CHUNK]
        data = chunk.tobytes().ljust(CHUNK * 2, b"\0")
        await connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())
        n += 1
        await asyncio.sleep(began + n * 0.02 - loop.time())


async def warm(url: str) -> None:
    async with httpx.AsyncClient() as http:
        while (await http.get(url)).status_code != 200:  # noqa: ASYNC110 - another process loads its models
            await asyncio.sleep(0.5)


@pytest.mark.models
@pytest.mark.timeout(180)
async def test_recorded_speech_is_answered_in_speech_that_says_what_its_transcript_says(tmp_path: Path) -> None:
    heard = resample(read_speech(default_models_dir() / "samples" / "two_cities.wav")[: 16_000 * 4], 16_000, 24_000)
    with serve(tmp_path, engines=()) as server:
        await warm(f"http://{server.address}/readyz")
        client = AsyncOpenAI(base_url=server.http, api_key=server.key)
        understood = said = ""
        spoken = bytearray()
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await connection.session.update(
                session={"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
            )
            talking = asyncio.create_task(talk(connection, heard))
            try:
                async for event in connection:
                    assert event.type != "error", event
                    if event.type == "conversation.item.input_audio_transcription.completed":
                        understood += event.transcript
                    elif event.type == "response.output_audio.delta":
                        spoken += base64.b64decode(event.delta)
                    elif event.type == "response.output_audio_transcript.done":
                        said = event.transcript
                    elif event.type == "response.done" and event.response.status == "completed":
                        break
            finally:
                talking.cancel()
                await asyncio.wait({talking})
        assert len(words(understood)) >= 4, understood
        first = bytes(spoken[: 24_000 * 2 * 20])
        checked = await client.audio.transcriptions.create(model="whisper-1", file=("answer.wav", as_wav(first)))
        again = words(checked.text)
        assert len(again) >= 3
        assert len(again & words(said)) >= 0.6 * len(again), (said, checked.text)
        await client.close()
