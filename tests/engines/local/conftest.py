"""The fetched model files, and one engine process for all tests that need no other."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from antiphon.audio.files import read_speech
from antiphon.engines.local import LocalEngines, local_engines
from antiphon.engines.local.catalogue import CATALOGUE
from antiphon.engines.local.models import default_models_dir, state
from antiphon.engines.ports import PCM


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Where the models are: the setting's directory, or the user's cache."""
    given = os.environ.get("ANTIPHON_DATA__MODELS_DIR")
    directory = Path(given) if given else default_models_dir()
    if any(state(directory, model) != "ready" for model in CATALOGUE):
        pytest.skip(f"the models are not in {directory}: run 'antiphon models fetch'")
    return directory


@pytest.fixture(scope="session")
def beckett(models_dir: Path) -> PCM:
    """10 s of a person reading, with pauses between the phrases."""
    return read_speech(models_dir / "samples/beckett.wav")


@pytest.fixture
def noise() -> PCM:
    """2 s of quiet white noise."""
    return (np.random.default_rng(7).standard_normal(32_000) * 300).astype(np.int16)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engines(models_dir: Path) -> AsyncIterator[LocalEngines]:
    """All embedded engines, on one process."""
    made = local_engines(models_dir, {"threads": 2})
    yield made
    for engine in (made.turn, made.stt, made.llm, made.tts):
        await engine.close()
