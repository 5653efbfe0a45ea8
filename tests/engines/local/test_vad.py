from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon.engines.local.vad import SileroVad
from antiphon.engines.ports import PCM, VadState

pytestmark = pytest.mark.models

Frames = NDArray[np.float32]


@pytest.fixture(scope="module")
def vad(models_dir: Path) -> SileroVad:
    return SileroVad(models_dir)


def frames_of(pcm: PCM) -> Frames:
    return pcm[: len(pcm) // 512 * 512].reshape(-1, 512).astype(np.float32) / np.float32(32768)


def run(vad: SileroVad, frames: Frames) -> Frames:
    state = VadState()
    return np.concatenate([vad.probabilities(frame[None], [state]) for frame in frames])


def test_speech_is_heard_between_its_pauses(vad: SileroVad, beckett: PCM) -> None:
    voiced = run(vad, frames_of(beckett)) > 0.5
    starts = np.flatnonzero(np.diff(voiced.astype(int)) == 1)
    assert len(starts) == 6, "ever tried / ever failed / no matter / try again / fail again / fail better"
    assert 0.4 < voiced.mean() < 0.6


def test_silence_noise_and_tones_are_not_speech(vad: SileroVad, noise: PCM) -> None:
    time = np.arange(32_000) / 16_000
    hum = (3000 * np.sin(2 * np.pi * 100 * time)).astype(np.int16)
    for quiet in (np.zeros(32_000, np.int16), noise, hum):
        assert run(vad, frames_of(quiet)).max() < 0.5


def test_a_batch_of_streams_hears_what_each_alone_hears(vad: SileroVad, beckett: PCM, noise: PCM) -> None:
    streams = [frames_of(beckett)[shift : shift + 60] for shift in (0, 40, 80)] + [frames_of(noise)[:60]]
    alone = [run(vad, stream) for stream in streams]
    states = [VadState() for _ in streams]
    batched = np.stack([vad.probabilities(np.stack([s[i] for s in streams]), states) for i in range(60)], axis=1)
    np.testing.assert_array_equal(batched, np.stack(alone))


def test_streams_may_come_and_go(vad: SileroVad, beckett: PCM) -> None:
    frames = frames_of(beckett)[:40]
    alone = run(vad, frames)
    state, visitor = VadState(), VadState()
    mixed = []
    for i, frame in enumerate(frames):
        if i % 3 == 0:
            mixed.append(vad.probabilities(np.stack([frames[0], frame]), [visitor, state])[1])
        else:
            mixed.append(vad.probabilities(frame[None], [state])[0])
    np.testing.assert_array_equal(np.array(mixed, np.float32), alone)


def test_states_share_no_memory_with_the_model(vad: SileroVad, beckett: PCM) -> None:
    frame = frames_of(beckett)[20][None]
    first, second = VadState(), VadState()
    vad.probabilities(frame, [first])
    kept = first.state.copy(), first.context.copy()
    vad.probabilities(np.zeros((1, 512), np.float32), [second])
    np.testing.assert_array_equal(first.state, kept[0])
    np.testing.assert_array_equal(first.context, kept[1])


def test_no_stream_is_no_work(vad: SileroVad) -> None:
    assert vad.probabilities(np.zeros((0, 512), np.float32), []).shape == (0,)


def test_frames_of_another_shape_are_refused(vad: SileroVad) -> None:
    with pytest.raises(ValueError, match=r"expected frames of shape \(1, 512\), one row a state, got \(1, 480\)"):
        vad.probabilities(np.zeros((1, 480), np.float32), [VadState()])
