"""A voice behind ``audio.speech``, streamed as raw PCM."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np

from antiphon.audio.resample import Resampler
from antiphon.core.items import OUTPUT_RATE
from antiphon.engines.openai.endpoint import Endpoint
from antiphon.engines.openai.options import read_options
from antiphon.engines.ports import PCM, TtsChunk, TtsRequest

_FILES = {b"RIFF": "a WAV file", b"OggS": "an Ogg file", b"fLaC": "a FLAC file", b"ID3\x03": "an MP3 file"}
_PACKED = ("audio/mpeg", "audio/mp3", "audio/aac", "audio/ogg", "audio/opus", "audio/flac")


class OpenAiTts:
    """Any endpoint with ``/audio/speech`` and its ``pcm`` format: OpenAI, speaches, Kokoro servers, and more.

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
        self.voices: Sequence[str] = self._options.all_voices

    async def warm_up(self) -> None:
        """Connect, and see whether the key is taken."""
        await self._endpoint.warm_up(lambda client: client.audio.speech)

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    async def synthesize(self, request: TtsRequest) -> AsyncIterator[TtsChunk]:
        """Stream the speech at 24 kHz, without word timings: such endpoints tell none.

        Raises:
            EngineError: see :class:`~antiphon.engines.openai.endpoint.Endpoint`; ``bad_output`` for what is not raw
                16-bit PCM, as far as that can be told.
        """
        if not request.text.strip():
            return
        options = self._options
        resampler = Resampler(options.sample_rate, OUTPUT_RATE)
        samples = _Samples(self._endpoint)
        with self._endpoint.errors():
            speech = self._endpoint.client.audio.speech.with_streaming_response
            async with speech.create(**self._body(request)) as response:
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind in _PACKED or kind.startswith("text/") or kind.endswith("json"):
                    raise self._endpoint.bad_output(f"{options.address} answered {kind} where raw PCM was asked for")
                async for data in response.iter_bytes():
                    audio = resampler.push(samples.take(data))
                    if audio.size:
                        yield TtsChunk(audio)
                samples.finish()
        rest = resampler.flush()
        if rest.size:
            yield TtsChunk(rest)

    def _body(self, request: TtsRequest) -> dict[str, Any]:
        options = self._options
        body: dict[str, Any] = {
            "model": options.model_for("tts"),
            "input": request.text,
            "voice": request.voice if request.voice in self.voices else self.voices[0],
            "response_format": "pcm",
        }
        if request.speed != 1.0:
            body["speed"] = min(max(request.speed, 0.25), 4.0)
        if options.instructions:
            body["instructions"] = options.instructions
        if options.extra:
            body["extra_body"] = dict(options.extra)
        return body


class _Samples:
    """Bytes to whole samples, however the network cuts them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._kept = b""
        self._begun = False

    def take(self, data: bytes) -> PCM:
        """The samples that are complete; the first few bytes are held back until they can be judged."""
        data = self._kept + data
        if not self._begun and len(data) < 4:
            self._kept = data
            return np.zeros(0, np.int16)
        if not self._begun:
            self._begun = True
            if data[:4] in _FILES:
                raise self._endpoint.bad_output(f"expected raw PCM, got {_FILES[data[:4]]}")
        whole = len(data) & ~1
        self._kept = data[whole:]
        return np.frombuffer(data, "<i2", whole // 2).astype(np.int16, copy=False)

    def finish(self) -> None:
        """The audio ended: with a whole sample?"""
        if self._kept:
            raise self._endpoint.bad_output("the audio broke off in the middle of a sample")
