from __future__ import annotations

import sys
from contextlib import aclosing
from pathlib import Path

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
    McpCall,
    McpListTools,
    Message,
    Text,
)
from antiphon.engines.local import LocalEngines
from antiphon.engines.local.llm import LocalLlm, chat_messages, within
from antiphon.engines.local.process import EngineProcess
from antiphon.engines.ports import LlmDone, LlmRequest, LlmText

SPOKEN = AudioRef("", 0, 16_000)


def asked(text: str) -> LlmRequest:
    return LlmRequest((Message("item_1", "user", (Text(text),)),), temperature=0.0)


def test_the_history_is_what_was_said_and_heard() -> None:
    history: list[Item] = [
        Message("1", "user", (Audio(SPOKEN, "What is the"), Text("weather?"), Image("data:image/png;base64,x"))),
        FunctionCall("2", "call_1", "get_weather", "{}"),
        FunctionCallOutput("3", "call_1", '{"sky":"blue"}'),
        Message("4", "assistant", (Audio(SPOKEN, "The sky is blue today."),), heard="The sky is"),
        Message("5", "user", (Audio(SPOKEN, None),)),
        McpListTools("6", "maps"),
        McpCall("7", "maps", "find", output="here"),
        McpCall("8", "maps", "find", error="gone"),
        Message("9", "assistant", (Text("Never heard."),), heard=""),
    ]
    assert chat_messages(history) == [
        {"role": "user", "content": "What is the weather?"},
        {"role": "user", "content": '(get_weather answered: {"sky":"blue"})'},
        {"role": "assistant", "content": "The sky is"},
        {"role": "user", "content": "(find answered: here)"},
    ]


@given(st.lists(st.text(max_size=200), max_size=12), st.integers(20, 400))
def test_the_newest_messages_are_kept_within_the_room(texts: list[str], tokens: int) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    kept = within(messages, tokens)
    assert sum(len(m["content"].encode()) // 3 + 8 for m in kept) <= tokens
    assert bool(kept) == bool(messages)
    if kept:
        assert messages[-1]["content"].endswith(kept[-1]["content"])
        assert kept[:-1] == messages[len(messages) - len(kept) : -1]


@pytest.mark.models
@pytest.mark.asyncio(loop_scope="session")
async def test_an_answer_streams_and_ends_with_its_usage(engines: LocalEngines) -> None:
    await engines.llm.warm_up()
    assert engines.llm.readiness()
    assert engines.llm.demo
    *pieces, done = [chunk async for chunk in engines.llm.generate(asked("Hello! How are you today?"))]
    assert all(isinstance(piece, LlmText) for piece in pieces)
    assert len(pieces) > 3
    assert isinstance(done, LlmDone)
    assert done.reason == "stop"
    assert done.usage.input_text_tokens > 20
    assert done.usage.cached_tokens > 10, "the default instructions were read at warm-up"
    assert done.usage.output_text_tokens >= len(pieces)


@pytest.mark.models
@pytest.mark.asyncio(loop_scope="session")
async def test_length_is_bounded_and_instructions_are_primed(engines: LocalEngines) -> None:
    instructions = "You are a pirate who sells parrots to sailors, and you say so in every answer."
    await engines.llm.prime(instructions)
    request = LlmRequest(asked("Who are you?").history, instructions, max_output_tokens=5)
    *pieces, done = [chunk async for chunk in engines.llm.generate(request)]
    assert isinstance(done, LlmDone)
    assert done.reason == "length"
    assert done.usage.output_text_tokens == 5
    assert done.usage.cached_tokens > 15
    assert pieces


def test_a_conversation_that_is_too_long_loses_its_beginning(tmp_path: Path) -> None:
    turns = tuple(Message(f"item_{i}", "user", (Text(f"Sentence {i} is here. " * 20),)) for i in range(60))
    engine = LocalLlm(EngineProcess(tmp_path))
    messages = engine._prompt(LlmRequest(turns, "Be brief. " * 2000), 1000)
    assert messages[0]["role"] == "system"
    assert len(messages[0]["content"]) < 1500
    assert messages[-1]["content"].startswith("Sentence 59")
    assert sum(len(m["content"]) // 3 + 8 for m in messages) <= 1000


@pytest.mark.models
@pytest.mark.asyncio(loop_scope="session")
async def test_closing_the_iterator_stops_at_the_next_token(engines: LocalEngines) -> None:
    process = engines.llm._process
    for _ in range(4):  # more than there are slots: a generation that went on would hold one
        async with aclosing(engines.llm.generate(asked("Tell me a very long story about a dragon."))) as chunks:
            assert isinstance(await anext(chunks), LlmText)
        assert not process._calls
    assert [chunk async for chunk in engines.llm.generate(asked("Hello."))]


@pytest.mark.models
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.asyncio(loop_scope="session")
async def test_no_port_is_opened(engines: LocalEngines) -> None:
    await engines.llm.warm_up()
    proc = Path(f"/proc/{engines.llm._process.pid}")
    links = [link.readlink().name for link in (proc / "fd").iterdir()]
    sockets = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}
    assert sockets, "the library's server listens somewhere"
    rows = [line.split() for name in ("tcp", "tcp6") for line in (proc / "net" / name).read_text().splitlines()[1:]]
    listening = {row[9] for row in rows if row[3] == "0A"}
    assert not sockets & listening
