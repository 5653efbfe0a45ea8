from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    Tool,
)
from antiphon.engines.history import NO_OUTPUT, to_chat, to_tool_choice, to_tools

SPAN = AudioRef("", 0, 100)


def call(call_id: str, name: str = "look", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_who_said_what() -> None:
    history = (
        Message("1", "system", (Text("The user is called Ada."),)),
        Message("2", "user", (Audio(SPAN, "Hello."), Text("And this."))),
        Message("3", "assistant", (Audio(SPAN, "Hi Ada, how are you?"),), "incomplete", heard="Hi Ada,"),
        Message("4", "user", (Audio(SPAN),)),
        Message("5", "assistant", (Audio(SPAN, "never heard"),), heard=""),
        Message("6", "user", (Text("Well."),)),
    )
    assert to_chat(history, "Be kind.") == [
        {"role": "system", "content": "Be kind."},
        {"role": "system", "content": "The user is called Ada."},
        {"role": "user", "content": "Hello. And this."},
        {"role": "assistant", "content": "Hi Ada,"},
        {"role": "user", "content": "Well."},
    ]


def test_pictures_stay_where_they_were_shown() -> None:
    message = Message("1", "user", (Text("This"), Image("data:a", "high"), Audio(SPAN, "or that"), Image("data:b")))
    assert to_chat([message]) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "This"},
                {"type": "image_url", "image_url": {"url": "data:a", "detail": "high"}},
                {"type": "text", "text": "or that"},
                {"type": "image_url", "image_url": {"url": "data:b", "detail": "auto"}},
            ],
        }
    ]
    assert to_chat([message], images=False) == [{"role": "user", "content": "This or that"}]
    assert to_chat([Message("1", "user", (Image("data:a"),))], images=False) == []


def test_parallel_calls_are_one_message_with_the_words_before_them() -> None:
    history = (
        Message("1", "assistant", (Text("Let me see."),)),
        FunctionCall("2", "c1", "look", '{"at":1}'),
        FunctionCall("3", "c2", "time", ""),
        FunctionCallOutput("4", "c2", "noon"),
        FunctionCallOutput("5", "c1", "a cat"),
        FunctionCall("6", "c3", "look"),
        FunctionCallOutput("7", "c3", "a dog"),
    )
    assert to_chat(history) == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [call("c1", arguments='{"at":1}'), call("c2", "time")],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {"role": "assistant", "content": None, "tool_calls": [call("c3")]},
        {"role": "tool", "tool_call_id": "c3", "content": "a dog"},
    ]


def test_an_output_that_came_late_follows_its_call_all_the_same() -> None:
    history = (
        FunctionCall("1", "c1", "look"),
        Message("2", "user", (Text("Are you there?"),)),
        FunctionCallOutput("3", "c1", "a cat"),
    )
    assert [m["role"] for m in to_chat(history)] == ["assistant", "tool", "user"]


def test_calls_without_output_and_outputs_without_call() -> None:
    history = (FunctionCall("1", "c1", "look"), FunctionCallOutput("2", "c9", "a cat"))
    assert to_chat(history) == [
        {"role": "assistant", "content": None, "tool_calls": [call("c1")]},
        {"role": "tool", "tool_call_id": "c1", "content": NO_OUTPUT},
        {"role": "system", "content": "A tool answered: a cat"},
    ]


@pytest.mark.parametrize(
    ("written", "sent"),
    [("", "{}"), ("{half", '{"text": "{half"}'), ("[1]", '{"text": "[1]"}'), ('{"a":1}', '{"a":1}')],
)
def test_arguments_are_a_json_object(written: str, sent: str) -> None:
    assert to_chat([FunctionCall("1", "c", "look", written)])[0]["tool_calls"] == [call("c", arguments=sent)]


def test_mcp_calls_carry_their_own_output() -> None:
    history = (
        McpListTools("0", "docs"),
        McpApprovalRequest("1", "docs", "search", "{}"),
        McpApprovalResponse("2", "1", True),
        McpCall("3", "docs", "search", '{"q":"x"}', output="found"),
        McpCall("4", "docs", "search", error="gone"),
        McpCall("5", "docs", "search"),
    )
    chat = to_chat(history)
    assert [c["id"] for c in chat[0]["tool_calls"]] == ["3", "4", "5"]
    assert [m["content"] for m in chat[1:]] == ["found", "gone", NO_OUTPUT]


ids = st.sampled_from(["c1", "c2", "c3", "c4"])
items: st.SearchStrategy[Item] = st.one_of(
    st.builds(FunctionCall, st.just("f"), ids, st.just("look"), st.sampled_from(["", "{}", "{", "[]"])),
    st.builds(FunctionCallOutput, st.just("o"), ids, st.just("out")),
    st.builds(McpCall, ids, st.just("s"), st.just("look")),
    st.builds(Message, st.just("m"), st.sampled_from(["user", "assistant"]), st.just((Text("words"),))),
    st.builds(Message, st.just("m"), st.sampled_from(["user", "assistant"]), st.just(())),
)


@given(st.lists(items, max_size=12))
def test_a_chat_api_takes_whatever_comes_out(history: list[Item]) -> None:
    chat = to_chat(history)
    waiting: list[str] = []
    for message in chat:
        if message["role"] == "tool":
            assert message["tool_call_id"] == waiting.pop(0)
            continue
        assert not waiting
        for made in message.get("tool_calls", ()):
            waiting.append(made["id"])
            assert isinstance(json.loads(made["function"]["arguments"]), dict)
        assert message["content"] or message["tool_calls"]
    assert not waiting


def test_tools_and_the_choice_of_one() -> None:
    assert to_tools([Tool("look", "Looks.", '{"type":"object"}')]) == [
        {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}
    ]
    for parameters in ("{", "[]"):
        with pytest.raises(ValueError, match="tool 'look'"):
            to_tools([Tool("look", parameters=parameters)])
    assert to_tool_choice("required") == "required"
    assert to_tool_choice("look") == {"type": "function", "function": {"name": "look"}}
