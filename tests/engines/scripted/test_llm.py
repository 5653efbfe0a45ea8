from __future__ import annotations

import asyncio

import pytest

from antiphon.core.items import FunctionCall, FunctionCallOutput, Item, McpCall, Message, Text, Tool
from antiphon.engines.ports import EngineError, LlmCall, LlmChunk, LlmDone, LlmRequest, LlmText
from antiphon.engines.scripted import Call, LlmScript, Rule, ScriptedLlm, default_script
from antiphon.runtime.clock import run_virtual

TOOLS = (Tool("get_weather"), Tool("get_time"))


def user(text: str) -> Message:
    return Message("u", "user", (Text(text),))


def agent(text: str) -> Message:
    return Message("a", "assistant", (Text(text),))


async def collect(llm: ScriptedLlm, request: LlmRequest) -> list[tuple[float, LlmChunk]]:
    loop = asyncio.get_running_loop()
    return [(loop.time(), chunk) async for chunk in llm.generate(request)]


def ask(llm: ScriptedLlm, *history: Item, **fields: object) -> list[LlmChunk]:
    request = LlmRequest(history, **fields)  # type: ignore[arg-type]
    return [chunk for _, chunk in run_virtual(collect(llm, request))]


def words(chunks: list[LlmChunk]) -> str:
    return "".join(c.delta for c in chunks if isinstance(c, LlmText))


def calls(chunks: list[LlmChunk]) -> list[tuple[str, str]]:
    made: dict[int, tuple[str, str]] = {}
    for c in chunks:
        if isinstance(c, LlmCall):
            name, arguments = made.get(c.index, (c.name, ""))
            made[c.index] = (name, arguments + c.delta)
    return list(made.values())


def test_tokens_come_one_by_one_at_their_times() -> None:
    llm = ScriptedLlm(LlmScript(delay=0.3, token_delay=0.1, default="One  two\nthree."))
    got = run_virtual(collect(llm, LlmRequest((user("hi"),))))
    assert [(round(at, 6), c.delta) for at, c in got if isinstance(c, LlmText)] == [
        (0.3, "One "),
        (0.4, " two\n"),
        (0.5, "three."),
    ]
    assert isinstance(got[-1][1], LlmDone)
    assert got[-1][1].usage.output_text_tokens == 3


def test_the_first_rule_that_holds_answers() -> None:
    llm = ScriptedLlm(
        LlmScript(
            rules=(
                Rule(match="WEATHER", text="by part", times=1),
                Rule(regex=r"^\w+\?$", text="by regex"),
                Rule(turn=3, text="by turn {turn}"),
                Rule(instructions="pirate", text="by instructions"),
                Rule(call=6, text="by call"),
            ),
            default="{text}!",
        )
    )
    assert words(ask(llm, user("The weather?"))) == "by part"
    assert words(ask(llm, user("The weather?"))) == "The weather?!"
    assert words(ask(llm, user("weather?"))) == "by regex"
    assert words(ask(llm, user("a"), agent("x"), user("b"), agent("y"), user("c"))) == "by turn 3"
    assert words(ask(llm, user("a"), instructions="You are a PIRATE.")) == "by instructions"
    assert words(ask(llm, user("a"))) == "by call"
    assert words(ask(llm)) == "!"
    assert len(llm.requests) == 7


def test_parallel_calls_after_words() -> None:
    rule = Rule(
        text="Let me see.",
        calls=(Call(name="get_weather", arguments={"city": "Paris"}), Call(name="get_time", arguments="{not json")),
    )
    llm = ScriptedLlm(LlmScript(rules=(rule,)))
    chunks = ask(llm, user("hi"), tools=TOOLS)
    assert words(chunks) == "Let me see."
    assert calls(chunks) == [("get_weather", '{"city":"Paris"}'), ("get_time", "{not json")]
    firsts = [c for c in chunks if isinstance(c, LlmCall) and c.call_id]
    assert [c.call_id for c in firsts] == ["call_000001", "call_000002"]
    assert calls(ask(llm, user("hi"), tools=TOOLS, parallel_tool_calls=False)) == [("get_weather", '{"city":"Paris"}')]


def test_tools_that_are_not_offered_are_not_called_unless_the_rule_insists() -> None:
    rules = (Rule(match="now", calls=(Call(name="get_time"),), unoffered=True), Rule(calls=(Call(name="get_time"),)))
    llm = ScriptedLlm(LlmScript(rules=rules, default="no tool"))
    assert words(ask(llm, user("hi"), tools=TOOLS[:1])) == "no tool"
    assert calls(ask(llm, user("now"))) == [("get_time", "{}")]


def test_tool_choice_is_honoured() -> None:
    llm = ScriptedLlm(LlmScript(rules=(Rule(match="time", calls=(Call(name="get_time"),)),), default="words"))
    assert calls(ask(llm, user("time"), tools=TOOLS, tool_choice="none")) == []
    assert calls(ask(llm, user("hi"), tools=TOOLS, tool_choice="required")) == [("get_weather", "{}")]
    assert calls(ask(llm, user("hi"), tools=TOOLS, tool_choice="get_time")) == [("get_time", "{}")]


def test_answers_to_tool_outputs() -> None:
    llm = ScriptedLlm(
        LlmScript(
            rules=(
                Rule(text="never after a tool", match="never"),
                Rule(after_tool="get_weather", output="rain", text="Take an umbrella."),
                Rule(after_tool="*", match="quick", text="Done: {output}"),
            )
        )
    )
    weather = FunctionCall("1", "c1", "get_weather", "{}"), FunctionCallOutput("2", "c1", "RAIN")
    time = FunctionCall("3", "c2", "get_time", "{}"), FunctionCallOutput("4", "c2", "noon")
    assert words(ask(llm, user("never"), *weather)) == "Take an umbrella."
    assert words(ask(llm, user("quick"), *time)) == "Done: noon"
    assert words(ask(llm, user("hi"), *time)) == "The tool says: noon"
    assert words(ask(llm, user("hi"), weather[0], time[0], weather[1], time[1])) == "Take an umbrella."
    assert words(ask(llm, user("hi"), McpCall("5", "docs", "search", output="found"))) == "The tool says: found"
    assert words(ask(llm, user("never"), *weather, user("never mind"))) == "never after a tool"


@pytest.mark.parametrize(("after", "said"), [(0, ""), (2, "one two "), (9, "one two three")])
def test_it_fails_after_so_many_tokens(after: int, said: str) -> None:
    llm = ScriptedLlm(LlmScript(rules=(Rule(text="one two three", fail="crashed", after=after, times=1),)))

    async def main() -> str:
        heard = ""
        with pytest.raises(EngineError) as caught:
            async for chunk in llm.generate(LlmRequest((user("hi"),))):
                assert isinstance(chunk, LlmText)
                heard += chunk.delta
        assert caught.value.kind == "crashed"
        return heard

    assert run_virtual(main()) == said
    assert words(ask(llm, user("hi"))) == "You said: hi"


def test_half_a_sentence_rubbish_and_hanging() -> None:
    rules = (
        Rule(match="half", text="one two three", fail="truncated", after=2),
        Rule(match="rubbish", text="one", fail="rubbish", after=1),
        Rule(text="one", fail="hang", after=1),
    )
    llm = ScriptedLlm(LlmScript(rules=rules))
    assert ask(llm, user("half")) == [LlmText("one "), LlmText("two ")]
    assert ask(llm, user("rubbish"))[1].delta is None  # type: ignore[union-attr]

    async def main() -> list[LlmChunk]:
        got: list[LlmChunk] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                async for chunk in llm.generate(LlmRequest((user("hang"),))):
                    got.append(chunk)
        return got

    assert run_virtual(main()) == [LlmText("one")]


def test_length_and_finish_reasons() -> None:
    llm = ScriptedLlm(LlmScript(rules=(Rule(match="bad", text="no", finish="content_filter"),), default="a b c d"))
    cut = ask(llm, user("x"), max_output_tokens=2)
    assert words(cut) == "a b "
    assert isinstance(cut[-1], LlmDone)
    assert (cut[-1].reason, cut[-1].usage.output_text_tokens) == ("length", 2)
    last = ask(llm, user("bad"))[-1]
    assert isinstance(last, LlmDone)
    assert last.reason == "content_filter"


def test_the_built_in_script_looks_up_the_weather() -> None:
    llm = ScriptedLlm(default_script().llm)
    asked = user("What is the weather like in Paris?")
    chunks = ask(llm, asked, tools=TOOLS)
    assert calls(chunks) == [("get_weather", '{"city":"Paris"}')]
    output = (FunctionCall("1", "c", "get_weather", "{}"), FunctionCallOutput("2", "c", "sunny"))
    assert words(ask(llm, asked, *output, tools=TOOLS)).endswith("sunny")
    assert "window" in words(ask(llm, asked))
