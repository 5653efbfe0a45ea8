"""What the bench says: cycles of 3.0 s of speech and 2.0 s of silence, cut so that speech ends exactly at 3.000 s."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CYCLE = 5.0
SPEECH = 3.0
CHUNK = 0.02
SEGMENTS = (
    ("two_cities", 17.54),
    ("two_cities", 32.85),
    ("two_cities", 36.0),
    ("two_cities", 38.70),
    ("two_cities", 1.30),
    ("endgame_nagg_nell", 4.95),
)
"""File and second at which a stretch of speech begins that is spoken through for 3 s."""

PEAK = 0.5
FLOOR = 3e-5
"""RMS of the noise in the silence: about -90 dBFS."""


def samples_dir() -> Path:
    """Where ``antiphon models fetch`` leaves the recorded speech."""
    import platformdirs  # here, because peers' environments import this module without it

    return platformdirs.user_cache_path("antiphon", appauthor=False) / "models" / "samples"


def cycles(rate: int) -> list[NDArray[np.int16]]:
    """The cycles at a sample rate, mono; each :data:`CYCLE` seconds long.

    Args:
        rate: Hz.

    Raises:
        SystemExit: The recordings were not fetched.
    """
    noise = np.random.default_rng(1)
    sources: dict[str, NDArray[np.float32]] = {}
    made = []
    for name, second in SEGMENTS:
        if name not in sources:
            sources[name] = _read(samples_dir() / f"{name}.wav", rate)
        start = round(second * rate)
        speech = sources[name][start : start + round(SPEECH * rate)]
        speech = speech * (PEAK / np.abs(speech).max())
        silence = noise.normal(0, FLOOR, round((CYCLE - SPEECH) * rate))
        made.append((np.concatenate([speech, silence]) * 32767).astype(np.int16))
    return made


def chunks(rate: int, made: list[NDArray[np.int16]] | None = None) -> list[list[bytes]]:
    """The cycles (made beforehand, where given) as PCM in chunks of :data:`CHUNK` seconds."""
    size = round(CHUNK * rate) * 2
    rows = [row.tobytes() for row in (cycles(rate) if made is None else made)]
    return [[raw[at : at + size] for at in range(0, len(raw), size)] for raw in rows]


def _read(path: Path, rate: int) -> NDArray[np.float32]:
    import soxr

    try:
        with wave.open(str(path)) as file:
            raw, own = file.readframes(file.getnframes()), file.getframerate()
    except FileNotFoundError:
        raise SystemExit(f"there is no {path}: run 'antiphon models fetch' first") from None
    speech = np.frombuffer(raw, np.int16).astype(np.float32) / 32768
    return soxr.resample(speech, own, rate) if own != rate else speech
