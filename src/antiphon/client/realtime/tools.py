"""Tools of the application: their definitions, and running them for the model."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from antiphon.client.realtime.errors import ToolDefinitionError
from antiphon.client.realtime.items import Tool

ToolHandler = Callable[..., object]
"""Called with the tool's arguments by keyword. Async, or plain: then in a thread, so that it may block."""


class ToolBox:
    """The tools that run by themselves.

    Args:
        timeout: seconds a handler may take; None for any time. A plain handler's thread cannot be stopped, only its
            result is given up.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self._timeout = timeout
        self._tools: dict[str, tuple[dict[str, Any], ToolHandler]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def add(self, definition: Mapping[str, Any], handler: ToolHandler) -> dict[str, Any]:
        """Add a tool; gives its definition as the session wants it.

        Raises:
            ToolDefinitionError: no name, a name that is taken, or a handler that is not callable.
        """
        name = definition.get("name") if isinstance(definition, Mapping) else None
        if not name or not isinstance(name, str):
            raise ToolDefinitionError(f'expected a definition with a "name", got {definition!r}')
        if name in self._tools:
            raise ToolDefinitionError(f'Tool "{name}" already added: use remove_tool("{name}") before adding it again')
        if not callable(handler):
            raise ToolDefinitionError(f'expected a callable handler for tool "{name}", got {type(handler).__name__}')
        self._tools[name] = (dict(definition), handler)
        return {"type": "function", **definition}

    def remove(self, name: str) -> None:
        """Remove a tool.

        Raises:
            ToolDefinitionError: there is none of this name.
        """
        if name not in self._tools:
            raise ToolDefinitionError(f'Tool "{name}" does not exist, can not be removed')
        del self._tools[name]

    def clear(self) -> None:
        """Remove all."""
        self._tools.clear()

    def merged_with(self, own: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give the session's list: `own` definitions (of update_session), then the added tools.

        Raises:
            ToolDefinitionError: a name is in both.
        """
        for definition in own:
            if definition.get("name") in self._tools:
                raise ToolDefinitionError(f'Tool "{definition["name"]}" has already been defined')
        added = [{"type": "function", **definition} for definition, _ in self._tools.values()]
        return [{"type": "function", **definition} for definition in own] + added

    async def call(self, tool: Tool) -> str:
        """Run the tool and give its output as JSON text: the result, or `{"error": message}`. Never raises."""
        try:
            if tool.name not in self._tools:
                raise ToolDefinitionError(f'Tool "{tool.name}" has not been added')
            try:
                arguments = msgspec.json.decode(tool.arguments or "{}", type=dict[str, Any])
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise ToolDefinitionError(f"expected the arguments as a JSON object: {error}") from error
            async with asyncio.timeout(self._timeout):
                result = await self._run(self._tools[tool.name][1], arguments)
            return msgspec.json.encode(result).decode()
        except TimeoutError as error:
            message = str(error) or f'Tool "{tool.name}" did not finish within {self._timeout:g} s'
            return msgspec.json.encode({"error": message}).decode()
        except Exception as error:
            return msgspec.json.encode({"error": str(error) or type(error).__name__}).decode()

    @staticmethod
    async def _run(handler: ToolHandler, arguments: dict[str, Any]) -> object:
        function = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004
        if inspect.iscoroutinefunction(function):
            result = handler(**arguments)
        else:
            result = await asyncio.to_thread(handler, **arguments)
        return await result if inspect.isawaitable(result) else result
