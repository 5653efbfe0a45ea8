"""Tools on a real MCP server, named by a client, found and called by the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

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
from antiphon.protocols.openai.mcp import MOST_SERVERS, servers_of
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
            called = (await until(connection, "response.done"))[-1]["response"]
            assert [(item["type"], item["output"]) for item in called["output"]] == [("mcp_call", "42")]
            # Some clients ask for the answer that comes by itself: they get that one, and no error.
            await connection.response.create()
            answer = (await until(connection, "response.done"))[-1]["response"]
            assert answer["output"][0]["content"][0]["text"] == "It makes 42."
            await ask(connection, "What?")
            events = await until(connection, "response.done")
            assert "error" not in types(events)
            assert events[-1]["response"]["output"][0]["content"][0]["text"] == "What?"


async def test_the_list_is_in_the_conversation_from_the_start() -> None:
    async with tool_server() as url, served(manager(), allow_private_addresses=True) as ws:
        sdk = AsyncOpenAI(api_key=KEY, base_url="http://127.0.0.1:1", websocket_base_url=ws)
        async with sdk.realtime.connect(model="m") as connection:
            await connection.session.update(session=session(url))
            item_id = (await until(connection, "mcp_list_tools.in_progress"))[-1]["item_id"]
            await connection.conversation.item.retrieve(item_id=item_id)  # as the JavaScript Agents SDK does
            assert (await until(connection, "conversation.item.retrieved"))[-1]["item"]["id"] == item_id


async def test_a_refused_call_is_answered_without_it() -> None:
    async with tool_server() as url, served(manager(), allow_private_addresses=True) as ws:
        sdk = AsyncOpenAI(api_key=KEY, base_url="http://127.0.0.1:1", websocket_base_url=ws)
        async with sdk.realtime.connect(model="m") as connection:
            await connection.session.update(session=session(url))
            await until(connection, "mcp_list_tools.completed")
            await ask(connection, "What is the sum?")
            asked = (await until(connection, "response.done"))[-1]["response"]["output"][0]
            response: Any = {"type": "mcp_approval_response", "approval_request_id": asked["id"], "approve": False}
            await connection.conversation.item.create(item={"id": "mcpr_no", **response})
            events = await until(connection, "response.done")
            assert not any(name.startswith("response.mcp_call.") for name in types(events))
            done = [
                e["item"] for e in events if e["type"] == "conversation.item.done" and e["item"]["type"] == "mcp_call"
            ]
            assert done[0]["error"] == {
                "type": "tool_execution_error",
                "message": "The user did not approve this call.",
            }
            assert done[0]["approval_request_id"] == asked["id"]
            assert "42" not in events[-1]["response"]["output"][0]["content"][0]["text"]
            await connection.conversation.item.create(item={"id": "mcpr_again", **response})
            assert "answered before" in (await until(connection, "error"))[-1]["error"]["message"]


async def test_a_tool_with_the_name_of_a_function_is_not_offered() -> None:
    running = manager()
    async with tool_server() as url, served(running, allow_private_addresses=True) as ws:
        sdk = AsyncOpenAI(api_key=KEY, base_url="http://127.0.0.1:1", websocket_base_url=ws)
        async with sdk.realtime.connect(model="m") as connection:
            wanted = session(url, require_approval="never")
            wanted["tools"].insert(0, {"type": "function", "name": "add"})
            await connection.session.update(session=wanted)
            await until(connection, "mcp_list_tools.completed")
            await ask(connection, "What is the sum?")
            done = (await until(connection, "response.done"))[-1]["response"]["output"][0]
            assert (done["type"], done["name"]) == ("function_call", "add")


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
            listed = (await until(connection, "conversation.item.done"))[-1]["item"]
            assert listed["tools"] == []
            assert listed["error"] == "'127.0.0.1' is on a private address, which this server does not connect to"
            await ask(connection, "hi")
            assert (await until(connection, "response.done"))[-1]["response"]["status"] == "completed"


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
        ({"always": {"tool_names": ["add"]}, "never": {"read_only": True}}, "add", True, True),
        ({"always": {"tool_names": ["add"]}, "never": {"read_only": True}}, "sub", True, False),
    ],
)
def test_approval_policies(policy: Any, name: str, read_only: bool, needed: bool) -> None:
    (server,) = servers_of([mcp(require_approval=policy)])
    assert server.needs_approval(name, read_only) is needed


@pytest.mark.parametrize(
    ("allowed", "name", "read_only", "known"),
    [
        (None, "add", False, True),
        ([], "add", False, False),
        (["add"], "add", False, True),
        (["add"], "fail", False, False),
        ({"tool_names": ["add"]}, "fail", False, False),
        ({"read_only": True}, "add", True, True),
        ({"read_only": True}, "add", False, False),
        ({"read_only": False}, "add", False, True),
        ({"tool_names": ["add"], "read_only": True}, "add", False, False),
        ({}, "add", False, True),
    ],
)
def test_allowed_tools(allowed: Any, name: str, read_only: bool, known: bool) -> None:
    (server,) = servers_of([mcp(allowed_tools=allowed)])
    assert server.allowed.matches(name, read_only) is known


def mcp(**fields: Any) -> McpTool:
    return McpTool(**{"server_label": "a", "server_url": "https://x.example/mcp", **fields})


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([mcp(server_url=None, connector_id="connector_gmail")], "[0].server_url"),
        ([mcp(server_url="file:///etc/passwd")], "[0].server_url"),
        ([mcp(server_url="https://me:secret@x.example/")], "[0].server_url"),
        ([mcp(), mcp()], "[1].server_label"),
        ([mcp(server_label="a/b")], "[0].server_label"),
        ([mcp(headers={"X": "a\r\nHost: b"})], "[0].headers"),
        ([mcp(headers={"a b": "c"})], "[0].headers"),
        ([mcp(authorization="a\nb")], "[0].authorization"),
        ([mcp(allowed_tools={"tool_names": "add"})], "[0].allowed_tools"),
        ([mcp(require_approval={"never": {"read_only": "yes"}})], "[0].require_approval.never"),
        ([mcp(server_label=str(n)) for n in range(MOST_SERVERS + 1)], f"[{MOST_SERVERS}]"),
    ],
)
def test_servers_that_cannot_be(tools: list[McpTool], param: str) -> None:
    with pytest.raises(WireError) as error:
        servers_of(tools)
    assert error.value.param == f"session.tools{param}"


def test_authorization_becomes_a_header() -> None:
    (server,) = servers_of([mcp(authorization="s", headers={"authorization": "other", "X-A": "b"})])
    assert dict(server.headers) == {"Authorization": "Bearer s", "X-A": "b"}


async def test_a_response_uses_servers_of_its_session_only() -> None:
    rig = await Rig().open()
    tool = {"type": "mcp", "server_label": "a", "server_url": "https://x.example/mcp"}
    error = error_of(rig.send("response.create", response={"tools": [tool]}))
    assert (error["code"], error["param"]) == ("invalid_value", "response.tools[0].server_label")


async def test_refused_servers_leave_the_session_as_it_was() -> None:
    rig = await Rig().open()
    tool = {"type": "mcp", "server_label": "a", "connector_id": "connector_gmail"}
    error = error_of(rig.send("session.update", session={"type": "realtime", "tools": [tool]}, event_id="m"))
    assert error["event_id"] == "m"
    assert only(rig.send("session.update", session={"type": "realtime"}), "session.updated")["session"]["tools"] == []
    beta = await Rig(beta=True).open()
    assert error_of(beta.send("session.update", session={"tools": [tool]}))["param"] == "session.tools[0].type"
