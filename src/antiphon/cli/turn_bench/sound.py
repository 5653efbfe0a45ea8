"""Makes the utterances heard: Piper and espeak-ng speak them, noises are made of noise. All 16 kHz."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import platformdirs

from antiphon.audio.files import read_speech
from antiphon.audio.pcm import PCM, from_float
from antiphon.audio.resample import resample
from antiphon.cli.turn_bench.material import Dialogue, Utterance
from antiphon.core.items import INPUT_RATE, OUTPUT_RATE
from antiphon.engines.ports import Tts, TtsRequest
from antiphon.errors import UsageError

PEAK = 0.4
_SILENT = 0.02
"""Share of the peak below which the ends of an utterance are cut off, so that its first and last sound are known."""


class Sounds:
    """The sounds of a set of dialogues, kept on disk between runs."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or platformdirs.user_cache_path("antiphon", appauthor=False) / "bench"
        self._made: dict[tuple[str, str], PCM] = {}

    async def make(self, dialogues: Iterable[Dialogue], piper: Tts) -> None:
        """Speak everything that is said in the dialogues.

        Raises:
            UsageError: espeak-ng is not installed, or fails.
            EngineError: Piper fails.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        for dialogue in dialogues:
            for utterance in dialogue.utterances:
                key = _key(dialogue, utterance)
                if key not in self._made:
                    self._made[key] = await self._sound(*key, piper)

    def of(self, dialogue: Dialogue, utterance: Utterance) -> PCM:
        """The sound of an utterance at its level, its first and last sample being sound."""
        loud = self._made[_key(dialogue, utterance)].astype(np.float32) / 32768
        return from_float(loud * utterance.gain)

    async def _sound(self, voice: str, text: str, piper: Tts) -> PCM:
        name = hashlib.sha256(f"{voice}\n{text}".encode()).hexdigest()[:24]
        path = self._directory / f"{name}.npy"
        if path.is_file():
            kept: PCM = np.load(path)
            return kept
        kind, _, option = voice.partition(":")
        if kind == "noise":
            pcm = noise(text)
        elif kind == "piper":
            pcm = await _piper(piper, text, float(option or 1))
        else:
            pcm = _espeak(text, option)
        made = _trimmed(pcm)
        np.save(path, made)
        return made


def _key(dialogue: Dialogue, utterance: Utterance) -> tuple[str, str]:
    return ("noise" if utterance.noise else dialogue.voice, utterance.text)


async def _piper(piper: Tts, text: str, speed: float) -> PCM:
    chunks = [chunk.audio async for chunk in piper.synthesize(TtsRequest(text, speed=speed))]
    return resample(np.concatenate(chunks), OUTPUT_RATE, INPUT_RATE)


def _espeak(text: str, voice: str) -> PCM:
    program = shutil.which("espeak-ng")
    if program is None:
        raise UsageError("the turn bench speaks with espeak-ng, which is not installed: install the package espeak-ng")
    ran = subprocess.run([program, "-v", voice, "-s", "165", "--stdout", text], capture_output=True, check=False)
    if ran.returncode:
        raise UsageError(f"espeak-ng failed with {ran.returncode}: {ran.stderr.decode(errors='replace').strip()}")
    return read_speech(io.BytesIO(ran.stdout))


def noise(name: str) -> PCM:
    """A sound without a word in it: cough, knock, keys, hum or rustle; under a second."""
    draw = np.random.default_rng(sum(name.encode()))

    def burst(seconds: float, decay: float, low: float, high: float) -> np.ndarray:
        count = round(seconds * INPUT_RATE)
        spectrum = np.fft.rfft(draw.normal(size=count))
        hertz = np.fft.rfftfreq(count, 1 / INPUT_RATE)
        spectrum[(hertz < low) | (hertz > high)] = 0
        fade = np.exp(-np.arange(count) / (decay * INPUT_RATE))
        return np.asarray(np.fft.irfft(spectrum, count) * fade)

    gap = np.zeros(INPUT_RATE // 12)
    match name:
        case "cough":
            parts = [burst(0.25, 0.08, 300, 4000), gap, burst(0.3, 0.1, 300, 4000)]
        case "knock":
            parts = [burst(0.1, 0.02, 80, 600), gap, burst(0.1, 0.02, 80, 600), gap, burst(0.1, 0.02, 80, 600)]
        case "keys":
            parts = [part for _ in range(8) for part in (burst(0.03, 0.008, 2000, 7000), gap)]
        case "hum":
            parts = [np.sin(2 * np.pi * 100 * np.arange(INPUT_RATE * 4 // 5) / INPUT_RATE)]
        case "rustle":
            parts = [burst(0.7, 0.5, 3000, 7800)]
        case _:
            raise ValueError(f"expected a noise of {name!r}")
    return _normal(np.concatenate(parts))


def _normal(samples: np.ndarray) -> PCM:
    return from_float(samples / np.abs(samples).max() * PEAK)


def _trimmed(pcm: PCM) -> PCM:
    sound = pcm.astype(np.float32) / 32768
    loud = np.flatnonzero(np.abs(sound) > np.abs(sound).max() * _SILENT)
    return _normal(sound[loud[0] : loud[-1] + 1])
