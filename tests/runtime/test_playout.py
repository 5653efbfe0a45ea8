from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from antiphon.runtime.clock import run_virtual
from antiphon.runtime.playout import DUCKED, FADE, FRAME, FRAME_SECONDS, NullSpeaker, Pacer, Playout

PCM = NDArray[np.int16]
LOUD = 10_000


class Ear:
    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.frames: list[tuple[float, PCM]] = []

    def play(self, frame: PCM, at: float) -> None:
        assert frame.dtype == np.int16 and len(frame) == FRAME
        self.frames.append((at, frame))

    @property
    def pcm(self) -> PCM:
        return np.concatenate([f for _, f in self.frames]) if self.frames else np.zeros(0, np.int16)


class Voice:
    """A playout with its pacer, and when it ran dry."""

    def __init__(self, latency: float = 0.0) -> None:
        self.ear, self.pacer = Ear(latency), Pacer()
        self.drained: list[float] = []
        self.playout = Playout(self.pacer, self.ear, lambda: self.drained.append(self.now))

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def heard(self) -> int:
        return self.playout.heard(self.now)


def ramp(samples: int, start: int = 1) -> PCM:
    """Samples that tell their own address."""
    return (np.arange(start, start + samples) % 30_000).astype(np.int16)


def loud(samples: int) -> PCM:
    return np.full(samples, LOUD, np.int16)


def scene(play: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await play()

    run_virtual(main())


def test_frames_come_every_20_ms_and_stop() -> None:
    async def play() -> None:
        voice = Voice()
        assert not voice.pacer.ticking
        voice.playout.append(ramp(FRAME * 50))
        await asyncio.sleep(2)
        times = [at for at, _ in voice.ear.frames]
        assert np.allclose(np.diff(times), FRAME_SECONDS) and times[0] == 0.0
        assert np.array_equal(voice.ear.pcm, ramp(FRAME * 50))
        assert voice.drained == pytest.approx([50 * FRAME_SECONDS]), "when the last frame was heard"
        assert voice.heard == FRAME * 50
        assert not voice.pacer.ticking

    scene(play)


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(0, 2000), min_size=1, max_size=12))
def test_nothing_is_lost_however_the_audio_comes(sizes: list[int]) -> None:
    async def play() -> None:
        voice = Voice()
        position = 0
        for size in sizes:
            voice.playout.append(ramp(size, position + 1))
            position += size
        await asyncio.sleep(position / 24_000 + 1)
        assert np.array_equal(voice.ear.pcm[:position], ramp(position))
        assert not voice.ear.pcm[position:].any(), "the last frame is padded"
        assert voice.heard == position
        assert len(voice.drained) == (1 if position else 0)

    scene(play)


def test_audio_that_comes_late_goes_on_in_the_stream() -> None:
    async def play() -> None:
        voice = Voice()
        voice.playout.append(loud(700))
        await asyncio.sleep(1)
        assert len(voice.drained) == 1
        voice.playout.append(loud(700))
        await asyncio.sleep(1)
        assert voice.heard == 1400 and len(voice.drained) == 2

    scene(play)


def test_a_duck_takes_40_ms_and_a_resume_brings_it_back() -> None:
    async def play() -> None:
        voice = Voice()
        voice.playout.append(loud(FRAME * 40))
        await asyncio.sleep(0.19)
        voice.playout.duck()
        await asyncio.sleep(0.2)
        voice.playout.resume()
        await asyncio.sleep(1)
        peaks = [int(f.max()) for _, f in voice.ear.frames]
        assert peaks[:10] == [LOUD] * 10
        assert [int(f.min()) for _, f in voice.ear.frames][11] == pytest.approx(LOUD * DUCKED, rel=0.01)
        assert peaks[12:20] == pytest.approx([LOUD * DUCKED] * 8, rel=0.01)
        assert peaks[-10:] == [LOUD] * 10
        assert len(peaks) == 40, "ducking takes no time"
        steps = np.abs(np.diff(voice.ear.pcm.astype(np.int32)))
        assert steps.max() < LOUD / 50, "no click"

    scene(play)


def test_a_pause_goes_on_at_the_same_sample() -> None:
    async def play() -> None:
        voice = Voice()
        voice.playout.append(loud(FRAME * 20))
        await asyncio.sleep(0.09)
        voice.playout.pause()
        await asyncio.sleep(0.01)
        held = voice.heard
        await asyncio.sleep(3)
        assert voice.heard == held == FRAME * 5
        assert not voice.pacer.ticking and not voice.drained
        voice.playout.resume()
        await asyncio.sleep(2)
        assert voice.heard == FRAME * 20 and len(voice.drained) == 1
        fading = voice.ear.frames[5][1]
        assert fading[:FADE].any() and not fading[FADE:].any(), "5 ms of it die away"
        back = voice.ear.frames[6][1]
        assert back[0] < 200 and back[-1] == LOUD, "and come back softly"
        assert len(voice.ear.frames) == 21
        assert np.abs(np.diff(voice.ear.pcm[: FRAME * 20].astype(np.int32))).max() < LOUD / 20

    scene(play)


def test_audio_for_a_paused_voice_waits() -> None:
    async def play() -> None:
        voice = Voice()
        voice.playout.pause()
        voice.playout.append(loud(FRAME * 2))
        await asyncio.sleep(1)
        assert voice.ear.frames == []
        voice.playout.resume()
        await asyncio.sleep(1)
        assert voice.heard == FRAME * 2

    scene(play)


def test_a_flush_forgets_what_is_queued_and_the_stream_goes_on_there() -> None:
    async def play() -> None:
        voice = Voice()
        voice.playout.append(loud(FRAME * 50))
        await asyncio.sleep(0.19)
        voice.playout.flush(voice.now)
        at = voice.heard
        assert at == FRAME * 10 and voice.playout.queued == 0
        await asyncio.sleep(1)
        assert len(voice.ear.frames) == 11 and not voice.ear.frames[-1][1][FADE:].any()
        assert voice.drained == [] and not voice.pacer.ticking
        voice.playout.append(loud(FRAME * 2))
        await asyncio.sleep(1)
        assert voice.heard == at + FRAME * 2
        assert voice.ear.frames[-1][1].max() == LOUD, "at full level"

    scene(play)


def test_a_flush_of_a_ducked_or_paused_voice_leaves_nothing_behind() -> None:
    async def play() -> None:
        for soften in ("duck", "pause"):
            voice = Voice()
            voice.playout.append(loud(FRAME * 10))
            await asyncio.sleep(0.05)
            getattr(voice.playout, soften)()
            await asyncio.sleep(0.05)
            voice.playout.flush(voice.now)
            voice.playout.append(loud(FRAME * 3))
            await asyncio.sleep(1)
            assert [int(f.max()) for _, f in voice.ear.frames[-3:]] == [LOUD] * 3

    scene(play)


def test_a_voice_that_ends_ducked_begins_again_at_full_level() -> None:
    async def play() -> None:
        voice = Voice()
        voice.playout.append(loud(FRAME * 3))
        voice.playout.duck()
        await asyncio.sleep(1)
        voice.playout.append(loud(FRAME * 3))
        await asyncio.sleep(1)
        assert voice.ear.frames[-1][1].min() == LOUD

    scene(play)


def test_the_speakers_latency_counts() -> None:
    async def play() -> None:
        voice = Voice(latency=0.1)
        voice.playout.append(loud(FRAME * 10))
        await asyncio.sleep(0.11)
        assert voice.heard == 0, "the first frame is heard at 0.12"
        await asyncio.sleep(0.02)
        assert voice.heard == FRAME
        voice.playout.flush(voice.now)
        await asyncio.sleep(1)
        assert voice.heard == FRAME, "what was under way counts as never said"
        voice.playout.append(loud(FRAME * 2))
        await asyncio.sleep(1)
        assert voice.heard == FRAME * 3
        assert voice.drained == pytest.approx([1.13 + 0.14], abs=0.021)

    scene(play)


def test_a_held_up_loop_catches_up_a_little_and_skips_the_rest() -> None:
    async def play() -> None:
        voice = Voice()
        voice.playout.append(loud(FRAME * 100))
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        loop.advance(1.0)  # type: ignore[attr-defined]  # as if something had blocked it
        await asyncio.sleep(0.001)
        assert 5 + 5 <= len(voice.ear.frames) <= 5 + 6
        assert voice.pacer.late == pytest.approx(45, abs=2)
        await asyncio.sleep(0.1)
        assert len(voice.ear.frames) <= 17, "no burst afterwards"

    scene(play)


def test_many_voices_share_the_tick() -> None:
    async def play() -> None:
        pacer = Pacer()
        ears = [Ear() for _ in range(20)]
        playouts = [Playout(pacer, ear, lambda: None) for ear in ears]
        playouts[0].append(loud(FRAME * 10))
        await asyncio.sleep(0.013)
        for playout in playouts[1:]:
            playout.append(loud(FRAME * 5))
        await asyncio.sleep(0.05)
        playouts[3].close()
        heard = len(ears[3].frames)
        await asyncio.sleep(1)
        assert len({at for at, _ in ears[1].frames} - {at for at, _ in ears[0].frames}) == 0
        assert len(ears[3].frames) == heard and len(ears[4].frames) == 5
        assert not pacer.ticking

    scene(play)


def test_a_voice_may_begin_again_from_within_its_end() -> None:
    async def play() -> None:
        pacer, ear = Pacer(), Ear()
        ends: list[int] = []

        def drained() -> None:
            ends.append(len(ear.frames))
            if len(ends) < 3:
                pacer.stop(playout)
                playout.append(loud(FRAME))

        playout = Playout(pacer, ear, drained)
        playout.append(loud(FRAME))
        await asyncio.sleep(1)
        assert ends == [1, 2, 3] and not pacer.ticking

    scene(play)


def test_nobody_listens_to_the_null_speaker() -> None:
    async def play() -> None:
        pacer = Pacer()
        playout = Playout(pacer, NullSpeaker(), lambda: None)
        playout.append(loud(FRAME * 3))
        await asyncio.sleep(1)
        assert playout.heard(1.0) == FRAME * 3
        pacer.close()

    scene(play)
