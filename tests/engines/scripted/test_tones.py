from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.audio.resample import resample
from antiphon.engines.scripted import Tones

WORDS = [f"w{i}" for i in range(120)]
TONES = Tones(WORDS)


@given(st.lists(st.sampled_from(WORDS), max_size=6), st.sampled_from([8000, 16_000, 24_000]))
def test_what_is_spoken_is_heard(words: list[str], rate: int) -> None:
    assert TONES.hear(TONES.speak(" ".join(words), rate), rate) == " ".join(words)


def test_resampling_and_surrounding_silence_do_not_matter() -> None:
    audio = np.concatenate([np.zeros(4001, np.int16), TONES.speak("w0 w119 w60 w60", 24_000), np.zeros(99, np.int16)])
    assert TONES.hear(resample(audio, 24_000, 16_000)) == "w0 w119 w60 w60"


@pytest.mark.parametrize(("kept", "heard"), [(0.95, "w1 w2"), (0.6, "w1 w2"), (0.4, "w1")])
def test_a_word_cut_to_less_than_half_is_not_heard(kept: float, heard: str) -> None:
    audio = TONES.speak("w1 w2")
    second = round(0.216 * 16_000)
    assert TONES.hear(audio[: second + round(kept * 0.2 * 16_000)]) == heard


def test_case_and_punctuation_do_not_count() -> None:
    tones = Tones(["Stop!", "uh-huh"])
    assert tones.hear(tones.speak("STOP, uh-huh.")) == "stop uh-huh"


def test_silence_and_noise_say_nothing() -> None:
    noise = np.random.default_rng(1).integers(-100, 100, 16_000).astype(np.int16)
    assert TONES.hear(noise) == ""
    assert TONES.hear(np.zeros(0, np.int16)) == ""


def test_unknown_words_and_vocabularies_without_room_are_refused() -> None:
    with pytest.raises(ValueError, match="not in the vocabulary: hello"):
        TONES.speak("hello w1")
    with pytest.raises(ValueError, match="1 to 120 words, not 121"):
        Tones([*WORDS, "one too many"])
