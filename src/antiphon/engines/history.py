"""A conversation as chat messages: what every chat completions API takes.

The rules that such APIs insist on are kept whatever the history holds: a tool call is followed by its output at once,
no output stands without its call, arguments are JSON, nothing is empty.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from antiphon.core.items import (
    FunctionCall,
    FunctionCallOutput,
    Image,
    Item,
    McpCall,
    Message,
    Text,
    Tool,
)

ChatMessage = dict[str, Any]

NO_OUTPUT = "(no result yet)"
"""What stands in for the output of a call that has none."""


def to_chat(history: Sequence[Item], instructions: str = "", *, images: bool = True) -> list[ChatMessage]:
    """Chat messages: system, user, assistant and tool.

    Args:
        history: the conversation. Speech counts by its transcript, the agent's by the words that were heard.
        instructions: become the first message, a system one.
        images: whether pictures are passed on (as ``image_url`` parts) or left out.
    """
    outputs = {item.call_id: item.output for item in history if isinstance(item, FunctionCallOutput)}
    called = {item.call_id for item in history if isinstance(item, FunctionCall)}
    messages: list[ChatMessage] = [{"role": "system", "content": instructions}] if instructions else []
    calls: list[tuple[ChatMessage, str]] = []
    for item in history:
        match item:
            case FunctionCall():
                calls.append((_call(item.call_id, item), outputs.get(item.call_id, NO_OUTPUT)))
                continue
            case McpCall():
                output = item.output if item.output is not None else item.error
                calls.append((_call(item.id, item), NO_OUTPUT if output is None else output))
                continue
        _flush(messages, calls)
        match item:
            case Message():
                message = _message(item, images)
                if message is not None:
                    messages.append(message)
            case FunctionCallOutput() if item.call_id not in called:
                messages.append({"role": "system", "content": f"A tool answered: {item.output}"})
    _flush(messages, calls)
    return messages


def to_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Tool definitions for ``chat.completions``.

    Raises:
        ValueError: a tool's parameters are no JSON object; the message names the tool.
    """
    definitions = []
    for tool in tools:
        try:
            parameters = json.loads(tool.parameters)
        except ValueError as error:
            raise ValueError(f"the parameters of tool {tool.name!r} are not JSON: {error}") from error
        if not isinstance(parameters, dict):
            raise ValueError(f"the parameters of tool {tool.name!r} are no JSON object")
        function = {"name": tool.name, "description": tool.description, "parameters": parameters}
        definitions.append({"type": "function", "function": function})
    return definitions


def to_tool_choice(choice: str) -> str | dict[str, Any]:
    """``auto``, ``none`` and ``required`` as they are; any other word is the name of the one tool to call."""
    if choice in ("auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def _flush(messages: list[ChatMessage], calls: list[tuple[ChatMessage, str]]) -> None:
    """Add the calls that were collected, then their outputs; words said just before belong to the same message."""
    if not calls:
        return
    if not messages or messages[-1]["role"] != "assistant" or "tool_calls" in messages[-1]:
        messages.append({"role": "assistant", "content": None})
    messages[-1]["tool_calls"] = [call for call, _ in calls]
    messages.extend({"role": "tool", "tool_call_id": call["id"], "content": output} for call, output in calls)
    calls.clear()


def _call(call_id: str, item: FunctionCall | McpCall) -> ChatMessage:
    try:
        arguments = item.arguments if isinstance(json.loads(item.arguments), dict) else ""
    except ValueError:
        arguments = ""
    if not arguments:
        arguments = json.dumps({"text": item.arguments}) if item.arguments.strip() else "{}"
    return {"id": call_id, "type": "function", "function": {"name": item.name, "arguments": arguments}}


def _message(item: Message, images: bool) -> ChatMessage | None:
    pictures = [p for p in item.content if isinstance(p, Image)]
    if item.role != "user" or not images or not pictures:
        return {"role": item.role, "content": item.text} if item.text.strip() else None
    parts: list[dict[str, Any]] = []
    for part in item.content:
        if isinstance(part, Image):
            parts.append({"type": "image_url", "image_url": {"url": part.url, "detail": part.detail}})
            continue
        words = part.text if isinstance(part, Text) else part.transcript
        if words:
            parts.append({"type": "text", "text": words})
    return {"role": "user", "content": parts}
