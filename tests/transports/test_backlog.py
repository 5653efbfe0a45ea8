"""The queue of outgoing frames: order, bounds, and what may be lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.transports.backlog import Backlog


class Pipe:
    """A transport that takes ``room`` bytes and then pauses the backlog, as asyncio's do from within ``write``."""

    def __init__(self, backlog: Backlog, room: int) -> None:
        self.backlog, self.room, self.written, self.writes = backlog, room, b"", 0

    def write(self, data: bytes) -> None:
        self.written += data
        self.writes += 1
        self.room -= len(data)
        if self.room <= 0:
            self.backlog.paused = True

    def drain(self, room: int) -> None:
        self.room = room
        self.backlog.paused = False
        self.backlog.flush(self)


def test_frames_of_one_iteration_leave_in_one_write() -> None:
    backlog = Backlog(1000)
    pipe = Pipe(backlog, 10**6)
    for number in range(5):
        backlog.push(b"%d" % number, audio=number % 2 == 0)
    backlog.flush(pipe)
    assert (pipe.written, pipe.writes) == (b"01234", 1)
    assert (backlog.control, backlog.audio, bool(backlog)) == (0, 0, False)


def test_large_backlogs_leave_in_pieces_so_that_a_pause_is_noticed() -> None:
    backlog = Backlog(10**9)
    pipe = Pipe(backlog, 100_000)
    for _ in range(100):
        backlog.push(b"x" * 10_000)
    backlog.flush(pipe)
    assert len(pipe.written) == 140_000
    assert backlog.control == 860_000


def test_a_burst_without_a_pause_is_cut_once_the_pause_comes() -> None:
    backlog = Backlog(1000)
    pipe = Pipe(backlog, 1)
    for _ in range(20_000):
        backlog.push(b"a" * 10, audio=True)
    assert backlog.dropped == 0
    backlog.flush(pipe)
    assert backlog.audio <= 1000
    assert len(pipe.written) + backlog.dropped * 10 + backlog.audio == 200_000


def test_clear_forgets_everything() -> None:
    backlog = Backlog(10)
    backlog.push(b"abc")
    backlog.push(b"def", audio=True)
    backlog.clear()
    assert (bool(backlog), backlog.control, backlog.audio) == (False, 0, 0)


@given(
    st.lists(st.one_of(st.booleans(), st.integers(0, 500)), max_size=200),
    st.integers(20, 400),
)
def test_control_arrives_whole_and_in_order_and_audio_loses_its_oldest(steps: list[bool | int], limit: int) -> None:
    """A step is a frame (True: audio) or room in the pipe."""
    backlog = Backlog(limit)
    pipe = Pipe(backlog, 30)
    sent: dict[bool, list[int]] = {True: [], False: []}
    for number, step in enumerate(steps):
        if isinstance(step, bool):
            sent[step].append(number)
            backlog.push(b"%s%05d" % (b"a" if step else b"c", number), audio=step)
            assert not backlog.paused or backlog.audio <= limit
        else:
            pipe.drain(step)
    pipe.drain(10**9)
    got = [pipe.written[at : at + 6] for at in range(0, len(pipe.written), 6)]
    control = [int(frame[1:]) for frame in got if frame[:1] == b"c"]
    audio = [int(frame[1:]) for frame in got if frame[:1] == b"a"]
    assert control == sent[False]
    assert len(audio) + backlog.dropped == len(sent[True])
    assert audio == sorted(audio)
    assert set(audio) <= set(sent[True])
    if sent[True] and backlog.dropped < len(sent[True]):
        assert audio[-1] == sent[True][-1]
    assert [int(frame[1:]) for frame in got] == sorted(control + audio)
