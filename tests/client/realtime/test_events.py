"""The event handler: registration, order, waits, and callbacks that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from antiphon.client.realtime.errors import CallbackError, RealtimeTimeoutError
from antiphon.client.realtime.events import RealtimeEventHandler


class Got(list[Any]):
    """What callbacks got."""


class Recording(RealtimeEventHandler):
    """Keeps the failures of callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[CallbackError] = []

    def _callback_failed(self, error: CallbackError) -> None:
        self.failures.append(error)


def test_on_returns_the_callback_and_calls_it_each_time() -> None:
    handler, got = RealtimeEventHandler(), Got()
    assert handler.on("a", got.append) == got.append
    handler.dispatch("a", 1)
    handler.dispatch("b", 2)
    handler.dispatch("a", 3)
    assert got == [1, 3]


def test_on_next_calls_once() -> None:
    handler, got = RealtimeEventHandler(), Got()
    handler.on_next("a", got.append)
    handler.dispatch("a", 1)
    handler.dispatch("a", 2)
    assert got == [1]


def test_both_are_decorators_without_callback() -> None:
    handler, got = RealtimeEventHandler(), Got()

    @handler.on("a")
    def always(event: int) -> None:
        got.append(("on", event))

    @handler.on_next("a")
    def once(event: int) -> None:
        got.append(("next", event))

    handler.dispatch("a", 1)
    handler.dispatch("a", 2)
    assert got == [("on", 1), ("next", 1), ("on", 2)]


def test_handlers_of_on_run_in_order_and_before_those_of_on_next() -> None:
    handler, got = RealtimeEventHandler(), Got()
    handler.on_next("a", lambda _: got.append("next"))
    handler.on("a", lambda _: got.append("first"))
    handler.on("a", lambda _: got.append("second"))
    handler.dispatch("a")
    assert got == ["first", "second", "next"]


def test_off_forgets_one_or_all() -> None:
    handler, got = RealtimeEventHandler(), Got()

    def one(event: object) -> None:
        got.append("one")

    def two(event: object) -> None:
        got.append("two")

    handler.on("a", one)
    handler.on("a", two)
    assert handler.off("a", one) is True
    handler.dispatch("a")
    assert got == ["two"]
    assert handler.off("a") is True
    handler.dispatch("a")
    assert got == ["two"]
    handler.on_next("a", one)
    assert handler.off_next("a", one) is True
    handler.on_next("a", two)
    assert handler.off_next("a") is True
    handler.dispatch("a")
    assert got == ["two"]


@pytest.mark.parametrize("method", ["off", "off_next"])
def test_off_with_an_unknown_callback_says_so(method: str) -> None:
    with pytest.raises(LookupError, match="not registered"):
        getattr(RealtimeEventHandler(), method)("a", print)


def test_on_wants_a_callable() -> None:
    with pytest.raises(TypeError, match="expected a callable"):
        RealtimeEventHandler().on("a", 3)  # type: ignore[call-overload]


def test_clear_forgets_every_callback() -> None:
    handler, got = RealtimeEventHandler(), Got()
    handler.on("a", got.append)
    handler.on_next("b", got.append)
    assert handler.clear_event_handlers() is True
    handler.dispatch("a", 1)
    handler.dispatch("b", 1)
    assert got == []
    assert not handler.has_handlers("a")


def test_a_callback_may_unregister_itself_while_it_runs() -> None:
    handler, got = RealtimeEventHandler(), Got()

    def once(event: int) -> None:
        got.append(event)
        handler.off("a", once)

    handler.on("a", once)
    handler.on("a", got.append)
    handler.dispatch("a", 1)
    assert got == [1, 1]
    handler.dispatch("a", 2)
    assert got == [1, 1, 2]


async def test_wait_for_next_gives_the_payload_even_a_falsy_one() -> None:
    handler = RealtimeEventHandler()
    asyncio.get_running_loop().call_soon(handler.dispatch, "a", None)
    assert await handler.wait_for_next("a", timeout=5) is None
    asyncio.get_running_loop().call_soon(handler.dispatch, "a", {"x": 1})
    assert await handler.wait_for_next("a") == {"x": 1}


async def test_every_waiter_gets_the_same_event() -> None:
    handler = RealtimeEventHandler()
    waits = [asyncio.create_task(handler.wait_for_next("a")) for _ in range(3)]
    asyncio.get_running_loop().call_soon(handler.dispatch, "a", 7)
    assert await asyncio.gather(*waits) == [7, 7, 7]


async def test_wait_for_next_runs_out_of_time_and_leaves_nothing() -> None:
    handler = RealtimeEventHandler()
    with pytest.raises(RealtimeTimeoutError, match=r'0.01 s for event "a"') as caught:
        await handler.wait_for_next("a", timeout=0.01)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.timeout == 0.01
    assert not handler.has_handlers("a")


async def test_async_callbacks_run_one_after_the_other_in_the_order_of_dispatch() -> None:
    handler, got = RealtimeEventHandler(), Got()
    gate = asyncio.Event()

    async def slow(event: int) -> None:
        got.append(("start", event))
        await gate.wait()
        got.append(("end", event))

    async def quick(event: int) -> None:
        got.append(("quick", event))

    handler.on("a", slow)
    handler.on("b", quick)
    handler.dispatch("a", 1)
    handler.dispatch("b", 2)
    handler.dispatch("a", 3)
    assert await handler.callbacks_done(timeout=0.01) is False
    assert got == [("start", 1)]
    gate.set()
    assert await handler.callbacks_done() is True
    assert got == [("start", 1), ("end", 1), ("quick", 2), ("start", 3), ("end", 3)]


async def test_an_async_callback_may_wait_for_a_later_event() -> None:
    handler, got = RealtimeEventHandler(), Got()

    async def ask(event: str) -> None:
        got.append(await handler.wait_for_next("answer", timeout=5))

    handler.on("question", ask)
    handler.dispatch("question", "?")
    asyncio.get_running_loop().call_later(0, handler.dispatch, "answer", 42)
    await handler.callbacks_done()
    assert got == [42]


async def test_a_plain_callback_may_return_an_awaitable() -> None:
    handler, got = RealtimeEventHandler(), Got()

    async def later(event: int) -> None:
        got.append(event)

    handler.on("a", lambda event: later(event + 1))
    handler.dispatch("a", 1)
    await handler.callbacks_done()
    assert got == [2]


async def test_callbacks_that_raise_stop_nothing() -> None:
    handler, got = Recording(), Got()

    def fails(event: Any) -> None:
        raise ValueError("plain")

    async def fails_later(event: Any) -> None:
        raise KeyError("async")

    async def cancelled_inside(event: Any) -> None:
        raise asyncio.CancelledError

    async def works(event: Any) -> None:
        got.append(event)

    for callback in (fails, fails_later, cancelled_inside, works):
        handler.on("a", callback)
    handler.dispatch("a", 1)
    await handler.callbacks_done()
    assert got == [1]
    assert [type(failure.__cause__) for failure in handler.failures] == [ValueError, KeyError, asyncio.CancelledError]
    assert handler.failures[0].event_name == "a"
    assert handler.failures[0].callback is fails
    assert "ValueError: plain" in str(handler.failures[0])


async def test_cancel_callbacks_ends_what_runs_and_what_waits() -> None:
    handler, got = RealtimeEventHandler(), Got()

    async def never(event: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            got.append("ended")

    handler.on("a", never)
    handler.dispatch("a")
    handler.dispatch("a")
    await handler.callbacks_done(timeout=0)
    await handler.cancel_callbacks()
    assert got == ["ended"]
    assert await handler.callbacks_done() is True


async def test_a_callback_that_waits_for_the_callbacks_does_not_wait_for_itself() -> None:
    handler, got = RealtimeEventHandler(), Got()

    async def careless(event: Any) -> None:
        got.append(await handler.callbacks_done())
        await handler.cancel_callbacks()
        got.append("went on")

    handler.on("a", careless)
    handler.dispatch("a")
    await handler.callbacks_done()
    assert got == [True, "went on"]
