"""``POST /v1/audio/transcriptions``: a recording to text, by the speech-to-text engine of the sessions."""

from __future__ import annotations

import asyncio
import io
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from antiphon.audio.files import read_speech
from antiphon.core.items import INPUT_RATE
from antiphon.engines.ports import SttRequest
from antiphon.errors import ApiError, InputFileError
from antiphon.protocols.openai.http.service import Service, refusing

__all__ = ["transcription_routes"]

MAX_BYTES = 25 * 1024 * 1024
"""What OpenAI takes, too."""

ResponseFormat = Literal["json", "text", "verbose_json", "srt", "vtt"]


def transcription_routes(service: Service) -> APIRouter:
    """The one call."""
    router = APIRouter(tags=["audio"], dependencies=[Depends(service.caller)])

    @router.post("/v1/audio/transcriptions")
    async def transcriptions(
        request: Request,
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form()] = "",
        language: Annotated[str | None, Form()] = None,
        prompt: Annotated[str, Form()] = "",
        response_format: Annotated[ResponseFormat, Form()] = "json",
        stream: Annotated[bool, Form()] = False,
    ) -> Response:
        """Transcribe a recording of any format that FFmpeg reads, up to 25 MB."""
        data = await file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ApiError(413, f"Expected a file of at most {MAX_BYTES} bytes.", param="file")
        try:
            # Decoding a long file takes a while: not on the loop that carries calls.
            pcm = await asyncio.to_thread(read_speech, io.BytesIO(data))
        except InputFileError as error:
            raise ApiError(400, str(error), code="invalid_value", param="file") from None
        with refusing():
            text = await service.engines(request).stt.transcribe(SttRequest(pcm, language, prompt))
        if stream:
            return Response(_as_events(text, len(pcm) / INPUT_RATE), media_type="text/event-stream")
        return _answer(text, len(pcm) / INPUT_RATE, language, response_format)

    return router


def _as_events(text: str, seconds: float) -> bytes:
    """The stream's events at once: the engine gives whole texts."""
    usage = {"type": "duration", "seconds": round(seconds, 3)}
    events: list[dict[str, Any]] = [{"type": "transcript.text.done", "text": text, "usage": usage}]
    if text:
        events.insert(0, {"type": "transcript.text.delta", "delta": text})
    return b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)


def _answer(text: str, seconds: float, language: str | None, response_format: ResponseFormat) -> Response:
    match response_format:
        case "text":
            return PlainTextResponse(f"{text}\n")
        case "srt":
            return PlainTextResponse(f"1\n00:00:00,000 --> {_clock(seconds, ',')}\n{text}\n\n")
        case "vtt":
            return PlainTextResponse(f"WEBVTT\n\n00:00:00.000 --> {_clock(seconds, '.')}\n{text}\n\n")
        case _:
            body: dict[str, Any] = {"text": text, "usage": {"type": "duration", "seconds": round(seconds, 3)}}
            if response_format == "verbose_json":
                segment = {"id": 0, "start": 0.0, "end": round(seconds, 3), "text": text}
                body |= {
                    "task": "transcribe",
                    "language": language or "",
                    "duration": round(seconds, 3),
                    "segments": [segment],
                }
            return JSONResponse(body)


def _clock(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"
