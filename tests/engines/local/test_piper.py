from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.local import models
from antiphon.engines.local.catalogue import JOE
from antiphon.engines.local.piper import Voice, _sizes, split_sentences, word_ends
from antiphon.errors import ModelFileError

TEXT = "It was the best of times, it was the worst of times. At 25, of the people in the house, none spoke!"


@pytest.fixture(scope="module")
def path(models_dir: Path) -> Path:
    return models_dir / JOE.target(".onnx").target


@pytest.fixture(scope="module")
def voice(models_dir: Path, path: Path) -> Voice:
    return Voice(path, models.parts(models_dir, path))


def test_sentences() -> None:
    assert split_sentences(' One.  "Two!" Three? 3.14 four… ') == ["One.", '"Two!', "Three?", "3.14 four…"]
    assert split_sentences(" \n ") == []


@given(st.integers(0, 5000))
def test_windows_cover_all_frames_and_the_first_is_short(total: int) -> None:
    sizes = list(_sizes(total))
    assert sum(sizes) == total
    assert all(size > 0 for size in sizes)
    assert not sizes or sizes[0] <= 30


def test_words_end_where_their_groups_do() -> None:
    durations = np.array([3.0, 2, 1, 4, 5, 1])
    assert word_ends([2, 3], [1, 5], durations) == [5.0, 16.0]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_words_end_in_order_and_within_the_sound(weights: list[int], frames: list[int]) -> None:
    durations = np.array(frames, np.float64)
    groups = sorted({len(frames) // 2, len(frames) - 1})
    ends = word_ends(weights, groups, durations)
    assert len(ends) == len(weights)
    assert ends == sorted(ends)
    assert ends[0] >= 0
    assert ends[-1] == durations.sum()


@pytest.mark.models
def test_windows_sound_exactly_like_the_whole(voice: Voice) -> None:
    (phonemes, _, _), *_ = voice._phonemize("The quick brown fox jumps over the lazy dog, as it did yesterday.")
    latent, others, frames = voice._think(phonemes, 1.0)
    total = latent.shape[2]
    assert frames.sum() == total
    whole = voice.decode(latent, others, 0, total)
    pieces, at = [], 0
    for size in _sizes(total):
        pieces.append(voice.decode(latent, others, at, at + size))
        at += size
    assert len(pieces) > 3
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)


@pytest.mark.models
def test_words_come_with_the_sound_that_they_end_in(voice: Voice) -> None:
    at, words, ends = 0, [], []
    for piece in voice.speak(TEXT):
        at += len(piece.audio)
        assert all(end <= at for _, end in piece.words)
        words += [text for text, _ in piece.words]
        ends += [end for _, end in piece.words]
    assert words == TEXT.split()
    assert ends == sorted(ends)
    assert at - ends[-1] < voice.rate / 4


@pytest.mark.models
def test_the_first_piece_is_short(voice: Voice) -> None:
    first = next(iter(voice.speak(TEXT)))
    assert len(first.audio) < 0.4 * voice.rate


@pytest.mark.models
def test_speed_changes_the_length(voice: Voice) -> None:
    slow, fast = (sum(len(p.audio) for p in voice.speak("One, two, three, four.", speed)) for speed in (0.75, 1.5))
    assert 1.6 < slow / fast < 2.5


@pytest.mark.models
@pytest.mark.parametrize("text", ["", "   ", "...", "?!"])
def test_what_cannot_be_spoken_is_short_or_silent(voice: Voice, text: str) -> None:
    assert sum(len(piece.audio) for piece in voice.speak(text)) < voice.rate


@pytest.mark.models
def test_a_voice_that_was_not_cut_speaks_by_the_sentence(path: Path) -> None:
    pieces = list(Voice(path, None).speak("Hello there. How are you?"))
    assert len(pieces) == 2
    assert [word for piece in pieces for word, _ in piece.words] == ["Hello", "there.", "How", "are", "you?"]
    assert pieces[1].words[0][1] > len(pieces[0].audio)


@pytest.mark.models
def test_a_voice_needs_its_configuration(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is not the configuration of a Piper voice"):
        Voice(tmp_path / "voice.onnx", None)
