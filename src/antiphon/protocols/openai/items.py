"""Conversation items: from the wire to the core's, and back in either dialect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, assert_never

import msgspec

from antiphon.core.items import (
    Audio,
    AudioRef,
    FunctionCall,
    FunctionCallOutput,
    Image,
    Item,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListTools,
    Message,
    Part,
    Text,
)
from antiphon.protocols.openai.dialect import Dialect
from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.ids import new_id
from antiphon.protocols.openai.wire import (
    ContentPart,
    FunctionCallItem,
    FunctionCallOutputItem,
    ItemReference,
    McpApprovalRequestItem,
    McpApprovalResponseItem,
    McpCallItem,
    McpListToolsItem,
    MessageItem,
    WireItem,
)

__all__ = ["AudioBytes", "Clip", "core_item", "item_view"]

Clip = Callable[[bytes, str], AudioRef]
"""Keeps audio that a client sent inside an item: its bytes in the session's input format, and the field's path."""

AudioBytes = Callable[[AudioRef, Literal["user", "assistant"]], tuple[bytes, str]]
"""What is kept of a part's audio, encoded as clients of the session take it, and the format's name."""

V = TypeVar("V")

_IMAGES = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/jpg;base64,")


# --- from the wire --------------------------------------------------------------------------------------------------


def core_item(item: WireItem, clip: Clip, param: str = "item") -> Item:
    """Make a core item of a client's.

    Args:
        item: As decoded; without an id it gets the empty one, and the core makes one. An
            ``item_reference`` is resolved by the caller, who knows the conversation.
        clip: Where audio goes.
        param: The item's path within the client's event.

    Raises:
        WireError: The item's parts do not fit its role, or audio or image data cannot be used.
    """
    match item:
        case MessageItem():
            item_id = item.id or ""
            content = tuple(
                _core_part(part, item.role, clip, f"{param}.content[{n}]") for n, part in enumerate(item.content)
            )
            return Message(item_id, item.role, content)
        case FunctionCallItem():
            return FunctionCall(item.id or "", item.call_id or new_id("call"), item.name, item.arguments)
        case FunctionCallOutputItem():
            return FunctionCallOutput(item.id or "", item.call_id, item.output)
        case McpApprovalResponseItem():
            return McpApprovalResponse(item.id or "", item.approval_request_id, item.approve, item.reason)
        case McpListToolsItem():
            tools = tuple(msgspec.json.encode(tool).decode() for tool in item.tools)
            return McpListTools(item.id or "", item.server_label, tools)
        case McpCallItem():
            return McpCall(
                item.id or "",
                item.server_label,
                item.name,
                item.arguments,
                item.output,
                None if item.error is None else msgspec.json.encode(item.error).decode(),
                item.approval_request_id,
            )
        case McpApprovalRequestItem():
            return McpApprovalRequest(item.id or "", item.server_label, item.name, item.arguments)
        case ItemReference():
            raise WireError(
                "invalid_value",
                "Expected a whole item, got an item_reference, which only 'response.input' takes",
                param,
            )
        case _:
            assert_never(item)


def _core_part(part: ContentPart, role: Literal["system", "user", "assistant"], clip: Clip, param: str) -> Part:
    match role, part.type:
        case (("user" | "system"), "input_text"):
            return Text(_needed(part.text, f"{param}.text"))
        case "user", "input_audio":
            return Audio(clip(_needed(part.audio, f"{param}.audio"), f"{param}.audio"))
        case "user", "input_image":
            url = _needed(part.image_url, f"{param}.image_url")
            if not url.startswith(_IMAGES):
                raise WireError(
                    "invalid_value",
                    f"Expected a data URI of a PNG or JPEG picture in base64, got {url[:40]!r}",
                    f"{param}.image_url",
                )
            return Image(url, part.detail or "auto")
        case "assistant", ("text" | "output_text"):
            return Text(_needed(part.text, f"{param}.text"))
        case "assistant", ("audio" | "output_audio") if part.audio is None and part.transcript is not None:
            return Text(part.transcript)  # history that a client puts back: what was said, without the sound
        case "assistant", ("audio" | "output_audio"):
            raise WireError(
                "invalid_value", "Expected a text part: audio of the assistant cannot be put into a conversation", param
            )
        case _:
            raise WireError(
                "invalid_value",
                f"Expected {_ALLOWED[role]} in a message of the {role}, got {part.type!r}",
                f"{param}.type",
            )


_ALLOWED = {
    "system": "'input_text'",
    "user": "'input_text', 'input_audio' or 'input_image'",
    "assistant": "'output_text' or 'text'",
}


def _needed(value: V | None, param: str) -> V:
    if value is None:
        raise WireError("missing_required_parameter", f"missing required parameter '{param}'", param)
    return value


# --- to the wire ----------------------------------------------------------------------------------------------------


def item_view(
    item: Item, dialect: Dialect, *, transcripts: bool = True, audio: AudioBytes | None = None
) -> dict[str, Any]:
    """Show an item.

    Args:
        item: The core's.
        dialect: Names the assistant's part types.
        transcripts: Whether users' transcripts are shown; the key is there in any case, null when not (rule 5).
        audio: Gives the parts' audio; only ``conversation.item.retrieved`` carries any.
    """
    match item:
        case Message():
            return {
                "id": item.id,
                "object": "realtime.item",
                "type": "message",
                "status": item.status,
                "role": item.role,
                "content": [_part_view(item, n, dialect, transcripts, audio) for n in range(len(item.content))],
            }
        case FunctionCall():
            return {
                "id": item.id,
                "object": "realtime.item",
                "type": "function_call",
                "status": item.status,
                "name": item.name,
                "call_id": item.call_id,
                "arguments": item.arguments,
            }
        case FunctionCallOutput():
            return {
                "id": item.id,
                "object": "realtime.item",
                "type": "function_call_output",
                "status": item.status,
                "call_id": item.call_id,
                "output": item.output,
            }
        case _:
            return _mcp_view(item)


def _part_view(
    item: Message, index: int, dialect: Dialect, transcripts: bool, audio: AudioBytes | None
) -> dict[str, Any]:
    part = item.content[index]
    match part:
        case Text():
            return {"type": dialect.text_part if item.role == "assistant" else "input_text", "text": part.text}
        case Image():
            return {"type": "input_image", "image_url": part.url, "detail": part.detail}
        case Audio():
            if item.role == "assistant":
                said = part.transcript or ""
                if item.heard is not None:
                    # What was cut off was never heard, so it is no part of the conversation any more.
                    said = item.heard if index == _first_audio(item) else ""
                shown: dict[str, Any] = {"type": dialect.audio_part, "transcript": said}
            else:
                shown = {"type": "input_audio", "transcript": part.transcript if transcripts else None}
            if audio is not None:
                data, name = audio(part.ref, "assistant" if item.role == "assistant" else "user")
                shown |= {"audio": data, "format": name}
            return shown
        case _:
            assert_never(part)


def _first_audio(item: Message) -> int:
    return next(n for n, part in enumerate(item.content) if isinstance(part, Audio))


def _mcp_view(item: McpListTools | McpCall | McpApprovalRequest | McpApprovalResponse) -> dict[str, Any]:
    match item:
        case McpListTools():
            listed: dict[str, Any] = {
                "id": item.id,
                "type": "mcp_list_tools",
                "server_label": item.server_label,
                "tools": [msgspec.json.decode(tool) for tool in item.tools],
            }
            return listed if item.error is None else {**listed, "error": item.error}
        case McpCall():
            shown: dict[str, Any] = {
                "id": item.id,
                "type": "mcp_call",
                "server_label": item.server_label,
                "name": item.name,
                "arguments": item.arguments,
                "output": item.output,  # null until there is one: the JavaScript Agents SDK ends its process without
            }
            if item.approval_request_id is not None:
                shown["approval_request_id"] = item.approval_request_id
            if item.error is not None:
                shown["error"] = _mcp_error(item.error)
            return shown
        case McpApprovalRequest():
            return {
                "id": item.id,
                "type": "mcp_approval_request",
                "server_label": item.server_label,
                "name": item.name,
                "arguments": item.arguments,
            }
        case McpApprovalResponse():
            shown = {
                "id": item.id,
                "type": "mcp_approval_response",
                "approval_request_id": item.approval_request_id,
                "approve": item.approve,
            }
            return shown if item.reason is None else {**shown, "reason": item.reason}
        case _:
            assert_never(item)


def _mcp_error(text: str) -> dict[str, Any]:
    """The error of a call as an object: the tool's words alone become a tool execution error."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        found = None
    if isinstance(found, dict) and found.get("type") in ("protocol_error", "http_error") and "message" in found:
        return found
    return {"type": "tool_execution_error", "message": text}
