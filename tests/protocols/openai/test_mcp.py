"""Tools on a real MCP server, named by a client, found and called by the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import uvicorn
from mcp.server import MCPServer
from mcp_types import ToolAnnotations
from openai import AsyncOpenAI

from antiphon.engines.scripted import (
    Call,
    LlmScript,
    Rule,
    ScriptedLlm,
    ScriptedStt,
    ScriptedTts,
    ScriptedVad,
)
from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.guarded import GuardedTransport
from antiphon.protocols.openai.mcp_servers import check_servers, needs_approval
from antiphon.protocols.openai.session_wire import McpTool
from antiphon.runtime.engines import Engines
from antiphon.runtime.manager import SessionManager

from .rig import KEY, Rig, error_of, only, types
from .test_socket import served, until


@contextlib.asynccontextmanager
async def tool_server() -> AsyncIterator[str]:
    """An MCP server with a tool to add and one that fails."""
    made = MCPServer("sums")

    @made.tool(annotations=ToolAnnotations(read_only_hint=True))
    def add(a: int, b: int) -> str:
        """Add two numbers."""
        return str(a + b)

    @made.tool()
    def fail() -> str:
        """Never works."""
        raise ValueError("no such luck")

    app = made.streamable_http_app()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        await task
        listener.close()


def manager() -> SessionManager:
    rules = (
        Rule(after_tool="add", text="It makes {output}."),
        Rule(after_tool="*", text="Sorry."),
        Rule(match="sum", calls=(Call("add", {"a": 19, "b": 23}),)),
        Rule(match="fail", calls=(Call("fail"),)),
        Rule(text="What?"),
    )
    return SessionManager(
        Engines(ScriptedVad(), None, ScriptedStt(), ScriptedLlm(LlmScript(rules=rules)), ScriptedTts())
    )


def session(url: str, **tool: Any) -> Any:
    mcp = {"type": "mcp", "server_label": "sums", "server_url": url, "authorization": "secret", **tool}
    return {"type": "realtime", "output_modalities": ["text"], "tools": [mcp]}


async def ask(connection: Any, text: str) -> None:
    part = {"type": "input_text", "text": text}
    await connection.conversation.item.create(item={"type": "message", "role": "user", "content": [part]})
    await connection.response.create()


async def test_listed_called_and_answered() -> None:
    async with tool_server() as url, served(manager(), allow_private_addresses=True) as ws:
        sdk = AsyncOpenAI(api_key=KEY, base_url="http://127.0.0.1:1", websocket_base_url=ws)
        async with sdk.realtime.connect(model="m") as connection:
            await connection.session.update(session=session(url, require_approval="never", allowed_tools=["add"]))
            events = await until(connection, "conversation.item.done")
            assert types(events) == [
                "session.created",
                "session.updated",
                "conversation.item.added",
                "mcp_list_tools.in_progress",
                "mcp_list_tools.completed",
                "conversation.item.done",
            ]
            listed = events[-1]["item"]
            assert (listed["type"], listed["server_label"]) == ("mcp_list_tools", "sums")
            assert [tool["name"] for tool in listed["tools"]] == ["add"]
            await ask(connection, "What is the sum?")
            events = await until(connection, "response.mcp_call.completed")
            events += await until(connection, "response.output_item.done")
            done = events[-1]["item"]
            assert (done["type"], done["name"], done["output"]) == ("mcp_call", "add", "42")
            names = types(events)
            order = [
                "response.mcp_call_arguments.done",
                "response.mcp_call.in_progress",
                "response.mcp_call.completed",
                "response.output_item.done",
            ]
            assert [name for name in names if name in order] == order
            answer = (await until(connection, "response.done"))[-1]["response"]
            assert answer["output"][0]["content"][0]["text"] == "It makes 42."


async def test_a_failing_tool_is_told_to_client_and_model() -> None:
    async with tool_server() as url, served(manager(), allow_private_addresses=True) as ws:
        sdk = AsyncOpenAI(api_key=KEY, base_url="http://127.0.0.1:1", websocket_base_url=ws)
        async with sdk.realtime.connect(model="m") as connection:
            await connection.session.update(session=session(url, require_approval="never"))
            await until(connection, "mcp_list_tools.completed")
            await ask(connection, "fail, please")
            events = await until(connection, "response.mcp_call.failed")
            events += await until(connection, "response.output_item.done")
            assert events[-1]["item"]["error"]["type"] == "tool_execution_error"
            assert "executing tool fail" in events[-1]["item"]["error"]["message"]


async def test_a_call_waits_for_approval() -> None:
    async with tool_server() as url, served(manager(), allow_private_addresses=True) as ws:
        sdk = AsyncOpenAI(api_key=KEY, base_url="http://127.0.0.1:1", websocket_base_url=ws)
        async with sdk.realtime.connect(model="m") as connection:
            await connection.session.update(session=session(url))
            await until(connection, "mcp_list_tools.completed")
            await ask(connection, "What is the sum?")
            done = (await until(connection, "response.done"))[-1]["response"]["output"][0]
            assert (done["type"], done["arguments"]) == ("mcp_approval_request", '{"a":19,"b":23}')
            response = {"type": "mcp_approval_response", "approval_request_id": done["id"], "approve": True}
            await connection.conversation.item.create(item={"id": "mcpr_mine", **response})  # type: ignore[arg-type]
            events = await until(connection, "response.done")
            assert "response.mcp_call.completed" in types(events)
            assert events[-1]["response"]["output"][0]["content"][0]["text"] == "It makes 42."


async def test_private_addresses_are_refused_and_the_session_lives() -> None:
    async with tool_server() as url, served(manager()) as ws:
        sdk = AsyncOpenAI(api_key=KEY, base_url="http://127.0.0.1:1", websocket_base_url=ws)
        async with sdk.realtime.connect(model="m") as connection:
            await connection.session.update(session=session(url))
            events = await until(connection, "mcp_list_tools.failed")
            assert "mcp_list_tools.in_progress" in types(events)
            await ask(connection, "hi")
            assert (await until(connection, "response.done"))[-1]["response"]["status"] == "completed"


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "0.0.0.0"])
async def test_the_guard_knows_our_own_network(host: str) -> None:
    async with httpx2.AsyncClient(transport=GuardedTransport()) as http:
        with pytest.raises(httpx2.ConnectError, match="private address"):
            await http.get(f"http://{host}:9/")


async def test_the_guard_connects_to_the_address_it_checked() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    async with httpx2.AsyncClient(transport=GuardedTransport(httpx2.MockTransport(answer))) as http:
        assert (await http.get("https://8.8.8.8/x")).status_code == 200
    assert str(seen[0].url) == "https://8.8.8.8/x"
    assert seen[0].headers["host"] == "8.8.8.8"
    assert seen[0].extensions["sni_hostname"] == "8.8.8.8"


@pytest.mark.parametrize(
    ("policy", "name", "read_only", "needed"),
    [
        (None, "add", True, True),
        ("always", "add", True, True),
        ("never", "add", False, False),
        ({"never": {"tool_names": ["add"]}}, "add", False, False),
        ({"never": {"tool_names": ["add"]}}, "fail", False, True),
        ({"never": {"read_only": True}}, "add", True, False),
        ({"never": {"read_only": True}}, "fail", False, True),
        ({"always": {"tool_names": ["add"]}}, "fail", False, True),
        ({"never": {}}, "add", True, True),
    ],
)
def test_approval_policies(policy: Any, name: str, read_only: bool, needed: bool) -> None:
    assert needs_approval(policy, name, read_only) is needed


def test_servers_that_cannot_be() -> None:
    good = McpTool(server_label="a", server_url="https://x.example/mcp")
    check_servers([good])
    for bad, param in [
        ([McpTool(server_label="a", connector_id="connector_gmail")], "session.tools[0].server_url"),
        ([McpTool(server_label="a", server_url="file:///etc/passwd")], "session.tools[0].server_url"),
        ([good, good], "session.tools[1].server_label"),
    ]:
        with pytest.raises(WireError) as error:
            check_servers(bad)
        assert error.value.param == param


async def test_refused_servers_leave_the_session_as_it_was() -> None:
    rig = await Rig().open()
    tool = {"type": "mcp", "server_label": "a", "connector_id": "connector_gmail"}
    error = error_of(rig.send("session.update", session={"type": "realtime", "tools": [tool]}, event_id="m"))
    assert error["event_id"] == "m"
    assert only(rig.send("session.update", session={"type": "realtime"}), "session.updated")["session"]["tools"] == []
    beta = await Rig(beta=True).open()
    assert error_of(beta.send("session.update", session={"tools": [tool]}))["param"] == "session.tools[0].type"
