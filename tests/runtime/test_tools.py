from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.core.effects import RunTool
from antiphon.runtime import tools as module
from antiphon.runtime.clock import run_virtual
from antiphon.runtime.tools import LONGEST_ERROR, LONGEST_OUTPUT, ToolRunner


def run(
    function: Callable[..., Any] | None,
    arguments: object = "",
    *,
    timeout: float = 5.0,
    name: str = "tool",
    server: str | None = None,
) -> tuple[str, bool]:
    """One call's output and whether it failed; with virtual time for what waits."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    call = RunTool("call_1", name, text, timeout, server)
    tools = {} if function is None else {name if server is None else f"{server}/{name}": function}
    return run_virtual(ToolRunner(tools).run(call))


@dataclass
class Place:
    city: str
    days: int = 1


async def weather(city: str, days: int = 1) -> str:
    await asyncio.sleep(1.0)
    return f"{days} sunny days in {city}"


def test_async_and_plain_functions_are_called_with_the_arguments() -> None:
    assert run(weather, {"city": "Bern", "days": 3}) == ("3 sunny days in Bern", False)
    assert run(weather, '{"city":"Bern"}') == ("1 sunny days in Bern", False)
    threads: list[str] = []

    def plain(city: str) -> list[str]:
        threads.append(threading.current_thread().name)
        return [city, "ü"]

    assert run(plain, {"city": "Bern"}) == ('["Bern","ü"]', False)
    assert threads == ["antiphon-tool"]


def test_results_become_text() -> None:
    async def made(value: object = None) -> object:
        return Place("Bern") if value == "place" else value

    assert run(made, {"value": "place"}) == ('{"city":"Bern","days":1}', False)
    assert run(made) == ("done", False)
    assert run(made, {"value": {"a": [1, None]}}) == ('{"a":[1,null]}', False)


def test_a_plain_function_may_return_an_awaitable() -> None:
    def later() -> Awaitable[str]:
        async def answer() -> str:
            return "later"

        return answer()

    assert run(later) == ("later", False)


def test_a_callable_object_is_a_tool_too() -> None:
    class Callable_:
        async def __call__(self, city: str) -> str:
            return city.upper()

    assert run(Callable_(), {"city": "bern"}) == ("BERN", False)


def test_arguments_are_converted_to_the_annotations() -> None:
    async def visit(place: Place, at: float) -> str:
        return f"{type(place).__name__} {place.city} {at}"

    assert run(visit, {"place": {"city": "Bern"}, "at": 3}) == ("Place Bern 3.0", False)
    words, failed = run(visit, {"place": {"town": "Bern"}, "at": 3})
    assert failed and "argument 'place'" in words and "city" in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"city": ', "are not JSON"),
        ("[1, 2]", "must be a JSON object, got list"),
        ({}, "missing a required argument: 'city'"),
        ({"city": "Bern", "tempo": 3}, "unexpected keyword argument 'tempo'"),
        ({"city": "Bern", "days": "many"}, "argument 'days'"),
    ],
)
def test_wrong_arguments_are_told_to_the_llm(arguments: object, words: str) -> None:
    output, failed = run(weather, arguments)
    assert failed and words in output and output.startswith("error: ")


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40))
def test_any_arguments_are_survived(arguments: str) -> None:
    output, _ = run(weather, arguments)
    assert 0 < len(output) < LONGEST_ERROR + 200


def test_an_unknown_tool_is_named() -> None:
    assert run(None) == ("error: there is no tool 'tool' on this server", True)
    assert run(weather, {"city": "Bern"}, server="maps") == ("1 sunny days in Bern", False)
    assert run(None, server="maps")[0] == "error: there is no tool 'maps/tool' on this server"


def test_an_exception_becomes_bounded_words() -> None:
    async def broken() -> None:
        raise LookupError("x" * 10_000)

    output, failed = run(broken)
    assert failed and output.startswith("error: the tool 'tool' failed: xxx") and len(output) < LONGEST_ERROR + 50

    async def silent() -> None:
        raise KeyError

    assert run(silent) == ("error: the tool 'tool' failed: KeyError", True)


def test_a_tools_own_timeout_is_not_ours() -> None:
    async def gave_up() -> None:
        raise TimeoutError("the weather service did not answer")

    assert run(gave_up) == ("error: the tool 'tool' failed: the weather service did not answer", True)


def test_a_slow_tool_is_given_up() -> None:
    cancelled: list[bool] = []

    async def never() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    assert run(never, timeout=7.5) == ("error: the tool 'tool' did not return within 7.5 s", True)
    assert cancelled == [True]


def test_a_plain_tool_that_never_returns_keeps_nobody() -> None:
    gate = threading.Event()
    before = time.monotonic()
    output, failed = run(lambda: gate.wait(30), timeout=0.05)
    assert failed and "did not return within 0.05 s" in output
    assert time.monotonic() - before < 10
    assert all(t.daemon for t in threading.enumerate() if t.name == "antiphon-tool")
    gate.set()


def test_threads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_threads", threading.BoundedSemaphore(1))
    gate = threading.Event()
    try:
        assert run(lambda: gate.wait(30), timeout=0.05)[1]
        output, failed = run(lambda: "never run")
        assert failed and "are running in this process already" in output
    finally:
        gate.set()


def test_a_long_output_is_cut_with_a_note() -> None:
    async def long() -> str:
        return "x" * 1_000_000

    output, failed = run(long)
    assert not failed and len(output) < LONGEST_OUTPUT + 100
    assert output.endswith("[cut: 1000000 characters in all, the first 16384 are shown]")


def test_a_call_runs_once() -> None:
    runner = ToolRunner({})
    assert [runner.first_call("a"), runner.first_call("b"), runner.first_call("a")] == [True, True, False]
