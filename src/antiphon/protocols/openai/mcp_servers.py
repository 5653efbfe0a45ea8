"""Tools on MCP servers that a client named: found by the server, called by the server (section 7.13).

One task a server and session holds the connection, from the moment the session names it until it no longer does. The
``mcp`` package is imported when the first one is named, since it takes a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from antiphon.core.items import Tool
from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.session_wire import McpTool

if TYPE_CHECKING:
    from mcp import Client

__all__ = ["Listing", "McpServers", "check_servers", "needs_approval"]

_log = logging.getLogger(__name__)

LISTING_SECONDS = 15.0
"""How long a server may take to connect and list its tools."""
MOST_SERVERS = 16
"""Servers that one session may name."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What became of asking a server for its tools.

    Attributes:
        label: The server's, as the client named it.
        definitions: One JSON text a tool, as ``mcp_list_tools`` items show them.
        tools: The same for the core.
        problem: Why there are none, or None.
    """

    label: str
    definitions: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    problem: str | None = None


@dataclass(slots=True)
class _Server:
    wanted: McpTool
    task: asyncio.Task[None] | None = None
    client: Client | None = None
    tools: tuple[Tool, ...] = ()


def check_servers(tools: Sequence[Any], param: str = "session.tools") -> None:
    """Refuse servers that cannot be reached by their description alone.

    Raises:
        WireError: There are too many, two have the same label, or one has no URL.
    """
    labels: set[str] = set()
    for n, tool in enumerate(tools):
        if not isinstance(tool, McpTool):
            continue
        if not (tool.server_url or "").startswith(("https://", "http://")):
            message = "Expected the server_url of an MCP server; connectors are OpenAI's own."
            raise WireError("invalid_value", message, f"{param}[{n}].server_url")
        if tool.server_label in labels:
            message = f"Expected servers of different labels, got {tool.server_label!r} twice"
            raise WireError("invalid_value", message, f"{param}[{n}].server_label")
        labels.add(tool.server_label)
        if len(labels) > MOST_SERVERS:
            raise WireError("invalid_value", f"Expected at most {MOST_SERVERS} MCP servers", f"{param}[{n}]")


class McpServers(Mapping[str, Callable[..., Any]]):
    """A session's MCP servers, and at once the functions behind their tools, by ``label/name``.

    Args:
        listed: Called when a server has told its tools, or failed to.
        allow_private: Let servers be on private and loopback addresses.
    """

    def __init__(self, listed: Callable[[Listing], None], *, allow_private: bool = False) -> None:
        self._listed = listed
        self._allow_private = allow_private
        self._servers: dict[str, _Server] = {}

    def __bool__(self) -> bool:
        return True  # empty now, but not for good

    def __len__(self) -> int:
        return sum(len(server.tools) for server in self._servers.values())

    def __iter__(self) -> Iterator[str]:
        return (f"{label}/{tool.name}" for label, server in self._servers.items() for tool in server.tools)

    def __getitem__(self, key: str) -> Callable[..., Any]:
        label, _, name = key.partition("/")
        server = self._servers[label]
        if name not in {tool.name for tool in server.tools}:
            raise KeyError(key)

        async def call(**arguments: Any) -> str:
            if server.client is None:
                raise ConnectionError(f"the MCP server {label!r} is not connected")
            return _text(await server.client.call_tool(name, arguments))

        return call

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What all servers offer; of two tools with one name the first counts."""
        found: dict[str, Tool] = {}
        for server in self._servers.values():
            for tool in server.tools:
                found.setdefault(tool.name, tool)
        return tuple(found.values())

    def update(self, wanted: Sequence[Any]) -> tuple[str, ...]:
        """Connect to servers that are newly wanted, and leave those that are not wanted any more.

        Returns:
            The labels of the new ones, of which `listed` will be told.
        """
        servers = {tool.server_label: tool for tool in wanted if isinstance(tool, McpTool)}
        for label, server in list(self._servers.items()):
            if servers.get(label) != server.wanted:
                self._leave(self._servers.pop(label))
        new = tuple(label for label in servers if label not in self._servers)
        for label in new:
            server = self._servers[label] = _Server(servers[label])
            server.task = asyncio.get_running_loop().create_task(self._hold(label, server), name=f"mcp {label}")
        return new

    def close(self) -> None:
        """Leave all servers."""
        for server in self._servers.values():
            self._leave(server)
        self._servers.clear()

    def _leave(self, server: _Server) -> None:
        if server.task is not None:
            server.task.cancel()

    async def _hold(self, label: str, server: _Server) -> None:
        """Stay connected to one server until cancelled."""
        try:
            async with (
                asyncio.timeout(LISTING_SECONDS) as limit,
                _connected(server.wanted, self._allow_private) as client,
            ):
                listing = await _listing(client, server.wanted)
                limit.reschedule(None)
                server.client, server.tools = client, listing.tools
                self._listed(listing)
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise
        except Exception as problem:
            # Whatever a stranger's server does, it is one tool list that is not there.
            why = f"no answer within {LISTING_SECONDS:g} s" if isinstance(problem, TimeoutError) else _reason(problem)
            _log.info("MCP server %s failed: %s", label, why)
            if server.client is None:
                self._listed(Listing(label, problem=why))
        finally:
            server.client = None


@asynccontextmanager
async def _connected(wanted: McpTool, allow_private: bool) -> AsyncIterator[Client]:
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    from antiphon.protocols.openai.guarded import guarded_client

    headers = dict(wanted.headers or {})
    if wanted.authorization:
        headers["Authorization"] = f"Bearer {wanted.authorization}"
    async with (
        guarded_client(headers, allow_private=allow_private) as http,
        Client(streamable_http_client(wanted.server_url or "", http_client=http)) as client,
    ):
        yield client


async def _listing(client: Client, wanted: McpTool) -> Listing:
    definitions: list[str] = []
    tools: list[Tool] = []
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            read_only = bool(tool.annotations and tool.annotations.read_only_hint)
            if not _allowed(wanted.allowed_tools, tool.name, read_only):
                continue
            shown: dict[str, Any] = {"name": tool.name, "input_schema": tool.input_schema}
            if tool.description:
                shown["description"] = tool.description
            if tool.annotations:
                shown["annotations"] = tool.annotations.model_dump(mode="json", by_alias=True, exclude_none=True)
            definitions.append(msgspec.json.encode(shown).decode())
            tools.append(
                Tool(
                    tool.name,
                    tool.description or "",
                    msgspec.json.encode(tool.input_schema).decode(),
                    run="server",
                    mcp_server=wanted.server_label,
                    needs_approval=needs_approval(wanted.require_approval, tool.name, read_only),
                )
            )
        cursor = page.next_cursor
        if cursor is None:
            return Listing(wanted.server_label, tuple(definitions), tuple(tools))


def needs_approval(policy: Any, name: str, read_only: bool) -> bool:
    """Whether a tool is called only after the client approved: always, unless the policy says never of it."""
    if isinstance(policy, dict):
        return not _matches(policy.get("never"), name, read_only)
    return not (isinstance(policy, str) and policy == "never")


def _allowed(allowed: list[str] | dict[str, Any] | None, name: str, read_only: bool) -> bool:
    if allowed is None:
        return True
    return name in allowed if isinstance(allowed, list) else _matches(allowed, name, read_only)


def _matches(rule: Any, name: str, read_only: bool) -> bool:
    """Whether a tool is one that ``{"tool_names": [...], "read_only": true}`` speaks of."""
    if not isinstance(rule, dict):
        return False
    names, wanted = rule.get("tool_names"), rule.get("read_only")
    by_name: bool = names is None or (isinstance(names, list) and name in names)
    by_kind: bool = wanted is None or wanted is read_only
    said_anything = names is not None or wanted is not None
    return by_name and by_kind and said_anything


def _text(result: Any) -> str:
    words = "\n".join(block.text for block in result.content if getattr(block, "type", "") == "text")
    if not words and result.structured_content is not None:
        words = msgspec.json.encode(result.structured_content).decode()
    if result.is_error:
        raise RuntimeError(words or "the tool failed without a word")
    return words or "done"


def _reason(problem: BaseException) -> str:
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return str(problem) or type(problem).__name__
