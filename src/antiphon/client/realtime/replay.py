"""Telling a new session what was said in the old one."""

from __future__ import annotations

import base64
from typing import Any

from antiphon.client.realtime.items import Item
from antiphon.client.realtime.session import Dialect


def replay_item(item: Item, dialect: Dialect) -> dict[str, Any] | None:
    """Give the `item` of a conversation.item.create that restores this item under its id; None when nothing can.

    A server takes no assistant audio from a client: what was said goes as text. A user's audio goes as its transcript
    when there is one, else as audio. A call that was never finished is left out.
    """
    if item.type == "function_call":
        if item.status != "completed" or item.formatted.tool is None:
            return None
        tool = item.formatted.tool
        return {
            "id": item.id,
            "type": item.type,
            "name": tool.name,
            "call_id": tool.call_id,
            "arguments": tool.arguments,
        }
    if item.type == "function_call_output":
        return {"id": item.id, "type": item.type, "call_id": item.call_id, "output": item.formatted.output or ""}
    if item.type != "message":
        return None
    content = _content(item, dialect)
    return {"id": item.id, "type": "message", "role": item.role, "content": content} if content else None


def replay_items(items: list[Item], dialect: Dialect) -> list[dict[str, Any]]:
    """Give what `replay_item` gives for each that can be restored; an output only after its call."""
    wires = [wire for item in items if (wire := replay_item(item, dialect)) is not None]
    calls = {wire["call_id"] for wire in wires if wire["type"] == "function_call"}
    return [wire for wire in wires if wire["type"] != "function_call_output" or wire["call_id"] in calls]


def _content(item: Item, dialect: Dialect) -> list[dict[str, Any]]:
    if item.role == "assistant":
        kind = "output_text" if dialect == "ga" else "text"
        said = [part.get("text") or part.get("transcript") or "" for part in item.content]
        return [{"type": kind, "text": text} for text in said if text.strip()]
    content: list[dict[str, Any]] = []
    for part in item.content:
        text = part.get("text") or part.get("transcript") or ""
        if text.strip():
            content.append({"type": "input_text", "text": text})
        elif part.get("type") == "input_audio" and item.formatted.audio_bytes:
            audio = base64.b64encode(item.formatted.audio_bytes).decode()
            content.append({"type": "input_audio", "audio": audio})
        elif part.get("type") == "input_image":
            content.append(part)
    return content
