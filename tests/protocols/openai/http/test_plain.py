"""The plain APIs, by the stock SDK over the scripted engines."""

from __future__ import annotations

import io
import wave
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from openai import AsyncOpenAI

from antiphon.audio.files import read_speech
from antiphon.engines.scripted import (
    Call,
    Clause,
    LlmScript,
    Rule,
    ScriptedLlm,
    ScriptedStt,
    ScriptedTts,
    SttScript,
    TtsScript,
    Utterance,
)

from ..rig import KEY
from .app import Engines, application


def sdk(engines: Engines | None = None, key: str = KEY) -> Any:  # tests pass plain dicts where it wants typed ones
    transport = httpx2.ASGITransport(application(engines=engines))
    return AsyncOpenAI(
        api_key=key, base_url="http://antiphon/v1", max_retries=0, http_client=httpx2.AsyncClient(transport=transport)
    )


def wav(seconds: float, rate: int = 44_100, channels: int = 2) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.zeros(round(seconds * rate) * channels, "<i2").tobytes())
    return out.getvalue()


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def talker() -> Engines:
    rules = (
        Rule(after_tool="weather", text="It is {output}."),
        Rule(match="weather", calls=(Call("weather", {"city": "Paris"}),)),
        Rule(match="fail", fail="timeout"),
        Rule(text="You said {text}."),
    )
    return Engines(llm=ScriptedLlm(LlmScript(rules=rules)))


async def test_models() -> None:
    async with sdk() as client:
        names = [m.id async for m in client.models.list()]
        assert names == ["antiphon", "antiphon-transcribe", "gpt-realtime"]
        assert (await client.models.retrieve("antiphon")).owned_by == "antiphon"
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            await client.models.retrieve("nothing")


async def test_key_is_needed() -> None:
    async with sdk(key="wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


@pytest.mark.parametrize("format", ["json", "text", "verbose_json", "srt", "vtt"])
async def test_transcription(format: str) -> None:
    async with sdk() as client:
        answer = await client.audio.transcriptions.create(
            model="whisper-1",
            file=("speech.wav", wav(1.5)),
            response_format=format,
        )
    text = answer if isinstance(answer, str) else answer.text
    assert "hello there" in text
    if format == "verbose_json":
        assert answer.duration == pytest.approx(1.5, abs=0.01)
    if format == "srt":
        assert "00:00:00,000 --> 00:00:01,500" in text


async def test_transcription_as_a_stream() -> None:
    async with sdk() as client:
        file = ("speech.wav", wav(1.0))
        stream = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=file, stream=True)
        events = [event async for event in stream]
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[-1].text == "hello there"


async def test_unreadable_recording_and_failing_engine() -> None:
    broken = Engines(stt=ScriptedStt(SttScript(utterances=(Utterance(fail="unavailable"),))))
    async with sdk(broken) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.audio.transcriptions.create(model="x", file=("a.wav", b"this is no sound"))
        assert refused.value.param == "file"
        with pytest.raises(openai.InternalServerError) as failed:
            await client.audio.transcriptions.create(model="x", file=("a.wav", wav(0.5)))
    assert (failed.value.status_code, failed.value.code) == (503, "engine_unavailable")


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
async def test_speech_can_be_read_back(format: str) -> None:
    text = "Hello there. This is a longer sentence, spoken by a tone."
    async with sdk() as client:
        answer = await client.audio.speech.create(
            model="tts-1",
            voice="alloy",
            input=text,
            response_format=format,
        )
        data = answer.content
        raw = await client.audio.speech.create(model="tts-1", voice="alloy", input=text, response_format="pcm")
    seconds = len(raw.content) / 48_000
    assert seconds > 0.5
    if format == "pcm":
        assert data == raw.content
    else:
        assert len(read_speech(io.BytesIO(data))) / 16_000 == pytest.approx(seconds, abs=0.15)


async def test_speech_of_nothing_and_by_a_failing_voice() -> None:
    broken = Engines(tts=ScriptedTts(TtsScript(rules=(Clause(fail="crashed"),))))
    async with sdk(broken) as client:
        with pytest.raises(openai.InternalServerError) as failed:
            await client.audio.speech.create(model="x", voice="alloy", input="Hello.")
        assert failed.value.code == "engine_crashed"
        with pytest.raises(openai.UnprocessableEntityError):
            await client.audio.speech.create(model="x", voice="alloy", input="")


async def test_chat() -> None:
    async with sdk(talker()) as client:
        answer = await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]
        )
    assert answer.choices[0].message.content == "You said hi."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_chat_streams_and_calls_tools() -> None:
    async with sdk(talker()) as client:
        call = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "weather?"}],
            tools=[TOOL],
        )
        assert call.choices[0].finish_reason == "tool_calls"
        made = call.choices[0].message.tool_calls
        assert made is not None
        words, usage, finish = "", None, None
        stream = await client.chat.completions.create(
            model="m",
            stream=True,
            stream_options={"include_usage": True},
            messages=[
                {"role": "user", "content": "weather?"},
                call.choices[0].message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": made[0].id, "content": "sunny"},
            ],
        )
        async for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                words += choice.delta.content or ""
                finish = choice.finish_reason or finish
    assert words == "It is sunny."
    assert finish == "stop"
    assert usage is not None


async def test_chat_refusals() -> None:
    async with sdk(talker()) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(
                model="m",
                messages=[
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/a.png"}}]}
                ],
            )
        assert refused.value.param == "messages.0.content.0.image_url.url"
        with pytest.raises(openai.InternalServerError) as late:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "fail"}])
        assert late.value.status_code == 504
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="m", stream=True, messages=[{"role": "user", "content": "fail"}])
