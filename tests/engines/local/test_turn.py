from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from antiphon.engines.local.turn import SmartTurn, log_mel
from antiphon.engines.ports import PCM, EngineError

SILENCE = np.zeros(4800, np.int16)


def test_log_mel_is_whispers() -> None:
    tone = (10_000 * np.sin(2 * np.pi * 1000 * np.arange(128_000) / 16_000)).astype(np.int16)
    mel = log_mel(tone)
    assert mel.shape == (80, 800)
    assert mel.dtype == np.float32
    # 1 kHz is mel 15 of 45.2 on Slaney's scale: between 81 edges, the 26th filter.
    assert set(mel[:, 5:-5].argmax(axis=0)) <= {25, 26}
    assert mel.max() - mel.min() <= 2.0 + 1e-6, "clamped to 8 decades, a quarter of it after scaling"


def test_only_the_last_eight_seconds_count_and_silence_comes_before_shorter_audio() -> None:
    audio = (np.random.default_rng(1).standard_normal(160_000) * 1000).astype(np.int16)
    np.testing.assert_array_equal(log_mel(audio), log_mel(audio[-128_000:]))
    short = audio[:16_000]
    padded = np.concatenate([np.zeros(112_000, np.int16), short])
    np.testing.assert_array_equal(log_mel(short), log_mel(padded))
    assert np.isfinite(log_mel(np.zeros(0, np.int16))).all()


@pytest.mark.models
async def test_a_finished_phrase_is_told_from_one_cut_in_mid_word(models_dir: Path, beckett: PCM) -> None:
    detector = SmartTurn(models_dir)
    assert not detector.readiness()
    await detector.warm_up()
    assert detector.readiness()
    try:
        # "Ever tried. | Ever failed." is over at 3.2 s; at 2.0 s and 6.0 s a word has just begun.
        finished = await detector.predict(np.concatenate([beckett[: int(3.2 * 16_000)], SILENCE]))
        cut = [await detector.predict(np.concatenate([beckett[: s * 16_000], SILENCE])) for s in (2, 6)]
    finally:
        await detector.close()
    assert finished > 0.8
    assert max(cut) < 0.2


@pytest.mark.models
async def test_a_cancelled_call_is_not_computed(models_dir: Path) -> None:
    detector = SmartTurn(models_dir)
    gate = threading.Event()
    held = detector._thread.submit(gate.wait)
    waiting = asyncio.create_task(detector.predict(SILENCE))
    started = asyncio.Event()
    asyncio.get_running_loop().call_soon(started.set)
    await started.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    await asyncio.wrap_future(held)
    await detector.close()
    assert not detector.readiness(), "nothing was loaded for the cancelled call"


async def test_missing_models_and_closed_engines_are_unavailable(tmp_path: Path) -> None:
    detector = SmartTurn(tmp_path)
    with pytest.raises(
        EngineError, match=r"smart-turn-v3.2-cpu.onnx is missing: run 'antiphon models fetch'"
    ) as caught:
        await detector.warm_up()
    assert caught.value.kind == "unavailable"
    await detector.close()
    await detector.close()
    with pytest.raises(EngineError, match="closed"):
        await detector.predict(SILENCE)
