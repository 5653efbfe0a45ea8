from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.audio.pcm import PCM, AudioDataError, level
from antiphon.audio.resample import Quality, Resampler, resample

RATES = (8000, 16_000, 22_050, 24_000, 44_100, 48_000)


def sine(rate: int, seconds: float, hertz: float = 440.0) -> PCM:
    return (10_000 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.int16)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(RATES),
    st.sampled_from(RATES),
    st.lists(st.integers(0, 3000), min_size=1, max_size=20),
    st.sampled_from(["speech", "HQ"]),
)
def test_stream_has_the_right_length_and_phase(source: int, target: int, chunks: list[int], quality: Quality) -> None:
    total = sum(chunks)
    x = sine(source, 1 + total / source)[:total]
    resampler, at = Resampler(source, target, quality), 0
    out: list[PCM] = []
    for count in chunks:
        out.append(resampler.push(x[at : at + count]))
        at += count
        assert sum(map(len, out)) <= at * target / source + 1  # nothing comes before it was heard
    out.append(resampler.flush())
    y = np.concatenate(out)
    assert abs(len(y) - total * target / source) <= 1
    inner = slice(target // 50, max(target // 50, len(y) - target // 50))
    assert np.abs(y[inner].astype(int) - sine(target, 2 + total / source)[inner][: len(y[inner])]).max(initial=0) < 60


@pytest.mark.parametrize("quality", ["LQ", "MQ", "HQ", "VHQ"])
def test_whole_clip(quality: Literal["LQ", "MQ", "HQ", "VHQ"]) -> None:
    y = resample(sine(24_000, 1), 24_000, 16_000, quality)
    assert len(y) == 16_000
    assert np.abs(y[500:-500].astype(int) - sine(16_000, 1)[500:-500]).max() < 200


def test_equal_rates_pass_through_untouched() -> None:
    x = sine(16_000, 0.1)
    resampler = Resampler(16_000, 16_000)
    assert resampler.push(x) is x
    assert len(resampler.flush()) == 0
    assert resample(x, 16_000, 16_000) is x


def test_it_starts_over_after_flush_and_reset() -> None:
    resampler, x = Resampler(24_000, 16_000), sine(24_000, 0.2)
    first = np.concatenate((resampler.push(x), resampler.flush()))
    second = np.concatenate((resampler.push(x), resampler.flush()))
    assert np.array_equal(first, second)
    resampler.push(x)
    resampler.reset()
    assert np.array_equal(np.concatenate((resampler.push(x), resampler.flush())), first)


def test_full_scale_saturates_and_does_not_wrap() -> None:
    square = np.where(np.arange(4800) % 100 < 50, 32767, -32768).astype(np.int16)
    y = resample(square, 24_000, 16_000).astype(int)
    assert y.max() == 32767 or y.max() > 30000
    middle = y[8:25]  # inside the first half period: stays positive
    assert (middle > 20_000).all()


def test_rates_are_checked() -> None:
    with pytest.raises(AudioDataError, match="between 1000 and 384000 Hz, got 0"):
        Resampler(0, 16_000)
    with pytest.raises(AudioDataError, match="got 500000"):
        resample(sine(8000, 0.1), 8000, 500_000)


@pytest.mark.parametrize(("source", "target"), [(24_000, 16_000), (8000, 16_000), (48_000, 16_000), (24_000, 8000)])
def test_speech_quality_hardly_delays(source: int, target: int) -> None:
    resampler, chunk, given_back = Resampler(source, target), sine(source, 0.02), 0
    for _ in range(50):
        given_back += len(resampler.push(chunk))
    assert 0 < 1.0 - given_back / target <= 0.0011 + 32 / min(source, target)


@pytest.mark.parametrize(("source", "target"), [(24_000, 16_000), (48_000, 16_000), (16_000, 8000), (44_100, 16_000)])
def test_what_cannot_be_carried_is_filtered_out(source: int, target: int) -> None:
    def level_of(hertz: float) -> float:
        resampler = Resampler(source, target)
        return level(resampler.push(sine(source, 1, hertz))[target // 10 :]) - level(sine(source, 1, hertz))

    assert level_of(0.52 * target) < -70
    assert abs(level_of(0.42 * target)) < 0.1


def test_a_steady_level_has_no_ripple() -> None:
    y = Resampler(24_000, 16_000).push(np.full(4800, 12_345, np.int16))
    assert set(y[100:].tolist()) == {12_345}


def test_rates_that_share_little_still_convert() -> None:
    resampler, x = Resampler(16_000, 11_027), sine(16_000, 1)
    y = np.concatenate((resampler.push(x), resampler.flush()))
    assert abs(len(y) - 11_027) <= 1
    assert np.abs(y[500:-500].astype(int) - sine(11_027, 1)[500 : len(y) - 500]).max() < 200
