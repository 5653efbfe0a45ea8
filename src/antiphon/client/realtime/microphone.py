"""The microphone, where the optional package sounddevice is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from antiphon.client.realtime.audio import SAMPLE_RATE
from antiphon.client.realtime.errors import RealtimeError

BLOCK_SAMPLES = SAMPLE_RATE // 25


class Microphone:
    """Captures 16-bit mono PCM at 24 kHz in blocks of 40 ms.

    Args:
        on_audio: called with each block in the event loop that made this object.
        device: name or number of the device; the system's default otherwise.

    Raises:
        RealtimeError: sounddevice is not installed, or there is no such device.
    """

    def __init__(self, on_audio: Callable[[bytes], object], device: str | int | None = None) -> None:
        try:
            import sounddevice
        except (ImportError, OSError) as error:  # OSError: the package is there, PortAudio is not
            raise RealtimeError(
                f"the microphone needs the package sounddevice: install antiphon[talk] ({error})"
            ) from error
        loop = asyncio.get_running_loop()

        def captured(data: Any, frames: int, time: Any, status: Any) -> None:
            # Called in PortAudio's thread.
            loop.call_soon_threadsafe(on_audio, bytes(data))

        try:
            self._stream = sounddevice.RawInputStream(
                samplerate=SAMPLE_RATE,
                channels=1,
                dtype="int16",
                blocksize=BLOCK_SAMPLES,
                device=device,
                callback=captured,
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            raise RealtimeError(f"cannot open the microphone: {error}") from error

    def close(self) -> None:
        """Stop capturing."""
        self._stream.close()
