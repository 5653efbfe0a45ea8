"""Tools on MCP servers that a user named: found and called by us, over the official SDK.

One task a server and session holds the connection, from the moment the session names it until it no longer does. A
connection that broke is made anew by the next call; the call that found it broken is not made again, since the server
may have carried it out. The SDK is imported when the first server is named, since that takes a while.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from antiphon.core.items import Tool
from antiphon.runtime.tools import ToolFailure

if TYPE_CHECKING:
    import httpx2
    from mcp import Client

__all__ = ["Listing", "McpLimits", "McpServer", "McpServers", "ToolFilter"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class McpLimits:
    """What a session's MCP servers may take.

    Attributes:
        listing_seconds: How long a server may take to connect and list its tools.
        call_seconds: How long one call may take.
        tools: Tools of one server.
        definition_bytes: JSON of one server's tool definitions.
    """

    listing_seconds: float = 15.0
    call_seconds: float = 30.0
    tools: int = 128
    definition_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class ToolFilter:
    """Some of a server's tools.

    Attributes:
        names: Their names, or None for any.
        read_only: What the server says of changing anything, or None for either.
    """

    names: frozenset[str] | None = None
    read_only: bool | None = None

    def matches(self, name: str, read_only: bool) -> bool:
        """Whether a tool is one of them."""
        return (self.names is None or name in self.names) and self.read_only in (None, read_only)


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer:
    """A server as the user described it.

    Attributes:
        label: Its name within the session.
        url: Where it is: streamable HTTP, or the older SSE.
        headers: Sent with each request.
        allowed: The tools the agent may know of.
        always: Tools that wait for approval, whatever `never` says.
        never: Tools that do not; those that neither names do.
    """

    label: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    allowed: ToolFilter = ToolFilter()
    always: ToolFilter | None = None
    never: ToolFilter | None = None

    def needs_approval(self, name: str, read_only: bool) -> bool:
        """Whether a call of the tool waits for the user's word."""
        if self.always is not None and self.always.matches(name, read_only):
            return True
        return self.never is None or not self.never.matches(name, read_only)


@dataclass(frozen=True, slots=True)
class Listing:
    """What became of asking a server for its tools.

    Attributes:
        label: The server's.
        definitions: One JSON text a tool: ``name``, ``input_schema``, ``description``, ``annotations``.
        tools: The same for the core.
        problem: Why there are none, or None.
    """

    label: str
    definitions: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    problem: str | None = None


class McpServers(Mapping[str, Callable[..., Any]]):
    """A session's MCP servers, and at once the functions behind their tools, by ``label/name``.

    Args:
        listed: Called when a server has told its tools, or failed to.
        allow_private: Let servers be on private and loopback addresses.
        limits: What they may take.
    """

    def __init__(
        self, listed: Callable[[Listing], None], *, allow_private: bool = False, limits: McpLimits | None = None
    ) -> None:
        self._listed = listed
        self._allow_private = allow_private
        self._limits = limits or McpLimits()
        self._links: dict[str, _Link] = {}

    def __bool__(self) -> bool:
        return True  # empty now, but not for good

    def __len__(self) -> int:
        return sum(len(link.tools) for link in self._links.values())

    def __iter__(self) -> Iterator[str]:
        return (f"{label}/{tool.name}" for label, link in self._links.items() for tool in link.tools)

    def __getitem__(self, key: str) -> Callable[..., Any]:
        label, _, name = key.partition("/")
        link = self._links[label]
        if not any(tool.name == name for tool in link.tools):
            raise KeyError(key)

        async def call(**arguments: Any) -> str:
            return await link.call(name, arguments)

        return call

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What all servers offer; of two tools with one name that of the server named first counts."""
        found: dict[str, Tool] = {}
        for link in self._links.values():
            for tool in link.tools:
                found.setdefault(tool.name, tool)
        return tuple(found.values())

    def update(self, wanted: Sequence[McpServer]) -> tuple[str, ...]:
        """Connect to servers that are newly wanted, and leave those that are not wanted any more.

        Args:
            wanted: All of them, with labels of their own and without ``/`` in them.

        Returns:
            The labels of the new ones, of which `listed` will be told.
        """
        servers = {server.label: server for server in wanted}
        for label, link in list(self._links.items()):
            if servers.get(label) != link.server:
                self._links.pop(label).close()
        new = tuple(label for label in servers if label not in self._links)
        for label in new:
            self._links[label] = _Link(servers[label], self._listed, self._allow_private, self._limits)
        return new

    def close(self) -> None:
        """Leave all servers."""
        for link in self._links.values():
            link.close()
        self._links.clear()


class _Link:
    """The connection to one server, and the task that holds it."""

    def __init__(
        self, server: McpServer, listed: Callable[[Listing], None], allow_private: bool, limits: McpLimits
    ) -> None:
        self.server = server
        self.tools: tuple[Tool, ...] = ()
        self._listed = listed
        self._allow_private = allow_private
        self._limits = limits
        loop = asyncio.get_running_loop()
        self._client: asyncio.Future[tuple[Client, _Status]] = loop.create_future()
        self._wanted = asyncio.Event()
        self._broken = asyncio.Event()
        self._task = loop.create_task(self._hold(), name=f"mcp {server.label}")

    def close(self) -> None:
        self._task.cancel()

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Call a tool.

        Raises:
            ToolFailure: The server, or the way to it, failed; the words are an error object as JSON.
            RuntimeError: The tool failed, in its words.
        """
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED

        self._wanted.set()
        connection = self._client
        try:
            client, status = await asyncio.shield(connection)
            status.code = None
            result = await client.call_tool(name, arguments)
        except MCPError as problem:
            if status.code is not None or problem.code == CONNECTION_CLOSED:
                self._leave(connection)  # a server that forgot us, or began anew, may know us again if we introduce us
            if status.code is not None:
                raise _failure("http_error", status.code, problem.message) from problem
            raise _failure("protocol_error", problem.code, problem.message) from problem
        except OSError as problem:
            raise _failure("http_error", 503, str(problem)) from problem
        return _words(result)

    def _leave(self, connection: asyncio.Future[tuple[Client, _Status]]) -> None:
        """Give a connection up; the next call waits for another."""
        if self._client is connection and connection.done():
            self._client = asyncio.get_running_loop().create_future()
            self._wanted.clear()
            self._broken.set()

    async def _hold(self) -> None:
        """Stay connected until cancelled; the first connection also asks for the tools."""
        first = True
        try:
            while True:
                self._broken.clear()
                connected, problem = await self._connect(first)
                _log.info("MCP server %s: the connection ended: %s", self.server.label, problem)
                if not connected:
                    self._client.set_exception(ConnectionError(problem))
                    self._client.exception()  # nobody may be waiting
                    if first:
                        self._listed(Listing(self.server.label, problem=problem))
                        return
                first = False
                self._leave(self._client)
                await self._wanted.wait()
        finally:
            if not self._client.done():
                self._client.set_exception(ConnectionError("the session left the server"))
                self._client.exception()  # nobody may be waiting

    async def _connect(self, first: bool) -> tuple[bool, str]:
        """Connect, and stay so until the connection breaks; whether there was one, and why it ended."""
        connected = False
        try:
            async with (
                asyncio.timeout(self._limits.listing_seconds) as limit,
                _connected(self.server, self._allow_private) as (client, status),
            ):
                if first:
                    listing = await _listing(client, self.server, self._limits)
                    self.tools = listing.tools
                limit.reschedule(None)
                self._client.set_result((client, status))
                connected = True
                if first:
                    self._listed(listing)
                await self._broken.wait()
                return True, "the server no longer knows us"
        except TimeoutError:
            return connected, f"no answer within {self._limits.listing_seconds:g} s"
        except Exception as problem:
            # Whatever a stranger's server does, it is one tool list that is not there.
            return connected, _reason(problem)


@dataclass(slots=True)
class _Status:
    """The last HTTP status that told of a failure, which the SDK does not pass on."""

    code: int | None = None

    async def note(self, response: httpx2.Response) -> None:
        if response.status_code >= 400 and response.request.method == "POST":
            self.code = response.status_code


@asynccontextmanager
async def _connected(server: McpServer, allow_private: bool) -> AsyncIterator[tuple[Client, _Status]]:
    # In a thread: it takes long enough for other calls to hear it.
    await asyncio.to_thread(importlib.import_module, "mcp.client.sse")
    from mcp import Client
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    from antiphon.runtime.guarded_http import MOST_BYTES, guarded_client

    status = _Status()

    def http(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx2.AsyncClient:
        made = guarded_client(headers, allow_private=allow_private)
        made.event_hooks = {"response": [status.note]}
        return made

    headers = dict(server.headers)
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(http(headers))
        try:
            client = await stack.enter_async_context(
                Client(streamable_http_client(server.url, http_client=plain, max_sse_event_size=MOST_BYTES))
            )
        except Exception as problem:
            if status.code not in (400, 404, 405):  # how a server of the older kind answers the newer one
                raise
            try:
                older = sse_client(server.url, headers, httpx_client_factory=http)
                client = await stack.enter_async_context(Client(older, mode="legacy"))
            except Exception as again:
                raise problem from again
        yield client, status


async def _listing(client: Client, server: McpServer, limits: McpLimits) -> Listing:
    definitions: list[str] = []
    tools: list[Tool] = []
    cursor: str | None = None
    size = 0
    while True:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            read_only = bool(tool.annotations and tool.annotations.read_only_hint)
            if not server.allowed.matches(tool.name, read_only):
                continue
            shown: dict[str, Any] = {"name": tool.name, "input_schema": tool.input_schema}
            if tool.description:
                shown["description"] = tool.description
            if tool.annotations:
                shown["annotations"] = tool.annotations.model_dump(mode="json", by_alias=True, exclude_none=True)
            definitions.append(msgspec.json.encode(shown).decode())
            size += len(definitions[-1])
            if len(definitions) > limits.tools or size > limits.definition_bytes:
                raise ValueError(
                    f"expected at most {limits.tools} tools and {limits.definition_bytes} bytes of definitions: "
                    "name fewer in allowed_tools"
                )
            tools.append(
                Tool(
                    tool.name,
                    tool.description or "",
                    msgspec.json.encode(tool.input_schema).decode(),
                    run="server",
                    timeout=limits.call_seconds,
                    mcp_server=server.label,
                    needs_approval=server.needs_approval(tool.name, read_only),
                )
            )
        cursor = page.next_cursor
        if cursor is None:
            return Listing(server.label, tuple(definitions), tuple(tools))


def _words(result: Any) -> str:
    words = "\n".join(block.text for block in result.content if getattr(block, "type", "") == "text")
    if not words and result.structured_content is not None:
        words = msgspec.json.encode(result.structured_content).decode()
    if result.is_error:
        raise RuntimeError(words or "the tool failed without a word")
    return words or "done"


def _failure(kind: Literal["protocol_error", "http_error"], code: int, message: str) -> ToolFailure:
    return ToolFailure(msgspec.json.encode({"type": kind, "code": code, "message": message[:500]}).decode())


def _reason(problem: BaseException) -> str:
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return str(problem) or type(problem).__name__
