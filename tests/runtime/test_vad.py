from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from antiphon.audio.ring import Ring
from antiphon.engines.ports import VadState
from antiphon.runtime.clock import run_virtual
from antiphon.runtime.vad import BATCH, INTERVAL, ROUNDS, VadBatcher, VoiceGate


class LevelVad:
    """A frame's probability is its first sample; counts calls and can be told to fail."""

    frame = 512

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.fail = False

    def probabilities(self, frames: NDArray[np.float32], states: Sequence[VadState]) -> NDArray[np.float32]:
        assert frames.shape == (len(states), 512) and frames.dtype == np.float32
        if self.fail:
            raise RuntimeError("no model")
        self.batches.append(len(states))
        return frames[:, 0].copy()


class Sink:
    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.gate: VoiceGate | None = None
        self.problem: Exception | None = None

    def voice_on(self, sample: int) -> None:
        self.seen.append(("on", sample))

    def voice_off(self, sample: int) -> None:
        self.seen.append(("off", sample))

    def audio_reached(self, sample: int) -> None:
        self.seen.append(("reached", sample))

    def vad_failed(self, problem: Exception) -> None:
        self.problem = problem


class Ear:
    """A ring, a gate and a sink, fed as a session feeds them."""

    def __init__(self, batcher: VadBatcher) -> None:
        self.ring, self.sink, self.batcher = Ring(), Sink(), batcher
        self.gate = VoiceGate(self.ring, self.sink, 0.5)

    def hear(self, pcm: NDArray[np.int16]) -> None:
        self.ring.append(pcm)
        if not self.gate.queued and self.ring.end - self.gate.position >= 512:
            self.batcher.due(self.gate)


def frames(*probabilities: float) -> NDArray[np.int16]:
    """Audio whose frames have these probabilities for :class:`LevelVad`."""
    out = np.zeros((len(probabilities), 512), np.int16)
    out[:] = np.array([round(p * 32767) for p in probabilities])[:, None]
    return out.reshape(-1)


def test_edges_carry_the_samples_of_the_voice() -> None:
    async def main() -> Ear:
        ear = Ear(VadBatcher(LevelVad()))
        ear.hear(frames(0.1, 0.6, 0.9, 0.4, 0.36, 0.34, 0.1, 0.49))
        await asyncio.sleep(1)
        return ear

    ear = run_virtual(main())
    assert ear.sink.seen == [("on", 512), ("off", 5 * 512)], "hysteresis keeps 0.36 voiced"


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.integers(1, 1500), min_size=1, max_size=40),
    voice=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_edges_do_not_depend_on_how_the_audio_is_cut(chunks: list[int], voice: list[bool]) -> None:
    pcm = frames(*(0.9 if v else 0.0 for v in voice))

    async def main(sizes: list[int]) -> list[tuple[str, int]]:
        ear = Ear(VadBatcher(LevelVad()))
        position = 0
        for size in sizes:
            ear.hear(pcm[position : position + size])
            position += size
            await asyncio.sleep(0.005)
        await asyncio.sleep(1)
        return [s for s in ear.sink.seen if s[1] <= sum(sizes) - 512]

    total = min(sum(chunks), len(pcm))
    assert run_virtual(main(chunks)) == run_virtual(main([total]))


def test_all_sessions_share_a_batch() -> None:
    async def main() -> list[int]:
        vad = LevelVad()
        batcher = VadBatcher(vad)
        ears = [Ear(batcher) for _ in range(BATCH + 8)]
        for ear in ears:
            ear.hear(frames(0.9))
        await asyncio.sleep(INTERVAL - 0.001)
        assert vad.batches == []
        await asyncio.sleep(0.002)
        assert all(ear.sink.seen == [("on", 0)] for ear in ears)
        return vad.batches

    assert run_virtual(main()) == [BATCH, 8]


def test_a_burst_does_not_starve_the_others() -> None:
    async def main() -> tuple[int, int]:
        batcher = VadBatcher(LevelVad())
        burst, other = Ear(batcher), Ear(batcher)
        burst.hear(frames(*([0.0] * 1000)))
        turns = done = 0

        class Noting(Sink):
            def voice_on(self, sample: int) -> None:
                nonlocal done
                done = burst.gate.position // 512

        other.gate.sink = Noting()

        def look() -> None:
            nonlocal turns
            turns += 1
            if burst.gate.queued:
                asyncio.get_running_loop().call_soon(look)

        await asyncio.sleep(INTERVAL)
        look()
        other.hear(frames(0.9))
        await asyncio.sleep(1)
        assert burst.gate.position == 1000 * 512
        return done, turns

    done, turns = run_virtual(main())
    assert 0 < done <= 3 * ROUNDS, "served within a round or two"
    assert turns > 1000 / ROUNDS / 2, "the loop gets a turn between"


def test_the_deadline_is_told_once_the_audio_was_looked_at() -> None:
    async def main() -> list[tuple[str, int]]:
        ear = Ear(VadBatcher(LevelVad()))
        ear.gate.deadline = 1000
        ear.hear(frames(0.9))
        await asyncio.sleep(0.1)
        assert ear.sink.seen == [("on", 0)]
        ear.hear(frames(0.0))
        await asyncio.sleep(0.1)
        return ear.sink.seen

    assert run_virtual(main()) == [("on", 0), ("off", 512), ("reached", 1024)]


def test_a_closed_gate_hears_nothing_and_a_skipped_span_is_not_looked_at() -> None:
    async def main() -> None:
        batcher = VadBatcher(LevelVad())
        closed, skipped, kept = Ear(batcher), Ear(batcher), Ear(batcher)
        for ear in (closed, skipped, kept):
            ear.hear(frames(0.9))
        closed.gate.close()
        skipped.gate.skip(512)
        await asyncio.sleep(0.1)
        assert closed.sink.seen == skipped.sink.seen == []
        assert kept.sink.seen == [("on", 0)]
        skipped.hear(frames(0.9))
        await asyncio.sleep(0.1)
        assert skipped.sink.seen == [("on", 512)]

    run_virtual(main())


def test_a_failing_model_is_told_and_counts_as_silence(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> Ear:
        vad = LevelVad()
        ear = Ear(VadBatcher(vad))
        vad.fail = True
        ear.hear(frames(0.9))
        await asyncio.sleep(0.1)
        return ear

    ear = run_virtual(main())
    assert isinstance(ear.sink.problem, RuntimeError) and ear.sink.seen == []
    assert ear.gate.position == 512
    assert "the VAD failed" in caplog.text


def test_a_voice_ends_where_it_falls_silent_not_where_the_model_forgets_it() -> None:
    async def main() -> None:
        class Forgetful(LevelVad):
            """Hears a voice in every frame until the third silent one."""

            def probabilities(self, frames: NDArray[np.float32], states: Sequence[VadState]) -> NDArray[np.float32]:
                self.silent = 0 if np.abs(frames).max() > 0.01 else getattr(self, "silent", 0) + 1
                return np.full(len(states), float(self.silent < 3), np.float32)

        batcher = VadBatcher(Forgetful())
        ear = Ear(batcher)
        voice = np.full(5 * 512 + 200, 16_000, np.int16)
        for chunk in np.array_split(np.concatenate([voice, np.zeros(10 * 512, np.int16)]), 20):
            ear.hear(chunk)
            await asyncio.sleep(2 * INTERVAL)
        (on, off) = ear.sink.seen
        assert on == ("on", 0)
        assert off[0] == "off" and len(voice) <= off[1] < len(voice) + 128
        batcher.close()

    run_virtual(main())


def test_a_deadline_in_a_frame_that_has_only_begun_is_told_when_its_audio_came() -> None:
    async def main() -> None:
        batcher = VadBatcher(LevelVad())
        ear = Ear(batcher)
        ear.gate.deadline = 512 + 100
        ear.hear(np.zeros(512 + 99, np.int16))
        await asyncio.sleep(2 * INTERVAL)
        assert ear.sink.seen == []
        ear.gate.ring.append(np.zeros(1, np.int16))
        ear.gate.look_ahead()
        assert ear.sink.seen == [("reached", 612)]
        ear.gate.close()
        ear.gate.look_ahead()
        assert len(ear.sink.seen) == 1
        batcher.close()

    run_virtual(main())
