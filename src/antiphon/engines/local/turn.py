"""End of turn: Smart Turn v3.2 on onnxruntime, behind a Whisper log-mel front end in NumPy."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.local.catalogue import SMART_TURN
from antiphon.engines.local.models import require
from antiphon.engines.local.ort import release_memory, session
from antiphon.engines.ports import PCM, EngineError
from antiphon.errors import ModelFileError

__all__ = ["SmartTurn", "log_mel"]

_RATE = 16_000
_SAMPLES = 8 * _RATE
_FFT = 400
_HOP = 160
_MELS = 80


def _slaney_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    linear = hertz * 3 / 200
    return np.where(hertz < 1000, linear, 15 + np.log(np.maximum(hertz, 1000) / 1000) * 27 / np.log(6.4))


def _slaney_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) * np.log(6.4) / 27))


def _filters() -> NDArray[np.float32]:
    """80 triangular filters from 0 to 8 kHz over the 201 bins, each of area one; [201, 80]."""
    bins = np.linspace(0, _RATE / 2, _FFT // 2 + 1)
    low, high = _slaney_mel(np.array([0.0, _RATE / 2]))
    edges = _slaney_hertz(np.linspace(low, high, _MELS + 2))
    widths = np.diff(edges)
    slopes = edges[:, None] - bins[None, :]
    rising = -slopes[:-2] / widths[:-1, None]
    falling = slopes[2:] / widths[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return np.ascontiguousarray(triangles.T, np.float32)


_FILTERS = _filters()
_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)).astype(np.float32)


def log_mel(audio: PCM) -> NDArray[np.float32]:
    """The model's input: Whisper's log-mel of the last 8 s, [80, 800].

    Args:
        audio: 16 kHz, any length; shorter audio is padded with silence at its beginning.
    """
    tail = audio[-_SAMPLES:].astype(np.float32) * np.float32(1 / 32768)
    padded = np.zeros(_SAMPLES, np.float32)
    padded[_SAMPLES - len(tail) :] = tail
    # The statistics are those of all 8 s, padding included: so it was trained.
    mean = padded.mean(dtype=np.float64)
    deviation = np.sqrt(padded.var(dtype=np.float64) + 1e-7)
    normal = ((padded - mean) / deviation).astype(np.float32)
    reflected = np.pad(normal, _FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(reflected, _FFT)[::_HOP][:-1]
    spectrum = np.fft.rfft(frames * _WINDOW, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    mel = np.log10(np.maximum(power.astype(np.float32) @ _FILTERS, 1e-10))
    mel = np.maximum(mel, mel.max() - 8)
    return np.ascontiguousarray(((mel + 4) / 4).T, np.float32)


class SmartTurn:
    """Implements :class:`antiphon.engines.ports.TurnDetector`; about 80 ms of one core a call, on a thread of its own.

    A call that is cancelled before its turn came is never computed; one that is running finishes unheeded.

    Args:
        models_dir: Where the model files are; read by `warm_up`, or by the first call.
        name: The engine's name in errors.
    """

    def __init__(self, models_dir: Path, *, name: str = "smart-turn") -> None:
        self.name = name
        self._models_dir = models_dir
        self._run: Any = None
        self._thread = ThreadPoolExecutor(1, "smart-turn")

    async def warm_up(self) -> None:
        """Load the model and run it once.

        Raises:
            EngineError: kind unavailable: the model is missing or damaged.
        """
        await self.predict(np.zeros(_RATE, np.int16))

    def readiness(self) -> bool:
        """Whether the model is loaded."""
        return self._run is not None

    async def predict(self, audio: PCM) -> float:
        """Probability 0 to 1 that the turn is over.

        Args:
            audio: 16 kHz, the turn's last 8 s (more is ignored) with 200-400 ms of the silence after it: with 100 ms, a
                finished question is taken for an unfinished one.

        Raises:
            EngineError: kind unavailable: the model is missing or damaged, or the engine was closed.
        """
        try:
            future = asyncio.get_running_loop().run_in_executor(self._thread, self._predict, audio)
        except RuntimeError as error:
            raise EngineError(self.name, "unavailable", "the engine was closed") from error
        try:
            return await future
        except ModelFileError as error:
            raise EngineError(self.name, "unavailable", str(error)) from error

    def _predict(self, audio: PCM) -> float:
        fresh = self._run is None
        if fresh:
            # A run takes 40 MB for its 50 ms; an arena would hold on to them, and costs time besides.
            model = require(self._models_dir, SMART_TURN) / "smart-turn-v3.2-cpu.onnx"
            self._run = session(model, arena=False).run
        (output,) = self._run(None, {"input_features": log_mel(audio)[None]})
        if fresh:
            release_memory()
        return float(output[0, 0])

    async def close(self) -> None:
        """Drop what waits, and join the thread once the call that is running has finished."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._thread.shutdown)
