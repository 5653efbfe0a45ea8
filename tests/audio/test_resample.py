from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.audio.pcm import PCM, AudioDataError
from antiphon.audio.resample import Resampler, resample

RATES = (8000, 16_000, 22_050, 24_000, 44_100, 48_000)


def sine(rate: int, seconds: float, hertz: float = 440.0) -> PCM:
    return (10_000 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.int16)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(RATES), st.sampled_from(RATES), st.lists(st.integers(0, 3000), min_size=1, max_size=20), st.data()
)
def test_stream_has_the_right_length_and_phase(
    source: int, target: int, chunks: list[int], data: st.DataObject
) -> None:
    total = sum(chunks)
    x = sine(source, 1 + total / source)[:total]
    resampler, at, out = Resampler(source, target), 0, []
    for count in chunks:
        out.append(resampler.push(x[at : at + count]))
        at += count
        assert sum(map(len, out)) <= at * target / source + 1  # nothing comes before it was heard
    out.append(resampler.flush())
    y = np.concatenate(out)
    assert abs(len(y) - total * target / source) <= 1
    inner = slice(target // 50, max(target // 50, len(y) - target // 50))
    assert np.abs(y[inner].astype(int) - sine(target, 2 + total / source)[inner][: len(y[inner])]).max(initial=0) < 60


@pytest.mark.parametrize("quality", ["QQ", "LQ", "MQ", "HQ", "VHQ"])
def test_whole_clip(quality: str) -> None:
    y = resample(sine(24_000, 1), 24_000, 16_000, quality)  # type: ignore[arg-type]
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
