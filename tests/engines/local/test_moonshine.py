from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.local.moonshine import Moonshine, cut_at_pauses, plausible, read_tokenizer
from antiphon.engines.ports import PCM


def finish(steps: Generator[None, None, str]) -> str:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return str(end.value)


def test_the_token_table_has_lengths_of_one_or_two_bytes() -> None:
    long = b"x" * 300
    assert read_tokenizer(b"\x00\x02hi" + bytes([128 | 300 & 127, 300 >> 7]) + long) == [b"", b"hi", long]


@given(st.integers(0, 60 * 16_000), st.integers(0, 2**32 - 1))
def test_pieces_are_the_whole_and_none_is_too_long(samples: int, seed: int) -> None:
    audio = np.random.default_rng(seed).integers(-3000, 3000, samples).astype(np.int16)
    pieces = cut_at_pauses(audio)
    np.testing.assert_array_equal(np.concatenate(pieces), audio)
    assert max(len(piece) for piece in pieces) <= 15 * 16_000


def test_a_cut_falls_into_the_pause() -> None:
    audio = np.random.default_rng(3).integers(-3000, 3000, 20 * 16_000).astype(np.int16)
    audio[12 * 16_000 : 12 * 16_000 + 6400] = 0
    first, _ = cut_at_pauses(audio)
    assert 12 * 16_000 < len(first) < 12 * 16_000 + 6400


@pytest.mark.parametrize(
    ("text", "confidence", "said"),
    [
        ("You", -0.45, False),
        ("Thank you.", -0.06, True),
        ("Thank you.", -0.7, False),
        ("♪♪", -0.1, False),
        ("", 0.0, False),
        ("The first is the", -1.6, False),
        ("Okay, so?", -0.36, True),
    ],
)
def test_stock_words_must_be_sure(text: str, confidence: float, said: bool) -> None:
    assert plausible(text, confidence) is said


@pytest.mark.models
def test_nothing_is_made_of_nothing(models_dir: Path) -> None:
    model = Moonshine(models_dir)
    rng = np.random.default_rng(5)
    time = np.arange(48_000) / 16_000
    for seconds in (0.1, 0.4, 1.0, 1.6):
        n = int(seconds * 16_000)
        hum = (3000 * np.sin(2 * np.pi * 100 * time[:n])).astype(np.int16)
        loud, faint = ((rng.standard_normal(n) * level).astype(np.int16) for level in (1000, 3))
        nothing: list[PCM] = [np.zeros(n, np.int16), hum, loud, faint]
        assert [finish(model.transcribe(audio)) for audio in nothing] == [""] * 4, seconds


@pytest.mark.models
def test_the_work_comes_in_steps(models_dir: Path, beckett: PCM) -> None:
    model = Moonshine(models_dir)
    steps = sum(1 for _ in model.transcribe(beckett))
    assert steps > 10, "one at least for each word, so that a cancel is noticed soon"
