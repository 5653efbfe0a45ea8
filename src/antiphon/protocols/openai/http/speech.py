"""``POST /v1/audio/speech``: text to a recording, sent while it is made."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from antiphon.audio import pcm as pcm_audio
from antiphon.audio.pcm import PCM
from antiphon.core.clauses import cut
from antiphon.core.items import OUTPUT_RATE
from antiphon.engines.ports import Tts, TtsRequest
from antiphon.protocols.openai.http.service import Service, refusing

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer

__all__ = ["Encoder", "speech_routes"]

AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

_MEDIA = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_CODECS = {"mp3": ("mp3", "libmp3lame"), "opus": ("ogg", "libopus"), "aac": ("adts", "aac"), "flac": ("flac", "flac")}


class _Voice(BaseModel):
    id: str


class SpeechRequest(BaseModel):
    """OpenAI's body; ``instructions`` are accepted and have no effect on engines that read text as it is."""

    model_config = ConfigDict(extra="ignore")

    input: str = Field(min_length=1, max_length=4096)
    model: str = ""
    voice: str | _Voice = ""
    instructions: str = ""
    response_format: AudioFormat = "mp3"
    speed: float = Field(1.0, ge=0.25, le=4.0)
    stream_format: Literal["audio", "sse"] = "audio"


def speech_routes(service: Service) -> APIRouter:
    """The one call."""
    router = APIRouter(tags=["audio"], dependencies=[Depends(service.caller)])

    @router.post("/v1/audio/speech", response_class=StreamingResponse)
    async def speech(request: Request, body: SpeechRequest) -> StreamingResponse:
        """Speak a text. The first bytes come with the first clause, so a failure before it still has a status."""
        voice = body.voice if isinstance(body.voice, str) else body.voice.id
        spoken = _spoken(service.engines(request).tts, body.input, voice, body.speed)
        with refusing():
            first = await anext(spoken, pcm_audio.empty())
        encoded = _encoded(first, spoken, Encoder(body.response_format))
        if body.stream_format == "sse":
            return StreamingResponse(_as_events(encoded), media_type="text/event-stream")
        return StreamingResponse(encoded, media_type=_MEDIA[body.response_format])

    return router


async def _spoken(tts: Tts, text: str, voice: str, speed: float) -> AsyncIterator[PCM]:
    clauses, _ = cut(text, first=True, final=True)
    for clause in clauses:
        if not clause.strip():
            continue
        stream = tts.synthesize(TtsRequest(clause.strip(), voice, speed))
        async with aclosing(cast(Any, stream)):
            async for chunk in stream:
                yield chunk.audio


async def _encoded(first: PCM, rest: AsyncIterator[PCM], encoder: Encoder) -> AsyncIterator[bytes]:
    # Should the engine fail from here on, the status has gone out: an abrupt end is all that is left to tell.
    for data in encoder.push(first):
        yield data
    async for pcm in rest:
        for data in encoder.push(pcm):
            yield data
    for data in encoder.flush():
        yield data


async def _as_events(encoded: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for data in encoded:
        event = {"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()}
        yield b"data: " + msgspec.json.encode(event) + b"\n\n"
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield b"data: " + msgspec.json.encode({"type": "speech.audio.done", "usage": usage}) + b"\n\n"


class _Pipe:
    """A file that FFmpeg writes to, without a way back."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)

    def take(self) -> bytes:
        taken, self.data = bytes(self.data), bytearray()
        return taken


class Encoder:
    """24 kHz samples to one of OpenAI's formats, piece by piece.

    Args:
        name: ``pcm`` and ``wav`` are written as they are (the WAV's length is left open, as in any stream), the others
            by FFmpeg.
    """

    def __init__(self, name: AudioFormat) -> None:
        self._raw = name in ("pcm", "wav")
        self._header = _wav_header() if name == "wav" else b""
        self._written = 0
        if not self._raw:
            import av  # FFmpeg's libraries take 9 MB: only where somebody wants them

            container, codec = _CODECS[name]
            self._pipe = _Pipe()
            self._container: OutputContainer = av.open(cast(Any, self._pipe), "w", format=container)
            self._stream = cast("AudioStream", self._container.add_stream(codec, rate=OUTPUT_RATE))
            self._stream.layout = "mono"

    def push(self, pcm: PCM) -> Iterator[bytes]:
        """Encode more; the encoder may keep some of it for later."""
        if self._raw:
            header, self._header = self._header, b""
            data = header + pcm_audio.to_bytes(pcm)
        else:
            if not len(pcm):
                return
            from av import AudioFrame

            frame = AudioFrame.from_ndarray(np.ascontiguousarray(pcm)[None, :], format="s16", layout="mono")
            frame.sample_rate = OUTPUT_RATE
            frame.pts = self._written
            frame.time_base = Fraction(1, OUTPUT_RATE)
            self._written += len(pcm)
            self._container.mux(self._stream.encode(frame))
            data = self._pipe.take()
        if data:
            yield data

    def flush(self) -> Iterator[bytes]:
        """What is left, and the end of the file."""
        if self._raw:
            if self._header:
                yield self._header
            return
        self._container.mux(self._stream.encode(None))
        self._container.close()
        if data := self._pipe.take():
            yield data


def _wav_header() -> bytes:
    unknown = 0xFFFFFFFF
    head = struct.pack("<4sI4s", b"RIFF", unknown, b"WAVE")
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, OUTPUT_RATE, OUTPUT_RATE * 2, 2, 16)
    return head + fmt + struct.pack("<4sI", b"data", unknown)
