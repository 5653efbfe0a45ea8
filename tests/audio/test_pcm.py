from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from antiphon.audio import pcm
from antiphon.audio.pcm import PCM, AudioDataError

samples = hnp.arrays(np.int16, st.integers(0, 300))


@given(samples)
def test_bytes_and_floats_round_trip(x: PCM) -> None:
    assert np.array_equal(pcm.from_bytes(pcm.to_bytes(x)), x)
    assert np.array_equal(pcm.from_float(pcm.to_float(x)), x)


def test_bytes_are_little_endian() -> None:
    assert pcm.from_bytes(b"\x01\x80").tolist() == [-32767]
    assert pcm.from_bytes(memoryview(b"\x01\x00\x02\x00")).tolist() == [1, 2]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(AudioDataError, match="even number of bytes, got 3"):
        pcm.from_bytes(b"abc")


def test_float_is_clipped_and_must_be_finite() -> None:
    assert pcm.from_float(np.array([2.0, -2.0, 1.0, -1.0])).tolist() == [32767, -32768, 32767, -32768]
    with pytest.raises(AudioDataError, match="NaN"):
        pcm.from_float(np.array([0.0, math.nan]))


def test_channels() -> None:
    stereo = np.array([[100, 300], [-5, 5]], np.int16)
    assert pcm.mix_to_mono(stereo).tolist() == [200, 0]
    assert pcm.mix_to_mono(stereo[:, :1]).tolist() == [100, -5]
    assert pcm.mix_to_mono(stereo[:, 0]).tolist() == [100, -5]
    assert pcm.interleave(stereo[:, 0], stereo[:1, 1]).tolist() == [[100, 300], [-5, 0]]
    with pytest.raises(AudioDataError, match="at least one channel"):
        pcm.mix_to_mono(np.zeros((3, 0), np.int16))


def test_loudest_stereo_does_not_overflow() -> None:
    assert pcm.mix_to_mono(np.full((2, 2), -32768, np.int16)).tolist() == [-32768, -32768]


def test_gain_saturates() -> None:
    x = np.array([100, 20000, -20000], np.int16)
    assert pcm.gain(x, 2).tolist() == [200, 32767, -32768]
    assert pcm.gain(x, 1) is x


@given(samples, st.integers(0, 400))
def test_fades_only_ever_lower_and_leave_the_rest(x: PCM, n: int) -> None:
    kept = max(0, len(x) - n)
    out, into = pcm.fade_out(x, n), pcm.fade_in(x, n)
    assert np.array_equal(out[:kept], x[:kept])
    assert np.array_equal(into[len(x) - kept :], x[len(x) - kept :])
    for faded in (out, into):
        assert len(faded) == len(x)
        assert (np.abs(faded.astype(int)) <= np.abs(x.astype(int))).all()


def test_ramp_glides_without_a_jump() -> None:
    out = pcm.ramp(np.full(240, 10000, np.int16), 1.0, 0.25)
    steps = np.diff(out.astype(int))
    assert abs(int(out[0]) - 10000) <= 2
    assert abs(int(out[-1]) - 2500) <= 2
    assert steps.max() <= 0
    assert steps.min() > -60
    assert pcm.ramp(np.array([8], np.int16), 0.5, 0.5).tolist() == [4]
    assert len(pcm.ramp(pcm.empty(), 0.0, 1.0)) == 0


def test_levels() -> None:
    t = np.arange(16000)
    sine = (32767 * np.sin(2 * np.pi * 400 * t / 16000)).astype(np.int16)
    assert pcm.level(sine) == pytest.approx(-3.01, abs=0.01)
    assert pcm.level(pcm.gain(sine, 0.1)) == pytest.approx(-23.01, abs=0.02)
    assert pcm.level(np.full(10, -32768, np.int16)) == 0
    assert pcm.level(np.zeros(10, np.int16)) == pcm.level(pcm.empty()) == pcm.FLOOR
