"""Running the tools that live on our side: once per call, within a time, with bounded words as the outcome.

A tool is any Python function, ``async`` or not (those that are not run in a daemon thread, so that one that never
returns keeps neither the session nor the process). It is called with the call's arguments by keyword, converted to its
annotations where it has any; what it returns becomes text: a string as it is, anything else as JSON.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from antiphon.core.effects import RunTool
from antiphon.runtime.clock import real_work

__all__ = ["LONGEST_OUTPUT", "ToolFailure", "ToolFunction", "ToolRunner"]

_log = logging.getLogger(__name__)

ToolFunction = Callable[..., Any]
"""``async def`` or ``def``; parameters are the tool's arguments."""

LONGEST_OUTPUT = 16 * 1024
"""Characters of a tool's output that reach the LLM."""
LONGEST_ERROR = 500
MOST_THREADS = 64
"""Threads of synchronous tools in a process, those that never return included."""

_threads = threading.BoundedSemaphore(MOST_THREADS)


class ToolRunner:
    """A session's tools.

    Args:
        tools: functions by tool name; those of an MCP server by ``label/name``.
    """

    def __init__(self, tools: Mapping[str, ToolFunction]) -> None:
        self._tools = tools
        self._called: set[str] = set()

    def first_call(self, call_id: str) -> bool:
        """Whether ``call_id`` was never run before; it counts as run from now on."""
        if call_id in self._called:
            return False
        self._called.add(call_id)
        return True

    async def run(self, call: RunTool) -> tuple[str, bool]:
        """Run one call.

        Returns:
            The output for the LLM, at most ``LONGEST_OUTPUT`` characters and a note, and whether it failed. Nothing
            is raised: a tool that does not exist, raises, or takes longer than its time fails with words that say so.
        """
        try:
            function = self._find(call)
            arguments = _arguments(function, call)
        except ToolCallError as problem:
            return str(problem), True
        try:
            async with asyncio.timeout(call.timeout):
                result = await _call(function, arguments)
            return _bounded(_text(result)), False
        except ToolFailure as problem:
            return _bounded(str(problem)), True
        except TimeoutError as problem:
            words = str(problem)
            return (_error(f"the tool {call.name!r} failed", words) if words else _timed_out(call)), True
        except Exception as problem:
            _log.warning("tool %s raised %s", call.name, type(problem).__name__)
            return _error(f"the tool {call.name!r} failed", str(problem) or type(problem).__name__), True

    def _find(self, call: RunTool) -> ToolFunction:
        name = call.name if call.mcp_server is None else f"{call.mcp_server}/{call.name}"
        function = self._tools.get(name)
        if function is None:
            raise ToolCallError(f"error: there is no tool {name!r} on this server")
        return function


class ToolFailure(Exception):
    """Raised by a tool that words its failure itself; what it says is passed on as it is."""


class ToolCallError(Exception):
    """A call cannot even be made; the words are for the LLM."""


def _arguments(function: ToolFunction, call: RunTool) -> dict[str, Any]:
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError as problem:
        raise ToolCallError(f"error: the arguments of {call.name!r} are not JSON: {problem}") from problem
    if not isinstance(arguments, dict):
        raise ToolCallError(
            f"error: the arguments of {call.name!r} must be a JSON object, got {type(arguments).__name__}"
        )
    try:
        signature = inspect.signature(function)
        signature.bind(**arguments)
    except TypeError as problem:
        raise ToolCallError(_error(f"wrong arguments for {call.name!r}", str(problem))) from problem
    except ValueError:  # a builtin without a signature: it checks by itself
        return arguments
    return _converted(function, signature, arguments, call.name)


def _converted(
    function: ToolFunction, signature: inspect.Signature, arguments: dict[str, Any], name: str
) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):  # annotations that cannot be resolved, or a callable object: no conversion
        return arguments
    out: dict[str, Any] = {}
    for key, value in arguments.items():
        wanted = hints.get(key, Any) if key in signature.parameters else Any
        try:
            out[key] = msgspec.convert(value, wanted, strict=False)
        except msgspec.ValidationError as problem:
            raise ToolCallError(_error(f"argument {key!r} of {name!r}", str(problem))) from problem
        except TypeError:  # a type msgspec does not know: the function takes what JSON gave
            out[key] = value
    return out


async def _call(function: ToolFunction, arguments: dict[str, Any]) -> object:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        return await function(**arguments)
    result = await _in_thread(lambda: function(**arguments))
    return await result if isinstance(result, Awaitable) else result


async def _in_thread(work: Callable[[], object]) -> object:
    """Run ``work`` in a daemon thread of its own: it may never return, and must not hold up the process's end."""
    slots = _threads
    if not slots.acquire(blocking=False):
        raise RuntimeError(f"{MOST_THREADS} tools are running in this process already")
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[object] = loop.create_future()

    def settle(result: object, problem: BaseException | None) -> None:
        if outcome.done():
            return
        if problem is not None:
            outcome.set_exception(problem if isinstance(problem, Exception) else RuntimeError(repr(problem)))
        else:
            outcome.set_result(result)

    def run() -> None:
        result: object = None
        problem: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:
            problem = raised
        finally:
            slots.release()
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(settle, result, problem)
            except RuntimeError:
                _log.debug("a tool returned after its loop was closed")

    with real_work():
        threading.Thread(target=run, name="antiphon-tool", daemon=True).start()
        return await outcome


def _text(result: object) -> str:
    if isinstance(result, str):
        return result
    if result is None:
        return "done"
    try:
        return msgspec.json.encode(result, enc_hook=str).decode()
    except (TypeError, ValueError, msgspec.MsgspecError):
        return str(result)


def _bounded(text: str) -> str:
    if len(text) <= LONGEST_OUTPUT:
        return text
    return f"{text[:LONGEST_OUTPUT]}\n[cut: {len(text)} characters in all, the first {LONGEST_OUTPUT} are shown]"


def _timed_out(call: RunTool) -> str:
    return f"error: the tool {call.name!r} did not return within {call.timeout:g} s"


def _error(what: str, words: str) -> str:
    words = words if len(words) <= LONGEST_ERROR else words[: LONGEST_ERROR - 1] + "…"
    return f"error: {what}: {words}"
