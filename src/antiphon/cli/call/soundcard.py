"""Microphone and loudspeaker by PortAudio (sounddevice), at whatever rates the devices run."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.audio.pcm import PCM, mix_to_mono
from antiphon.audio.resample import Resampler
from antiphon.core.items import INPUT_RATE, OUTPUT_RATE
from antiphon.errors import UsageError

_CUSHION = 0.06
"""Seconds of the agent's voice that lie ready before the card starts on them: frames come from a busy event loop."""


class Outlet:
    """The voice on its way to the card: filled by the event loop, emptied by PortAudio's thread.

    Args:
        rate: The card's rate.
        latency: Seconds that the card itself holds.
    """

    def __init__(self, rate: int, latency: float) -> None:
        self.latency = latency + _CUSHION
        self._resampler = Resampler(OUTPUT_RATE, rate)
        self._cushion = round(rate * _CUSHION)
        # Appending and popping are atomic; each side keeps its own count, so that neither needs a lock.
        self._waiting: deque[PCM] = deque()
        self._added = 0
        self._taken = 0
        self._rest: PCM = np.zeros(0, np.int16)
        self._flowing = False

    def play(self, frame: PCM, at: float) -> None:
        """Take a frame, as `Speaker.play`."""
        pcm = self._resampler.push(frame)
        self._waiting.append(pcm)
        self._added += len(pcm)

    def fill(self, out: NDArray[np.int16]) -> None:
        """Fill the card's buffer, shape [n, channels], with voice or silence."""
        out[:] = 0
        waiting = self._added - self._taken
        if not self._flowing and waiting < self._cushion:
            return
        self._flowing = waiting > 0
        at = 0
        while at < len(out):
            if not len(self._rest):
                if not self._waiting:
                    self._flowing = False
                    break
                self._rest = self._waiting.popleft()
            count = min(len(self._rest), len(out) - at)
            out[at : at + count] = self._rest[:count, None]
            self._rest = self._rest[count:]
            at += count
            self._taken += count


class SoundCard:
    """Both devices, open; a context manager.

    Args:
        heard: Called on the event loop with what the microphone heard (16 kHz).
        microphone: Device name or number; the system's default when None.
        loudspeaker: The same for the output.

    Raises:
        UsageError: sounddevice or PortAudio is not installed, or a device cannot be opened.
    """

    def __init__(self, heard: Callable[[PCM], None], microphone: str | None, loudspeaker: str | None) -> None:
        sounddevice = import_sounddevice()
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        try:
            taking = sounddevice.query_devices(_device(microphone), "input")
            giving = sounddevice.query_devices(_device(loudspeaker), "output")
            in_rate, out_rate = int(taking["default_samplerate"]), int(giving["default_samplerate"])
            self._resampler = Resampler(in_rate, INPUT_RATE)
            self._input = sounddevice.InputStream(
                in_rate, in_rate // 50, _device(microphone), 1, "int16", "low", callback=self._captured
            )
            self._output = sounddevice.OutputStream(
                out_rate, out_rate // 50, _device(loudspeaker), 1, "int16", "low", callback=self._wanted
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise UsageError(f"the microphone or the loudspeaker cannot be opened: {error}") from error
        self.outlet = Outlet(out_rate, float(self._output.latency))

    def __enter__(self) -> SoundCard:
        self._input.start()
        self._output.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._input.close()
        self._output.close()

    def _captured(self, data: NDArray[np.int16], frames: int, time: object, status: object) -> None:
        pcm = self._resampler.push(mix_to_mono(data).copy())
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heard, pcm)

    def _wanted(self, out: NDArray[np.int16], frames: int, time: object, status: object) -> None:
        self.outlet.fill(out)


def import_sounddevice() -> Any:
    """The module, which needs the optional extra.

    Raises:
        UsageError: It, or the PortAudio library under it, is not installed.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise UsageError("talk needs sounddevice: install it with pip install 'antiphon[talk]'") from error
    except OSError as error:
        raise UsageError(
            f"talk needs the PortAudio library: install it (Debian and Ubuntu: apt install libportaudio2) ({error})"
        ) from error
    return sounddevice


def _device(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdigit() else name
