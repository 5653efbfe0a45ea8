"""Servers of the official SDK on loopback ports, found and called."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
from mcp.server import MCPServer
from mcp_types import ToolAnnotations

from antiphon.core.effects import RunTool
from antiphon.runtime.mcp import Listing, McpLimits, McpServer, McpServers, ToolFilter
from antiphon.runtime.tools import LONGEST_OUTPUT, ToolRunner


class Tools(MCPServer[Any]):
    """A server whose slow tool tells that it was called, and never returns."""

    def __init__(self) -> None:
        super().__init__("tools")
        self.called = asyncio.Event()
        self.tool(annotations=ToolAnnotations(read_only_hint=True))(self.add)
        for function in (self.fail, self.slow, self.long):
            self.tool()(function)

    async def add(self, a: int, b: int) -> str:
        """Add two numbers."""
        return str(a + b)

    async def fail(self) -> str:
        raise ValueError("no such luck")

    async def slow(self) -> str:
        self.called.set()
        await asyncio.Event().wait()
        return "never"

    async def long(self) -> str:
        return "x" * 1_000_000


@contextlib.asynccontextmanager
async def running(app: Any, port: int = 0) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


class Lists:
    """What was listed, to be waited for."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Listing] = asyncio.Queue()

    async def next(self) -> Listing:
        return await asyncio.wait_for(self.queue.get(), 30)


@contextlib.asynccontextmanager
async def servers(
    *wanted: McpServer, allow_private: bool = True, **limits: Any
) -> AsyncIterator[tuple[McpServers, Lists]]:
    lists = Lists()
    made = McpServers(lists.queue.put_nowait, allow_private=allow_private, limits=McpLimits(**limits))
    try:
        made.update(wanted)
        yield made, lists
    finally:
        made.close()
        held = {task for task in asyncio.all_tasks() if task.get_name().startswith("mcp ")}
        if held:
            await asyncio.wait(held, timeout=10)
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("mcp ")]
        assert left == [], "a connection outlived close"


def at(port: int, path: str = "mcp", **fields: Any) -> McpServer:
    return McpServer(label="t", url=f"http://127.0.0.1:{port}/{path}", **fields)


async def run(
    made: McpServers, name: str, arguments: dict[str, Any] | None = None, timeout: float = 20
) -> tuple[str, bool]:
    return await ToolRunner(made).run(RunTool("call", name, json.dumps(arguments or {}), timeout, "t"))


async def test_tools_are_listed_and_called() -> None:
    async with running(Tools().streamable_http_app()) as port, servers(at(port)) as (made, lists):
        assert made
        assert len(made) == 0
        listing = await lists.next()
        assert (listing.label, listing.problem) == ("t", None)
        add = json.loads(listing.definitions[0])
        assert (add["name"], add["description"]) == ("add", "Add two numbers.")
        assert add["input_schema"]["required"] == ["a", "b"]
        assert add["annotations"] == {"readOnlyHint": True}
        assert list(made) == ["t/add", "t/fail", "t/slow", "t/long"]
        assert [(tool.run, tool.mcp_server, tool.needs_approval) for tool in made.tools] == [("server", "t", True)] * 4
        assert await run(made, "add", {"a": 19, "b": 23}) == ("42", False)
        assert "t/nothing" not in made
        assert (await run(made, "nothing"))[1]


async def test_filters_choose_tools_and_approvals() -> None:
    wanted = {"allowed": ToolFilter(frozenset({"add", "fail"})), "never": ToolFilter(read_only=True)}
    async with running(Tools().streamable_http_app()) as port, servers(at(port, **wanted)) as (_, lists):
        tools = (await lists.next()).tools
        assert [(tool.name, tool.needs_approval) for tool in tools] == [("add", False), ("fail", True)]


async def test_the_older_transport() -> None:
    async with running(Tools().sse_app()) as port, servers(at(port, "sse")) as (made, lists):
        assert (await lists.next()).problem is None
        assert await run(made, "add", {"a": 1, "b": 2}) == ("3", False)


async def test_headers_are_sent() -> None:
    seen: list[bytes] = []
    inner = Tools().streamable_http_app()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(dict(scope["headers"])[b"authorization"])
        await inner(scope, receive, send)

    headers = (("Authorization", "Bearer s"),)
    async with running(app) as port, servers(at(port, headers=headers)) as (_, lists):
        assert (await lists.next()).problem is None
    assert set(seen) == {b"Bearer s"}


async def test_a_tools_own_failure_is_in_its_words() -> None:
    async with running(Tools().streamable_http_app()) as port, servers(at(port)) as (made, lists):
        await lists.next()
        words, failed = await run(made, "fail")
        assert failed
        assert "Error executing tool fail" in words  # the SDK's server keeps the exception's words to itself
        words, failed = await run(made, "add", {"a": "many"})
        assert failed
        assert "b" in words


async def test_a_megabyte_is_cut() -> None:
    async with running(Tools().streamable_http_app()) as port, servers(at(port)) as (made, lists):
        await lists.next()
        words, failed = await run(made, "long")
        assert not failed
        assert words.startswith("x" * LONGEST_OUTPUT)
        assert len(words) < LONGEST_OUTPUT + 200
        assert "1000000 characters" in words


async def test_a_slow_tool_is_given_up_and_the_next_call_works() -> None:
    tools = Tools()
    async with running(tools.streamable_http_app()) as port, servers(at(port), call_seconds=0.5) as (made, lists):
        listing = await lists.next()
        assert {tool.timeout for tool in listing.tools} == {0.5}
        assert await run(made, "slow", timeout=0.5) == ("error: the tool 'slow' did not return within 0.5 s", True)
        assert tools.called.is_set()
        assert await run(made, "add", {"a": 1, "b": 2}) == ("3", False)


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with servers(at(port)) as (made, lists):
        listing = await lists.next()
        assert listing.problem
        assert listing.tools == ()
        assert len(made) == 0


async def test_a_private_address_is_refused() -> None:
    async with running(Tools().streamable_http_app()) as port, servers(at(port), allow_private=False) as (_, lists):
        problem = (await lists.next()).problem
        assert problem == "'127.0.0.1' is on a private address, which this server does not connect to"


async def test_a_server_that_never_answers() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.Event().wait()

    async with running(app) as port, servers(at(port), listing_seconds=0.3) as (_, lists):
        assert (await lists.next()).problem == "no answer within 0.3 s"


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_a_server_that_refuses(status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    async with running(app) as port, servers(at(port)) as (_, lists):
        assert (await lists.next()).problem


@pytest.mark.parametrize("limits", [{"tools": 3}, {"definition_bytes": 300}])
async def test_too_much_to_list(limits: dict[str, int]) -> None:
    async with running(Tools().streamable_http_app()) as port, servers(at(port), **limits) as (_, lists):
        problem = (await lists.next()).problem
        assert problem is not None
        assert "allowed_tools" in problem


async def test_a_server_that_went_fails_the_call_and_is_found_again() -> None:
    async with running(Tools().streamable_http_app()) as port, servers(at(port)) as (made, lists):
        await lists.next()
        gone = made._links["t"]
        assert await run(made, "add", {"a": 1, "b": 1}) == ("2", False)
        gone._leave(gone._client)  # as a call does that was told the session is unknown
        assert await run(made, "add", {"a": 1, "b": 2}) == ("3", False)
        assert lists.queue.empty()


async def test_calls_to_a_server_that_went_down_fail_and_those_after_its_return_work() -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        port = await first.enter_async_context(running(Tools().streamable_http_app()))
        made, lists = await stack.enter_async_context(servers(at(port)))
        await lists.next()
        await first.aclose()
        words, failed = await run(made, "add", {"a": 1, "b": 1})
        assert failed
        assert json.loads(words)["type"] in ("http_error", "protocol_error")
        async with running(Tools().streamable_http_app(), port):
            outcomes = [await run(made, "add", {"a": 1, "b": 2}) for _ in range(2)]
            assert outcomes[-1] == ("3", False)


async def test_servers_are_left_and_changed() -> None:
    async with running(Tools().streamable_http_app()) as port, servers(at(port)) as (made, lists):
        await lists.next()
        assert made.update([at(port)]) == ()
        assert made.update([at(port, never=ToolFilter())]) == ("t",)
        assert not any(tool.needs_approval for tool in (await lists.next()).tools)
        assert made.update([]) == ()
        assert list(made) == []
        words, failed = await run(made, "add", {"a": 1, "b": 2})
        assert failed
        assert "no tool" in words


def of(made: McpServers, label: str) -> Callable[..., Any] | None:
    return made.get(f"{label}/add")


async def test_of_two_tools_with_one_name_the_first_counts() -> None:
    async with running(Tools().streamable_http_app()) as port, servers() as (made, lists):
        second = McpServer(label="u", url=f"http://127.0.0.1:{port}/mcp")
        assert made.update([at(port), second]) == ("t", "u")
        assert {(await lists.next()).label, (await lists.next()).label} == {"t", "u"}
        assert {tool.mcp_server for tool in made.tools} == {"t"}
        assert of(made, "t") is not None
        assert of(made, "u") is not None
