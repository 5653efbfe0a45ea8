"""Items on the wire: taken by type and role, shown by dialect."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

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
    Text,
)
from antiphon.protocols.openai.dialect import BETA, GA, Dialect
from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.items import core_item, item_view
from antiphon.protocols.openai.wire import WireItem

PNG = "data:image/png;base64,iVBORw0KGgo="
SPAN = AudioRef("item_1", 0, 100)


def taken(item: dict[str, Any]) -> Item:
    return core_item(msgspec.convert(item, WireItem), lambda data, param: AudioRef("clip", 0, len(data)))


def message(role: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": "m", "role": role, "content": list(content)}


@pytest.mark.parametrize(
    ("wire", "core"),
    [
        (message("user", {"type": "input_text", "text": "hi"}), Message("m", "user", (Text("hi"),))),
        (message("system", {"type": "input_text", "text": "hi"}), Message("m", "system", (Text("hi"),))),
        (message("assistant", {"type": "output_text", "text": "hi"}), Message("m", "assistant", (Text("hi"),))),
        (message("assistant", {"type": "text", "text": "hi"}), Message("m", "assistant", (Text("hi"),))),
        (message("assistant", {"type": "output_audio", "transcript": "hi"}), Message("m", "assistant", (Text("hi"),))),
        (
            message("user", {"type": "input_audio", "audio": "AAAA"}),
            Message("m", "user", (Audio(AudioRef("clip", 0, 3)),)),
        ),
        (
            message("user", {"type": "input_image", "image_url": PNG, "detail": "low"}),
            Message("m", "user", (Image(PNG, "low"),)),
        ),
        (
            {"type": "function_call", "id": "f", "call_id": "c", "name": "n", "arguments": "{}"},
            FunctionCall("f", "c", "n", "{}"),
        ),
        (
            {"type": "function_call_output", "id": "o", "call_id": "c", "output": "x"},
            FunctionCallOutput("o", "c", "x"),
        ),
        (
            {"type": "mcp_approval_response", "id": "a", "approval_request_id": "r", "approve": True},
            McpApprovalResponse("a", "r", True),
        ),
        (
            {"type": "mcp_call", "id": "c", "server_label": "s", "name": "n", "arguments": "{}", "output": "x"},
            McpCall("c", "s", "n", "{}", "x"),
        ),
        (
            {"type": "mcp_list_tools", "id": "l", "server_label": "s", "tools": [{"name": "n", "input_schema": {}}]},
            McpListTools("l", "s", ('{"name":"n","input_schema":{}}',)),
        ),
        (
            {"type": "mcp_approval_request", "id": "r", "server_label": "s", "name": "n", "arguments": "{}"},
            McpApprovalRequest("r", "s", "n", "{}"),
        ),
    ],
)
def test_taken(wire: dict[str, Any], core: Item) -> None:
    assert taken(wire) == core


def test_without_ids_the_core_makes_one_and_a_call_gets_one() -> None:
    assert taken({"type": "function_call_output", "call_id": "c", "output": "x"}).id == ""
    call = taken({"type": "function_call", "name": "n", "arguments": "{}"})
    assert isinstance(call, FunctionCall)
    assert call.call_id.startswith("call_")


@pytest.mark.parametrize(
    ("wire", "param"),
    [
        (message("user", {"type": "text", "text": "hi"}), "item.content[0].type"),
        (message("user", {"type": "output_text", "text": "hi"}), "item.content[0].type"),
        (message("system", {"type": "input_audio", "audio": "AAAA"}), "item.content[0].type"),
        (message("assistant", {"type": "input_text", "text": "hi"}), "item.content[0].type"),
        (message("assistant", {"type": "audio", "audio": "AAAA"}), "item.content[0]"),
        (message("user", {"type": "input_text", "text": "a"}, {"type": "input_text"}), "item.content[1].text"),
        (message("user", {"type": "input_audio"}), "item.content[0].audio"),
        (message("user", {"type": "input_image", "image_url": "http://10.0.0.1/x.png"}), "item.content[0].image_url"),
        (message("user", {"type": "input_image"}), "item.content[0].image_url"),
        ({"type": "item_reference", "id": "x"}, "item"),
    ],
)
def test_refused(wire: dict[str, Any], param: str) -> None:
    with pytest.raises(WireError) as error:
        taken(wire)
    assert error.value.param == param


@pytest.mark.parametrize(("dialect", "text", "audio"), [(GA, "output_text", "output_audio"), (BETA, "text", "audio")])
def test_assistant_parts_are_named_by_dialect(dialect: Dialect, text: str, audio: str) -> None:
    item = Message("m", "assistant", (Text("a"), Audio(SPAN, "b")), "in_progress")
    assert item_view(item, dialect) == {
        "id": "m",
        "object": "realtime.item",
        "type": "message",
        "status": "in_progress",
        "role": "assistant",
        "content": [{"type": text, "text": "a"}, {"type": audio, "transcript": "b"}],
    }


def test_user_audio_always_has_a_transcript_key() -> None:
    known = Message("m", "user", (Audio(SPAN, "hello"),))
    unknown = Message("m", "user", (Audio(SPAN),))
    assert item_view(known, GA)["content"][0]["transcript"] == "hello"
    assert item_view(known, GA, transcripts=False)["content"][0]["transcript"] is None
    assert item_view(unknown, GA)["content"][0] == {"type": "input_audio", "transcript": None}


def test_what_was_not_heard_is_not_shown() -> None:
    item = Message("m", "assistant", (Audio(SPAN, "one two three"),), "incomplete", heard="one")
    assert item_view(item, GA)["content"][0]["transcript"] == "one"


def test_retrieved_items_carry_sound() -> None:
    item = Message("m", "user", (Audio(SPAN, "hello"),))
    shown = item_view(item, GA, audio=lambda ref, who: (b"\1\2", "pcm16"))
    part = {"type": "input_audio", "transcript": "hello", "audio": b"\1\2", "format": "pcm16"}
    assert shown["content"] == [part]


def test_mcp_items() -> None:
    failed = McpCall("c", "s", "n", "{}", error="it broke", approval_request_id="r")
    assert item_view(failed, GA) == {
        "id": "c",
        "type": "mcp_call",
        "server_label": "s",
        "name": "n",
        "arguments": "{}",
        "output": None,
        "approval_request_id": "r",
        "error": {"type": "tool_execution_error", "message": "it broke"},
    }
    protocol = '{"type":"protocol_error","code":1,"message":"x"}'
    assert item_view(McpCall("c", "s", "n", "{}", error=protocol), GA)["error"]["code"] == 1
    own = '{"type":"grumpy","message":"x"}'  # a tool's own words, which only look like an error object
    shown = item_view(McpCall("c", "s", "n", "{}", error=own), GA)["error"]
    assert shown == {"type": "tool_execution_error", "message": own}
    assert item_view(McpListTools("l", "s", error="gone"), GA)["error"] == "gone"
    listed = item_view(McpListTools("l", "s", ('{"name":"n","input_schema":{}}',)), GA)
    assert listed["tools"] == [{"name": "n", "input_schema": {}}]
    assert "reason" not in item_view(McpApprovalResponse("a", "r", False), GA)
    assert item_view(McpApprovalResponse("a", "r", False, "no"), GA)["reason"] == "no"
    assert item_view(McpApprovalRequest("r", "s", "n", "{}"), GA)["type"] == "mcp_approval_request"
