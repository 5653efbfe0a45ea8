from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from antiphon.engines.local import wire
from antiphon.engines.local.scheduler import Scheduler, Step, Work

Seen = queue.Queue[wire.Reply]


@pytest.fixture
def seen() -> Seen:
    return queue.Queue()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def unexpected(error: Exception) -> None:
    raise AssertionError("no job was to fail") from error


def held(gate: threading.Event, started: threading.Event) -> Work:
    """Keeps a thread busy until the gate opens."""
    started.set()
    gate.wait()
    yield Step()


def words(id: int, count: int, relief: float = 0.0) -> Work:
    for number in range(count):
        yield Step(wire.Words(id, str(number)), relief)


def hold(scheduler: Scheduler, gate: threading.Event) -> None:
    started = threading.Event()
    scheduler.submit(0, held(gate, started), unexpected)
    assert started.wait(10)


def take(seen: Seen, count: int) -> list[tuple[int, str]]:
    taken = []
    for _ in range(count):
        reply = seen.get(timeout=10)
        assert isinstance(reply, wire.Words)
        taken.append((reply.id, reply.text))
    return taken


def test_the_first_sound_of_a_second_comes_before_the_rest_of_a_first(seen: Seen, gate: threading.Event) -> None:
    scheduler = Scheduler(1, seen.put)
    hold(scheduler, gate)
    scheduler.submit(1, words(1, 3, relief=5.0), unexpected)
    scheduler.submit(2, words(2, 1), unexpected)
    gate.set()
    assert take(seen, 4) == [(1, "0"), (2, "0"), (1, "1"), (1, "2")]


def test_who_has_patience_comes_later(seen: Seen, gate: threading.Event) -> None:
    scheduler = Scheduler(1, seen.put)
    hold(scheduler, gate)
    scheduler.submit(1, words(1, 1), unexpected, patience=5.0)
    scheduler.submit(2, words(2, 1), unexpected)
    gate.set()
    assert take(seen, 2) == [(2, "0"), (1, "0")]


def test_a_cancelled_job_says_nothing_more_and_counts_itself_off(seen: Seen, gate: threading.Event) -> None:
    scheduler = Scheduler(1, seen.put)
    hold(scheduler, gate)
    over = threading.Event()
    scheduler.submit(1, words(1, 3), unexpected, over=over.set)
    scheduler.submit(2, words(2, 1), unexpected)
    scheduler.cancel(1)
    scheduler.cancel(99)
    gate.set()
    assert take(seen, 1) == [(2, "0")]
    assert over.wait(10)
    assert seen.empty()


def test_a_step_that_hangs_shows(seen: Seen, gate: threading.Event) -> None:
    scheduler = Scheduler(1, seen.put)
    assert scheduler.longest_step() == 0
    hold(scheduler, gate)
    assert 0 < scheduler.longest_step() < 60
    gate.set()
    scheduler.submit(1, words(1, 1), unexpected)
    assert take(seen, 1) == [(1, "0")]


def test_a_job_that_raises_fails_alone(seen: Seen) -> None:
    def broken() -> Work:
        yield Step(wire.Words(1, "so far"))
        raise ValueError("rubbish")

    scheduler = Scheduler(1, seen.put)
    failures: queue.Queue[Exception] = queue.Queue()
    over = threading.Event()
    scheduler.submit(1, broken(), failures.put, over=over.set)
    assert take(seen, 1) == [(1, "so far")]
    assert str(failures.get(timeout=10)) == "rubbish"
    assert over.wait(10)
    scheduler.submit(2, words(2, 1), unexpected)
    assert take(seen, 1) == [(2, "0")]
