"""Speech to text behind ``audio.transcriptions``."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from typing import Any

from antiphon.core.items import INPUT_RATE
from antiphon.engines.openai.endpoint import Endpoint
from antiphon.engines.openai.options import read_options
from antiphon.engines.ports import PCM, SttRequest

_SHORTEST = INPUT_RATE // 10
"""Endpoints refuse audio below 0.1 s; nobody says anything in it."""


class OpenAiStt:
    """Any endpoint with ``/audio/transcriptions``: OpenAI, Groq, speaches, vLLM, and more.

    Of partial requests one at a time is sent; another one meanwhile is answered with nothing.

    Args:
        name: as configured; errors carry it.
        table: options, see :class:`~antiphon.engines.openai.options.Options`.

    Raises:
        ConfigError: the table is wrong.
    """

    def __init__(self, name: str, table: Mapping[str, Any]) -> None:
        self.name = name
        self._options = read_options(name, table)
        self._endpoint = Endpoint(name, self._options)
        self._partial = False

    async def warm_up(self) -> None:
        """Connect, and see whether the key is taken."""
        await self._endpoint.warm_up(lambda client: client.audio.transcriptions)

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    async def transcribe(self, request: SttRequest) -> str:
        """The text of the audio.

        Raises:
            EngineError: see :class:`~antiphon.engines.openai.endpoint.Endpoint`.
        """
        if request.audio.size < _SHORTEST:
            return ""
        if not request.partial:
            return await self._transcribe(request)
        if self._partial or not self._options.partials:
            return ""
        self._partial = True
        try:
            return await self._transcribe(request)
        finally:
            self._partial = False

    async def _transcribe(self, request: SttRequest) -> str:
        options = self._options
        fields: dict[str, Any] = {
            "model": options.model_for("stt"),
            "file": ("speech.wav", _wav(request.audio), "audio/wav"),
            "response_format": "json",
        }
        language = request.language or options.language
        if language:
            fields["language"] = language.partition("-")[0].lower()  # ISO 639-1: "en-US" is refused
        prompt = request.prompt or options.prompt
        if prompt:
            fields["prompt"] = prompt
        if options.extra:
            fields["extra_body"] = dict(options.extra)
        with self._endpoint.errors():
            answer: object = await self._endpoint.client.audio.transcriptions.create(**fields)
        text = getattr(answer, "text", None)
        if not isinstance(text, str):
            raise self._endpoint.bad_output(f"{options.address} answered without a transcript")
        return text.strip()


def _wav(audio: PCM) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(INPUT_RATE)
        writer.writeframes(audio.astype("<i2", copy=False).tobytes())
    return file.getvalue()
