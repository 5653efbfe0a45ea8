from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from antiphon.core.items import INPUT_RATE, LIVE, OUTPUT_RATE, AudioRef
from antiphon.runtime.sound import CLIP_SECONDS, LONGEST_TURN, Heard, Spoken


def pcm(samples: int, start: int = 0) -> NDArray[np.int16]:
    return (np.arange(start, start + samples) % 30_000).astype(np.int16)


def test_live_audio_and_clips_are_addressed() -> None:
    heard = Heard(30.0)
    heard.live.append(pcm(5000))
    one, two = heard.clip(pcm(100)), heard.clip(pcm(50, 7))
    assert one.clip != two.clip and (one.start, one.end) == (0, 100)
    assert np.array_equal(heard.read(AudioRef(LIVE, 1000, 1010)), pcm(10, 1000))
    assert np.array_equal(heard.read(two), pcm(50, 7))
    assert np.array_equal(heard.read(AudioRef(two.clip, 10, 999)), pcm(40, 17))
    joined = heard.joined((AudioRef(LIVE, 0, 10), two, AudioRef(LIVE, 4990, 6000)))
    assert np.array_equal(joined, np.concatenate((pcm(10), pcm(50, 7), pcm(10, 4990))))
    assert len(heard.joined(())) == len(heard.read(AudioRef("clip_none", 0, 10))) == 0
    assert heard.knows(one) and not heard.knows(AudioRef("item_1", 0, 1))
    heard.clear()
    assert len(heard.live) == len(heard.read(one)) == 0


def test_live_audio_is_released_but_for_what_is_retained() -> None:
    heard = Heard(2.0)
    heard.live.append(pcm(10 * INPUT_RATE))
    heard.release(5 * INPUT_RATE)
    assert heard.live.start == 3 * INPUT_RATE
    heard.release(0)
    assert heard.live.start == 3 * INPUT_RATE


def test_even_an_endless_turn_is_bounded() -> None:
    heard = Heard(2.0)
    for _ in range(LONGEST_TURN // 60 + 2):
        heard.live.append(pcm(60 * INPUT_RATE))
        heard.release(0)
    assert len(heard.live) <= (LONGEST_TURN + 60) * INPUT_RATE


def test_the_oldest_clips_go_first() -> None:
    heard = Heard(2.0)
    clips = [heard.clip(pcm(CLIP_SECONDS * INPUT_RATE // 2)) for _ in range(4)]
    assert [heard.knows(c) for c in clips] == [False, False, True, True]
    huge = heard.clip(pcm(2 * CLIP_SECONDS * INPUT_RATE))
    assert heard.knows(huge), "the newest is kept, whatever its size"


@given(
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=10),
    start=st.integers(-5, 1500),
    length=st.integers(0, 1500),
)
def test_a_jobs_audio_reads_like_one_array(sizes: list[int], start: int, length: int) -> None:
    spoken, whole = Spoken(30.0), pcm(sum(sizes))
    position = 0
    for size in sizes:
        spoken.add("job", whole[position : position + size])
        position += size
    assert np.array_equal(spoken.read("job", start, start + length), whole[max(0, start) : max(0, start + length)])
    assert len(spoken.read("other", 0, 10)) == 0


def test_what_was_played_belongs_to_its_item_and_the_job_is_forgotten() -> None:
    spoken = Spoken(30.0)
    spoken.add("a", pcm(1000))
    spoken.add("b", pcm(500, 1000))
    assert len(spoken.play("a", 0, 600, "item", 0)) == 600
    spoken.ended("a")
    spoken.tidy(held=True)
    assert spoken.jobs == 2, "not all of it was played"
    spoken.play("a", 600, 1000, "item", 600)
    spoken.play("b", 0, 500, "item", 1000)
    spoken.tidy(held=True)
    assert spoken.jobs == 1, "b may still grow"
    spoken.ended("b")
    spoken.tidy(held=True)
    assert spoken.jobs == 0
    assert np.array_equal(spoken.item(AudioRef("item", 500, 1200)), pcm(700, 500))
    assert len(spoken.item(AudioRef("other", 0, 10))) == 0


def test_audio_that_nobody_will_play_is_dropped() -> None:
    spoken = Spoken(30.0)
    spoken.add("trial", pcm(1000))
    spoken.ended("trial")
    spoken.add("cancelled", pcm(1000))
    spoken.tidy(held=True)
    assert spoken.jobs == 2, "an answer on trial is held back"
    spoken.tidy(held=False)
    spoken.forget("cancelled")
    spoken.forget("cancelled")
    assert spoken.jobs == 0


def test_items_keep_the_newest_audio() -> None:
    spoken = Spoken(1.0)
    for n in range(5):
        spoken.add(f"job{n}", pcm(OUTPUT_RATE // 2))
        spoken.play(f"job{n}", 0, OUTPUT_RATE // 2, f"item{n}", 0)
    kept = [len(spoken.item(AudioRef(f"item{n}", 0, OUTPUT_RATE))) > 0 for n in range(5)]
    assert kept == [False, False, False, True, True]
    spoken.clear()
    assert spoken.jobs == 0 and len(spoken.item(AudioRef("item4", 0, 100))) == 0
