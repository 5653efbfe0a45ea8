"""The resampler of live input: prompt, exact in length and place, and as clean as soxr where speech is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.audio.pcm import PCM
from antiphon.audio.resample import resample
from antiphon.protocols.openai.prompt_resampler import PromptResampler


def tone(frequency: float, rate: int, seconds: float = 0.5) -> PCM:
    t = np.arange(round(rate * seconds)) / rate
    return (np.sin(2 * np.pi * frequency * t) * 16_000).astype(np.int16)


def whole(pcm: PCM, rate: int) -> PCM:
    made = PromptResampler(rate, 16_000)
    return np.concatenate((made.push(pcm), made.flush()))


@pytest.mark.parametrize("rate", [24_000, 8_000])
def test_no_chunk_waits_longer_than_two_milliseconds(rate: int) -> None:
    made = PromptResampler(rate, 16_000)
    got = 0
    for n in range(1, 100):
        got += len(made.push(np.zeros(rate // 50, np.int16)))
        assert 320 * n - got <= 32


@pytest.mark.parametrize(("rate", "frequency"), [(24_000, 100), (24_000, 3000), (24_000, 6500), (8_000, 1000)])
def test_speech_comes_out_in_its_place(rate: int, frequency: int) -> None:
    out = whole(tone(frequency, rate), rate).astype(int)
    expected = tone(frequency, 16_000).astype(int)
    assert len(out) == len(expected)
    assert np.abs(out - expected)[200:-200].max() <= 3


@pytest.mark.parametrize("frequency", [8500, 9500, 11_000])
def test_what_16_khz_cannot_hold_is_removed(frequency: int) -> None:
    out = whole(tone(frequency, 24_000), 24_000)[500:-500].astype(float)
    assert np.sqrt((out**2).mean()) < 16_000 * 10 ** (-70 / 20)


def test_agrees_with_soxr_on_noise_below_its_edge() -> None:
    rng = np.random.default_rng(7)
    smooth = np.convolve(rng.normal(0, 6000, 24_000), np.hanning(9) / np.hanning(9).sum(), "same").astype(np.int16)
    ours, theirs = whole(smooth, 24_000).astype(float), resample(smooth, 24_000, 16_000).astype(float)
    error = (ours - theirs)[200:-200]
    assert np.sqrt((error**2).mean()) < 0.01 * np.sqrt((theirs**2).mean())


@pytest.mark.parametrize("rate", [24_000, 8_000])
@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=20))
def test_chunks_do_not_matter(rate: int, sizes: list[int]) -> None:
    pcm = np.random.default_rng(sum(sizes)).integers(-30_000, 30_000, sum(sizes)).astype(np.int16)
    made = PromptResampler(rate, 16_000)
    ends = np.cumsum(sizes)
    parts = [made.push(pcm[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    got = np.concatenate([*parts, made.flush()]).astype(int)
    assert len(got) == round(len(pcm) * 16_000 / rate)
    assert np.abs(got - whole(pcm, rate).astype(int)).max(initial=0) <= 1, "float sums may round the other way"


def test_flush_begins_anew_and_reset_forgets() -> None:
    made = PromptResampler(24_000, 16_000)
    loud = np.full(4800, 20_000, np.int16)
    first = np.concatenate((made.push(loud), made.flush()))
    again = np.concatenate((made.push(loud), made.flush()))
    assert np.array_equal(first, again)
    made.push(loud)
    made.reset()
    assert not np.concatenate((made.push(np.zeros(4800, np.int16)), made.flush())).any()


def test_equal_rates_pass_through_and_long_audio_is_taken_in_blocks() -> None:
    pcm = tone(440, 16_000)
    same = PromptResampler(16_000, 16_000)
    assert same.push(pcm) is pcm
    assert len(same.flush()) == 0
    assert len(whole(np.zeros(24_000 * 20, np.int16), 24_000)) == 16_000 * 20
