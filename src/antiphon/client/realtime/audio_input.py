"""The user's audio on its way to the server: encoded, resampled, and remembered."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from typing import Any

from antiphon.client.realtime.audio import SAMPLE_RATE, StreamResampler, to_pcm16
from antiphon.client.realtime.errors import AudioTypeError
from antiphon.client.realtime.input_buffer import InputAudioBuffer

logger = logging.getLogger("antiphon.client.realtime")


class AudioInput:
    """Turns what applications have into `input_audio_buffer.append` events.

    Args:
        send: sends a client event.
    """

    def __init__(self, send: Callable[[str, Mapping[str, Any]], object]) -> None:
        self._send = send
        self._resampler: StreamResampler | None = None
        self.buffer = InputAudioBuffer()

    @property
    def audio_format(self) -> str:
        """The session's input format: pcm16, g711_ulaw or g711_alaw."""
        return self.buffer.audio_format

    @audio_format.setter
    def audio_format(self, value: str) -> None:
        self.buffer.audio_format = value

    def reset(self) -> None:
        """Begin anew, for a new session."""
        self._resampler = None
        self.buffer.reset()

    def append(self, audio: object, rate: int | None = None) -> None:
        """Encode and send audio, when there is any; `rate` in Hz."""
        if rate is None or rate == SAMPLE_RATE or self.audio_format != "pcm16":
            self._send_audio(self.encode(audio))
            return
        if self._resampler is None or self._resampler.rate != rate:
            self.flush()
            self._resampler = StreamResampler(rate)
        self._send_audio(self._resampler.feed(audio))

    def flush(self) -> None:
        """Send what the resampler still holds."""
        resampler, self._resampler = self._resampler, None
        if resampler is not None:
            self._send_audio(resampler.feed(b"", last=True))

    def encode(self, audio: object, rate: int | None = None) -> bytes:
        """Give the audio in the session's input format, as one piece; `rate` in Hz.

        Raises:
            AudioTypeError, AudioValueError: audio that cannot be sent.
        """
        if self.audio_format == "pcm16":
            return to_pcm16(audio, rate=rate)
        if isinstance(audio, bytes | bytearray | memoryview):
            return bytes(audio)
        raise AudioTypeError(
            f"expected bytes of {self.audio_format}, the session's input format, got {type(audio).__name__}"
        )

    def appended(self, event: Mapping[str, Any]) -> None:
        """Remember what an append event carries, whoever sent it."""
        try:
            self.buffer.append(base64.b64decode(event.get("audio", "")))
        except (binascii.Error, TypeError, ValueError):
            logger.debug("audio that is not base64 was appended; the server will say so")

    def _send_audio(self, data: bytes) -> None:
        if data:
            self._send("input_audio_buffer.append", {"audio": base64.b64encode(data).decode()})
