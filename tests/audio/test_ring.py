from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from antiphon.audio.pcm import PCM
from antiphon.audio.ring import BLOCK, Ring


def ramp(start: int, count: int) -> PCM:
    return (np.arange(start, start + count) % 32749).astype(np.int16)


class RingIsAnArray(RuleBasedStateMachine):
    """Whatever is done to it, a ring answers as one long array would, minus what was released."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring()
        self.all = ramp(0, 0)
        self.released = 0
        self.reads: list[tuple[PCM, PCM]] = []

    @rule(count=st.one_of(st.integers(0, 700), st.integers(BLOCK - 2, 3 * BLOCK)))
    def append(self, count: int) -> None:
        assert self.ring.append(ramp(len(self.all), count)) == len(self.all)
        self.all = ramp(0, len(self.all) + count)

    @rule(share=st.floats(-0.1, 1.1), length=st.one_of(st.integers(-5, 600), st.integers(0, 4 * BLOCK)))
    def read(self, share: float, length: int) -> None:
        start = int(share * len(self.all))
        got = self.ring.read(start, start + length)
        low, high = max(start, self.released), min(start + length, len(self.all))
        assert np.array_equal(got, self.all[low : max(low, high)])
        self.reads.append((got, got.copy()))

    @rule(share=st.floats(-0.1, 1.1))
    def release(self, share: float) -> None:
        before = int(share * len(self.all))
        self.ring.release(before)
        self.released = max(self.released, min(before, len(self.all)))

    @invariant()
    def addresses_hold_and_memory_is_bounded(self) -> None:
        assert (self.ring.start, self.ring.end, len(self.ring)) == (
            self.released,
            len(self.all),
            len(self.all) - self.released,
        )
        assert self.ring.nbytes <= 2 * (len(self.ring) + 2 * BLOCK)

    @invariant()
    def what_was_read_stays(self) -> None:
        for got, copy in self.reads:
            assert np.array_equal(got, copy)


TestRing = RingIsAnArray.TestCase
TestRing.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_an_hour_in_small_chunks_keeps_only_what_is_needed() -> None:
    ring, chunk = Ring(), ramp(0, 320)
    for n in range(180_000):
        ring.append(chunk)
        if n % 50 == 0:
            ring.release(ring.end - 16_000)
    assert ring.end == 57_600_000
    assert ring.nbytes <= 2 * 4 * BLOCK
    assert len(ring.read(ring.end - 320, ring.end)) == 320


def test_vad_frames_are_read_without_a_copy() -> None:
    ring = Ring()
    ring.append(ramp(0, 3 * BLOCK))
    frames = [ring.read(at, at + 512) for at in range(0, 3 * BLOCK, 512)]
    assert all(frame.base is not None and len(frame) == 512 for frame in frames)
    assert np.shares_memory(frames[0], ring.read(0, 10))


def test_what_is_read_cannot_be_changed() -> None:
    ring = Ring()
    ring.append(ramp(0, BLOCK + 10))
    for got in (ring.read(0, 5), ring.read(BLOCK - 5, BLOCK + 5), ring.read(7, 7)):
        with pytest.raises(ValueError, match="read-only"):
            got[:1] = 1


def test_the_ring_does_not_keep_the_caller_s_array() -> None:
    ring, chunk = Ring(), ramp(0, 100)
    ring.append(chunk)
    chunk[:] = 7
    assert np.array_equal(ring.read(0, 100), ramp(0, 100))
