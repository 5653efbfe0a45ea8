"""MCP servers as sessions name them: what may be asked for, and what it means (section 7.13)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.session_wire import McpTool
from antiphon.runtime.addresses import check_url
from antiphon.runtime.mcp import McpServer, ToolFilter

__all__ = ["MOST_SERVERS", "servers_of"]

MOST_SERVERS = 16
"""Servers that one session may name."""

_LABEL = re.compile(r"[^/\x00-\x1f\x7f]+")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NO_ONE = ToolFilter(frozenset())


def servers_of(tools: Sequence[Any], param: str = "session.tools") -> tuple[McpServer, ...]:
    """The MCP servers among a session's tools.

    Raises:
        WireError: There are too many, two have the same label, or one cannot be reached by its description.
    """
    found: dict[str, McpServer] = {}
    for n, tool in enumerate(tools):
        if not isinstance(tool, McpTool):
            continue
        where = f"{param}[{n}]"
        if tool.server_label in found:
            message = f"Expected servers of different labels, got {tool.server_label!r} twice"
            raise WireError("invalid_value", message, f"{where}.server_label")
        if len(found) == MOST_SERVERS:
            raise WireError("invalid_value", f"Expected at most {MOST_SERVERS} MCP servers", where)
        found[tool.server_label] = _server(tool, where)
    return tuple(found.values())


def _server(tool: McpTool, where: str) -> McpServer:
    if not _LABEL.fullmatch(tool.server_label):
        raise WireError("invalid_value", "Expected a server_label without slashes", f"{where}.server_label")
    if tool.server_url is None:
        message = "Expected the server_url of an MCP server; connectors are OpenAI's own."
        raise WireError("invalid_value", message, f"{where}.server_url")
    try:
        check_url(tool.server_url)
    except ValueError as problem:
        words = str(problem)
        raise WireError("invalid_value", words[:1].upper() + words[1:], f"{where}.server_url") from problem
    always, never = _approval(tool.require_approval, f"{where}.require_approval")
    return McpServer(
        label=tool.server_label,
        url=tool.server_url,
        headers=_headers(tool, where),
        allowed=_filter(tool.allowed_tools, f"{where}.allowed_tools", unsaid=ToolFilter()),
        always=always,
        never=never,
    )


def _headers(tool: McpTool, where: str) -> tuple[tuple[str, str], ...]:
    headers = dict(tool.headers or {})
    if tool.authorization:
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        headers["Authorization"] = f"Bearer {tool.authorization}"
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not value.isascii() or not value.isprintable():
            which = "authorization" if tool.authorization and name == "Authorization" else "headers"
            raise WireError("invalid_value", "Expected headers of printable ASCII", f"{where}.{which}")
    return tuple(headers.items())


def _approval(policy: Any, where: str) -> tuple[ToolFilter | None, ToolFilter | None]:
    """The filters of tools that always and never wait for approval."""
    if policy == "never":
        return None, ToolFilter()
    if not isinstance(policy, dict):
        return None, None
    return tuple(  # type: ignore[return-value]
        None if policy.get(word) is None else _filter(policy[word], f"{where}.{word}", unsaid=_NO_ONE)
        for word in ("always", "never")
    )


def _filter(rule: Any, where: str, *, unsaid: ToolFilter) -> ToolFilter:
    """Read ``["name"]`` or ``{"tool_names": ["name"], "read_only": true}``; a rule of neither is `unsaid`."""
    names = rule.get("tool_names") if isinstance(rule, dict) else rule
    read_only = rule.get("read_only") if isinstance(rule, dict) else None
    if not (names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names))):
        raise WireError("invalid_type", "Expected a list of tool names", where)
    if not (read_only is None or isinstance(read_only, bool)):
        raise WireError("invalid_type", "Expected read_only to be true or false", where)
    if names is None and read_only is None:
        return unsaid
    return ToolFilter(None if names is None else frozenset(names), read_only)
