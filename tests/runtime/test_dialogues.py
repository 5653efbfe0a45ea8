"""The calls that voice agents get wrong, one after the other; ``simulator.check`` adds the invariants to each."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from antiphon.core import effects as fx
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config, Turn
from antiphon.core.items import FunctionCall, FunctionCallOutput, Item, Message, Text, Tool
from antiphon.engines.chain import LlmChain, SttChain, TtsChain
from antiphon.engines.scripted import (
    Call as LlmToolCall,
)
from antiphon.engines.scripted import (
    Clause,
    LlmScript,
    Rule,
    ScriptedLlm,
    ScriptedStt,
    ScriptedTts,
    SttScript,
    TtsScript,
    TurnScript,
    Utterance,
)
from antiphon.runtime.tools import LONGEST_OUTPUT

from .simulator import (
    LONG,
    RATE,
    SHORT,
    VOCABULARY,
    Call,
    Ear,
    call,
    cough,
    dialogue,
    script,
    with_turn,
    words_within,
)

OWNERS = pytest.mark.parametrize("playout", ["server", "client"])
QUESTION = "hello there agent"
STORY = Rule(match="story", text=LONG)
FULL = 4000
"""Below the peak of the agent's full voice (4634), above the ducked one."""


def text_message(words: str) -> Message:
    return Message("", "user", (Text(words),))


async def start_story(line: Call, seconds: float) -> float:
    """Have the agent tell its long sentence, and wait until ``seconds`` of it were heard; when it began."""
    await line.silence(0.4)
    await line.say("tell me a story")
    while not line.session.state.playout.audible:
        await line.silence(0.02)
    begun = line.now
    await line.silence(seconds)
    return begun


def heard_by_client(line: Call, item_id: str, text: str) -> str:
    """What a client-side player played of a one-clause item."""
    return words_within([(text, 1.0)], line.player.played(item_id, line.now))


def story_item(line: Call) -> Message:
    return next(i for i in line.items if isinstance(i, Message) and i.role == "assistant")


def valid_for_llm(history: tuple[Item, ...]) -> bool:
    """Whether every call is followed by its output, with nothing but other calls and outputs in between."""
    waiting: set[str] = set()
    for item in history:
        match item:
            case FunctionCall():
                waiting.add(item.call_id)
            case FunctionCallOutput():
                if item.call_id not in waiting:
                    return False
                waiting.remove(item.call_id)
            case Message() if waiting:
                return False
            case _:
                pass
    return not waiting


# --- turns ------------------------------------------------------------------------------------------------------------


@OWNERS
def test_01_a_question_is_answered_once(playout: Any) -> None:
    async def scene() -> None:
        async with call(config=Config(playout=playout)) as line:
            await line.silence(1.0)
            begun = await line.say("hello there agent i would like to know the")
            ended = line.now
            await line.until_quiet()
        assert len(line.of(ev.Committed)) == len(line.responses) == 1
        assert 0.45 <= line.at(ev.Committed) - ended <= 0.6
        asked = [at for at, e in line.effects if isinstance(e, fx.Transcribe | fx.Generate)]
        assert len(asked) == 2 and max(asked) < line.at(ev.Committed), "STT and LLM began in the pause"
        assert line.history == [
            ("user", "hello there agent i would like to know the"),
            ("assistant", "You said hello there agent i would like to know the."),
        ]
        assert line.record is not None
        who = [s.who for s in line.record.timeline]
        assert who == ["silence", "user", "silence", "agent", "silence"]
        user = line.record.timeline[1]
        assert user.end - user.start == pytest.approx(ended - begun, abs=0.06)
        assert (line.record.turns, line.record.responses, line.record.interruptions) == (1, 1, 0)

    dialogue(scene)


@OWNERS
def test_02_a_pause_within_a_turn(playout: Any) -> None:
    async def scene() -> None:
        async with call(config=Config(playout=playout)) as line:
            await line.say("i would like to know")
            await line.silence(0.4)
            await line.say("the weather in berlin")
            await line.until_quiet()
        assert len(line.of(ev.Committed)) == len(line.of(ev.ResponseStarted)) == 1
        assert line.transcripts == ["i would like to know the weather in berlin"]
        assert line.said("assistant") == ["You said i would like to know the weather in berlin."]
        generated = [e.job for _, e in line.effects if isinstance(e, fx.Generate)]
        cancelled = {e.job for _, e in line.effects if isinstance(e, fx.Cancel)}
        assert len(generated) == 2 and generated[0] in cancelled, "what began in the pause was thrown away"
        assert line.record is not None and line.record.turns == 1

    dialogue(scene)


@OWNERS
@pytest.mark.parametrize("merge", [True, False])
def test_03_going_on_before_the_first_sound(playout: Any, merge: bool) -> None:
    async def scene() -> None:
        slow = script(llm=LlmScript(default="You said {text}.", delay=1.5, token_delay=0.01))
        async with call(slow, with_turn(Config(playout=playout), merge=merge)) as line:
            await line.say("i would like to know")
            await line.silence(0.7)
            assert len(line.of(ev.Committed)) == 1
            await line.say("the weather in berlin")
            await line.until_quiet()
        parts = ["i would like to know", "the weather in berlin"]
        assert line.said("user") == ([" ".join(parts)] if merge else parts)
        assert [r.status for r in line.responses] == ["cancelled", "completed"]
        assert len(line.said("assistant")) == 1
        assert [i.text for i in line.asked[-1].history if isinstance(i, Message)] == line.said("user")
        assert not line.of(ev.Rejected)

    dialogue(scene)


@OWNERS
def test_04_a_semantic_pause_is_no_end(playout: Any) -> None:
    async def scene() -> None:
        hesitant = script(turn=TurnScript(probabilities=(0.1, 0.1), default=0.95))
        async with call(hesitant, with_turn(Config(playout=playout), mode="semantic")) as line:
            await line.say("i would like to um")
            await line.silence(1.2)
            assert not line.of(ev.Committed) and not line.of(ev.ResponseStarted)
            await line.say("know the weather")
            ended = line.now
            await line.until_quiet()
        assert line.transcripts == ["i would like to um know the weather"]
        assert len(line.responses) == 1
        assert line.at(ev.Committed) - ended < 0.45, "a complete turn is taken sooner than plain silence would"

    dialogue(scene)


# --- barge-in ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("barge_in", ["duck", "pause"])
def test_05_an_interruption(barge_in: Any) -> None:
    async def scene() -> None:
        config = with_turn(Config(playout="server"), barge_in=barge_in)
        async with call(script(STORY), config) as line:
            await start_story(line, 2.0)
            begun = await line.say("no what about paris today")
            await line.until_quiet()
        ear, confirmed = line.ear, line.at(ev.Interrupted)
        assert ear.peak(begun - 1.0, begun) > FULL
        assert ear.peak(begun + 0.12, confirmed) < FULL, "ducked within a tenth of a second"
        assert 0.3 < confirmed - begun < 0.6
        again = line.at(ev.PlayoutStarted, 1)
        assert ear.peak(confirmed + 0.03, again) == 0, "silent once confirmed"
        story = story_item(line)
        assert story.heard is not None and LONG.startswith(story.heard) and 0 < len(story.heard) < 45
        assert line.transcripts[1] == "no what about paris today"
        assert line.said("assistant")[1] == "You said no what about paris today."
        assert line.of(ev.Interrupted)[0].heard == story.heard
        assert line.record is not None and line.record.interruptions == 1

    dialogue(scene)


@pytest.mark.parametrize("stops_on", [ev.Interrupted, ev.SpeechStarted])
def test_05_an_interruption_when_the_client_plays(stops_on: type[ev.Event]) -> None:
    async def scene() -> None:
        async with call(script(STORY), Config(playout="client"), truncate_on=(stops_on,)) as line:
            await start_story(line, 2.0)
            await line.say("no what about paris today")
            await line.until_quiet()
            story = story_item(line)
            assert story.heard == heard_by_client(line, story.id, LONG) != ""
        assert not line.of(ev.Rejected)
        assert line.transcripts[1] == "no what about paris today"
        assert line.said("assistant")[1] == "You said no what about paris today."
        assert len(line.of(ev.ItemTruncated)) >= 1

    dialogue(scene)


@pytest.mark.parametrize("seconds", [0.12, 0.3])
@pytest.mark.parametrize("barge_in", ["duck", "pause"])
def test_06_a_cough(barge_in: Any, seconds: float) -> None:
    async def scene() -> None:
        config = with_turn(Config(playout="server"), barge_in=barge_in)
        async with call(script(STORY), config) as line:
            story_begun = await start_story(line, 2.0)
            begun = await line.sound(cough(seconds))
            await line.until(ev.PlayoutStopped)
            ended = line.now
            await line.until_quiet()
        assert line.ear.peak(begun + 0.12, begun + seconds) < FULL
        assert line.ear.peak(begun + seconds + 1.2, begun + seconds + 1.6) > FULL
        assert len(line.of(ev.FalseInterruption)) == 1
        assert len(line.of(ev.Committed)) == len(line.responses) == 1, "no turn, no second response"
        assert line.said("assistant") == [LONG] and story_item(line).heard is None
        length = len(LONG) / RATE
        if barge_in == "duck":
            assert ended - story_begun == pytest.approx(length, abs=0.05), "nothing was lost or said twice"
        else:
            assert length + 0.3 < ended - story_begun < length + seconds + 0.7
        assert line.record is not None and line.record.interruptions == 0

    dialogue(scene)


def test_06_a_cough_when_the_client_plays() -> None:
    async def scene() -> None:
        async with call(script(STORY), Config(playout="client")) as line:
            await start_story(line, 2.0)
            await line.sound(cough())
            await line.until_quiet()
        assert line.said("assistant") == [LONG]
        assert len(line.of(ev.FalseInterruption)) == 1 and not line.of(ev.Interrupted)
        assert len(line.of(ev.Committed)) == len(line.responses) == 1

    dialogue(scene)


@OWNERS
@pytest.mark.parametrize("words", ["uh-huh", "yeah right", "uh-huh yeah right"])
def test_07_a_backchannel(playout: Any, words: str) -> None:
    async def scene() -> None:
        async with call(script(STORY), Config(playout=playout)) as line:
            await start_story(line, 2.0)
            begun = await line.say(words)
            await line.silence(8.0)
            await line.until_quiet()
        assert line.said("assistant") == [LONG] and line.said("user") == ["tell me a story"]
        assert len(line.responses) == 1 and not line.of(ev.Interrupted)
        if playout == "server":
            assert line.ear.peak(begun + 0.8, begun + 3) > FULL
        dropped = line.of(ev.TurnDropped)
        assert [d.reason for d in dropped] in ([], ["backchannel"])

    dialogue(scene)


@OWNERS
def test_08_one_word_that_is_a_command(playout: Any) -> None:
    async def scene() -> None:
        async with call(script(STORY, Rule(match="stop", text="Fine.")), Config(playout=playout)) as line:
            await start_story(line, 2.0)
            begun = await line.say("stop")
            await line.until_quiet()
        assert len(line.of(ev.Interrupted)) == 1
        assert line.at(ev.Interrupted) - begun < 0.8
        assert len(story_item(line).text) < len(LONG) / 2
        assert line.said("user") == ["tell me a story", "stop"]
        assert line.said("assistant")[1] == "Fine."

    dialogue(scene)


@OWNERS
def test_09_an_interruption_while_the_agent_thinks(playout: Any) -> None:
    async def scene() -> None:
        slow = script(llm=LlmScript(default="You said {text}.", delay=3.0, token_delay=0.01))
        async with call(slow, Config(playout=playout)) as line:
            await line.say("tell me a story")
            await line.silence(1.6)
            await line.say("no what about paris")
            await line.until_quiet(4.0)
        assert not line.of(ev.Rejected) and not line.of(ev.ItemTruncated)
        assert " ".join(line.said("user")) == "tell me a story no what about paris"
        assert [a for a in line.said("assistant") if a] == [f"You said {line.said('user')[-1]}."]
        assert [r.status for r in line.responses] == ["cancelled", "completed"]

    dialogue(scene)


@OWNERS
@pytest.mark.parametrize("apart", [0.3, 0.9])
def test_10_two_interruptions_in_a_row(playout: Any, apart: float) -> None:
    async def scene() -> None:
        async with call(script(STORY), Config(playout=playout)) as line:
            await start_story(line, 2.0)
            await line.say("wait no please")
            await line.silence(apart)
            await line.say("what about paris today")
            await line.until_quiet()
        assert " ".join(line.said("user")[1:]) == "wait no please what about paris today"
        assert line.said("assistant")[-1].endswith("what about paris today.")
        if apart < 0.5:
            assert len(line.asked) <= 3 and len(line.said("assistant")) == 2, "answered once"

    dialogue(scene)


@OWNERS
@pytest.mark.parametrize("before_end", [0.3, 0.05, 0.0])
def test_11_an_interruption_in_the_last_moment(playout: Any, before_end: float) -> None:
    async def scene() -> None:
        async with call(script(STORY), Config(playout=playout)) as line:
            await start_story(line, len(LONG) / RATE - before_end)
            await line.say("no what about paris")
            await line.until_quiet()
        story = story_item(line)
        assert LONG.startswith(story.text) and len(story.text) > len(LONG) - 30
        assert len(line.responses) == 2 and line.responses[1].status == "completed"
        assert line.transcripts[1] == "no what about paris"

    dialogue(scene)


@OWNERS
@pytest.mark.parametrize("over_agent", ["queue", "drop"])
def test_12_an_agent_that_may_not_be_interrupted(playout: Any, over_agent: Any) -> None:
    async def scene() -> None:
        config = with_turn(Config(playout=playout), interrupt_response=False, over_agent=over_agent)
        rules = (Rule(match="story", text=COUNTING),)
        slow_voice = script(llm=LlmScript(rules=rules, default="You said {text}.", token_delay=0.2))
        async with call(slow_voice, config) as line:
            await start_story(line, 0.5)
            await line.say("what about paris today")
            await line.silence(8.0)
            await line.until_quiet()
        assert line.said("assistant")[0] == COUNTING and not line.of(ev.Interrupted)
        if playout == "server":
            assert line.ear.peak(line.spoken_until - 0.6, line.spoken_until) > FULL, "at full level all the time"
        if over_agent == "queue":
            assert line.said("user")[1:] == ["what about paris today"] and len(line.responses) == 2
        else:
            assert line.said("user") == ["tell me a story"] and len(line.responses) == 1
            assert [d.reason for d in line.of(ev.TurnDropped)] == ["over_agent"]

    dialogue(scene)


@OWNERS
def test_13_turns_over_the_agent_wait_for_it(playout: Any) -> None:
    async def scene() -> None:
        config = with_turn(Config(playout=playout), interrupt_response=False)
        async with call(script(STORY), config) as line:
            begun = await start_story(line, 1.0)
            await line.say("what about paris today")
            await line.until_quiet()
            await line.silence(6.0)
        assert line.said("assistant") == [LONG, "You said what about paris today."]
        assert line.at(ev.ResponseStarted, 1) >= line.at(ev.ResponseDone, 0)
        if playout == "server":
            assert line.at(ev.PlayoutStarted, 1) >= begun + len(LONG) / RATE - 0.05

    dialogue(scene)


# --- tools ------------------------------------------------------------------------------------------------------------

WEATHER = Tool("get_weather", run="server", timeout=5.0)
TIME = Tool("get_time", run="server", timeout=5.0)
ASK = LlmToolCall(name="get_weather", arguments={"city": "berlin"})
RESULT = Rule(after_tool="*", text="It is sunny there.")


async def slow_weather(city: str) -> str:
    await asyncio.sleep(2.0)
    return f"sunny in {city}"


@OWNERS
def test_14_a_question_while_a_tool_runs(playout: Any) -> None:
    async def scene() -> None:
        rules = (
            Rule(match="weather", calls=(ASK,), times=1),
            RESULT,
            Rule(match="are you there", text=SHORT, times=1),
            Rule(match="are you there", text="It is sunny there."),
        )
        config = Config(playout=playout, tools=(WEATHER,))
        async with call(script(*rules), config, tools={"get_weather": slow_weather}) as line:
            await line.say("know the weather")
            await line.until(ev.ToolStarted)
            await line.silence(0.3)
            await line.say("are you there")
            await line.until(ev.ToolFinished)
            await line.until_quiet()
        assert line.tool_runs == [("get_weather", {"city": "berlin"})]
        assert [i.output for i in line.items if isinstance(i, FunctionCallOutput)] == ["sunny in berlin"]
        said = line.said("assistant")
        assert SHORT in said and said[-1] == "It is sunny there."
        assert all(valid_for_llm(tuple(r.history)) for r in line.asked)

    dialogue(scene)


@OWNERS
def test_15_interrupting_the_sentence_with_the_call(playout: Any) -> None:
    async def scene() -> None:
        rules = (Rule(match="weather", text=LONG, calls=(ASK,), times=1), RESULT)
        config = Config(playout=playout, tools=(WEATHER,))
        async with call(script(*rules), config, tools={"get_weather": slow_weather}) as line:
            await line.say("know the weather")
            await line.until(ev.ToolStarted)
            await line.silence(1.0)
            await line.say("no please wait thanks")
            await line.until(ev.ToolFinished)
            await line.until_quiet()
        assert len(line.tool_runs) == 1
        assert [i.output for i in line.items if isinstance(i, FunctionCallOutput)] == ["sunny in berlin"]
        assert len(line.of(ev.Interrupted)) == 1
        assert 0 < len(story_item(line).text) < len(LONG)
        assert all(valid_for_llm(tuple(r.history)) for r in line.asked)

    dialogue(scene)


def failing(city: str) -> str:
    raise LookupError(f"no such place: {city} " + "x" * 5000)


def huge(city: str) -> str:
    return "x" * 1_000_000


async def never(city: str) -> str:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("unreachable")


@OWNERS
@pytest.mark.parametrize(
    ("tool", "words", "failed"),
    [(failing, "no such place: berlin", True), (never, "did not return within 5 s", True), (huge, "xxxx", False)],
)
def test_16_a_tool_that_misbehaves(playout: Any, tool: Any, words: str, failed: bool) -> None:
    async def scene() -> None:
        rules = (Rule(match="weather", calls=(ASK,), times=1), RESULT)
        async with call(script(*rules), Config(playout=playout, tools=(WEATHER,)), tools={"get_weather": tool}) as line:
            await line.say("know the weather")
            finished = await line.until(ev.ToolFinished)
            await line.until_quiet()
        outputs = [i.output for i in line.items if isinstance(i, FunctionCallOutput)]
        assert len(outputs) == 1 and words in outputs[0] and finished.failed is failed
        assert len(outputs[0]) < LONGEST_OUTPUT + 200
        assert line.said("assistant") == ["It is sunny there."]

    dialogue(scene)


@OWNERS
def test_17_parallel_calls_in_reverse_order(playout: Any) -> None:
    async def quick_time() -> str:
        await asyncio.sleep(0.2)
        return "noon"

    async def scene() -> None:
        calls = (ASK, LlmToolCall(name="get_time"))
        rules = (Rule(match="weather", calls=calls, times=1), RESULT)
        tools: dict[str, Any] = {"get_weather": slow_weather, "get_time": quick_time}
        async with call(script(*rules), Config(playout=playout, tools=(WEATHER, TIME)), tools=tools) as line:
            await line.say("know the weather")
            await line.until(ev.ToolFinished, 2)
            await line.until_quiet()
        made = {i.call_id: i.name for i in line.items if isinstance(i, FunctionCall)}
        got = {made[i.call_id]: i.output for i in line.items if isinstance(i, FunctionCallOutput)}
        assert got == {"get_weather": "sunny in berlin", "get_time": "noon"}
        assert len(line.responses) == 2 and line.said("assistant") == ["It is sunny there."]
        assert all(valid_for_llm(tuple(r.history)) for r in line.asked)

    dialogue(scene)


# --- commands ---------------------------------------------------------------------------------------------------------


COUNTING = "One two three. Four five six. Seven eight nine. Ten eleven twelve. Thirteen fourteen. Fifteen sixteen."


@OWNERS
@pytest.mark.parametrize("making", [True, False], ids=["still being made", "made whole"])
@pytest.mark.parametrize("allowed", [True, False])
def test_18_a_text_message_while_the_agent_speaks(playout: Any, allowed: bool, making: bool) -> None:
    async def scene() -> None:
        rules = (Rule(match="story", text=COUNTING), Rule(match="paris", text=SHORT))
        slow = script(llm=LlmScript(rules=rules, token_delay=0.2 if making else 0.01))
        config = with_turn(Config(playout=playout), interrupt_response=allowed)
        async with call(slow, config) as line:
            await start_story(line, 1.0)
            assert (line.session.state.active is not None) is making
            line.send(inp.AddItem, item=text_message("what about paris"))
            line.send(inp.CreateResponse, when_busy="interrupt" if allowed else "queue")
            await line.until(ev.ResponseDone, 2)
            await line.until_quiet()
        assert line.said("assistant")[-1] == SHORT and len(line.responses) == 2
        if allowed:
            assert len(story_item(line).text) < len(COUNTING) / 2
        else:
            assert story_item(line).text == COUNTING

    dialogue(scene)


@OWNERS
def test_19_one_response_at_a_time(playout: Any) -> None:
    async def scene() -> None:
        slow = script(llm=LlmScript(rules=(Rule(match="story", text=COUNTING),), token_delay=0.2))
        async with call(slow, Config(playout=playout)) as line:
            line.send(inp.CancelResponse, command_id="none")
            await start_story(line, 0.5)
            active = line.session.state.active_response_id
            line.send(inp.CreateResponse, command_id="second")
            line.send(inp.CancelResponse, command_id="first cancel")
            line.send(inp.CancelResponse, command_id="second cancel")
            await line.until_quiet()
        rejected = {e.command_id: e for e in line.of(ev.Rejected)}
        assert set(rejected) == {"none", "second", "second cancel"}
        assert active is not None and active in rejected["second"].message
        assert rejected["second"].code == "conversation_already_has_active_response"
        assert rejected["none"].code == "response_cancel_not_active"
        assert [r.status for r in line.responses] == ["cancelled"]

    dialogue(scene)


@OWNERS
def test_20_a_response_on_the_side(playout: Any) -> None:
    async def scene() -> None:
        rules = (Rule(instructions="summarise", text="A summary of it."), STORY)
        async with call(script(*rules), Config(playout=playout)) as line:
            await start_story(line, 0.5)
            aside = replace(line.session.state.config, modality="text", instructions="summarise")
            line.send(inp.CreateResponse, out_of_band=True, config=aside, metadata=(("topic", "aside"),))
            await line.until(ev.ResponseDone, 2)
            await line.until_quiet()
        sides = {r.out_of_band: r for r in line.responses}
        assert sides[True].status == sides[False].status == "completed"
        assert sides[True].metadata == (("topic", "aside"),)
        assert [i.text for i in sides[True].output if isinstance(i, Message)] == ["A summary of it."]
        assert line.said("assistant") == [LONG]

    dialogue(scene)


def test_21_a_client_truncates() -> None:
    async def scene() -> None:
        async with call(script(STORY), Config(playout="client")) as line:
            await start_story(line, 4.0)
            await line.until_quiet()
            story = story_item(line)
            user = next(i for i in line.items if isinstance(i, Message) and i.role == "user")

            def cut(command_id: str, item_id: str, milliseconds: int) -> None:
                line.send(
                    inp.TruncateItem,
                    command_id=command_id,
                    item_id=item_id,
                    content_index=0,
                    audio_end_ms=milliseconds,
                )

            cut("beyond", story.id, 60_000)
            assert story_item(line).text == LONG
            cut("middle", story.id, 1200)
            assert story_item(line).text == words_within([(LONG, 1.0)], 28_800)
            cut("unknown", "item_nowhere", 100)
            cut("user", user.id, 100)
            cut("nothing", story.id, 0)
            assert story_item(line).text == ""
        told = [e.audio_end_ms for e in line.of(ev.ItemTruncated)]
        assert told == [len(LONG) * 1000 // int(RATE), 1200, 0]
        assert {e.command_id for e in line.of(ev.Rejected)} == {"unknown", "user"}
        assert all(e.message for e in line.of(ev.Rejected))

    dialogue(scene)


# --- engines that fail ------------------------------------------------------------------------------------------------


@OWNERS
@pytest.mark.parametrize("fault", ["crashed", "hang", "rubbish"])
def test_22_stt_fails_once_and_is_tried_again(playout: Any, fault: Any) -> None:
    async def scene() -> None:
        stt = ScriptedStt(SttScript(utterances=(Utterance(fail=fault, call=1),), words=VOCABULARY))
        chain = SttChain([stt, ScriptedStt(SttScript(words=VOCABULARY), name="second")])
        async with call(config=Config(playout=playout), engines={"stt": chain}) as line:
            line.stt = stt
            stt.requests = ScriptedStt().requests.__class__(maxlen=0)
            await line.say(QUESTION)
            await line.silence(60.0)
            await line.until_quiet()
        assert line.transcripts == [QUESTION]
        assert line.said("assistant") == [f"You said {QUESTION}."]

    dialogue(scene)


@OWNERS
@pytest.mark.parametrize("fault", ["crashed", "rubbish"])
def test_22_stt_fails_for_good(playout: Any, fault: Any) -> None:
    async def scene() -> None:
        broken = SttScript(utterances=(Utterance(fail=fault, times=1, min_seconds=0.0),), words=VOCABULARY)
        config = Config(playout=playout, not_understood="Sorry, say that again.")
        async with call(script(stt=broken), config) as line:
            await line.say(QUESTION)
            await line.until(ev.ResponseDone)
            await line.until_quiet()
            await line.say("tell me a story")
            await line.until_quiet()
        assert [e.reason for e in line.of(ev.TurnDropped)] == ["not_understood"]
        assert [f.stage for f in line.of(ev.Failure)] == ["stt"]
        assert line.said("assistant") == ["Sorry, say that again.", "You said tell me a story."]

    dialogue(scene)


@OWNERS
def test_23_llm_fails_before_the_first_token(playout: Any) -> None:
    async def scene() -> None:
        first = ScriptedLlm(LlmScript(rules=(Rule(fail="crashed"),)), name="first")
        chain = LlmChain([first, ScriptedLlm(LlmScript(default=SHORT), name="second")])
        async with call(config=Config(playout=playout), engines={"llm": chain}) as line:
            await line.say(QUESTION)
            await line.silence(10.0)
            await line.until_quiet()
        assert line.said("assistant") == [SHORT]
        assert [r.status for r in line.responses] == ["completed"]

    dialogue(scene)


@OWNERS
@pytest.mark.parametrize("fault", ["crashed", "truncated", "rubbish"])
def test_23_llm_fails_for_good(playout: Any, fault: Any) -> None:
    async def scene() -> None:
        rules = (
            Rule(match="hello", fail=fault),
            Rule(match="story", text=f"{SHORT} {LONG}", fail=fault, after=9),
        )
        async with call(script(*rules), Config(playout=playout)) as line:
            await line.say(QUESTION)
            await line.until(ev.ResponseDone)
            await line.until_quiet()
            await line.say("tell me a story")
            await line.until(ev.ResponseDone, 2)
            await line.until_quiet()
            await line.say("thanks")
            await line.until_quiet()
        assert [r.status for r in line.responses] == ["failed", "incomplete", "completed"]
        assert [f.stage for f in line.of(ev.Failure)] == ["llm", "llm"]
        assert SHORT in line.said("assistant")[-2], "what was spoken stays"
        assert line.said("assistant")[-1] == "You said thanks."

    dialogue(scene)


THREE = "This is the first clause. This is the second one. This is the third of them. And a fourth."


@OWNERS
@pytest.mark.parametrize("fault", ["crashed", "rubbish"])
def test_24_tts_fails_in_the_third_clause(playout: Any, fault: Any) -> None:
    async def scene() -> None:
        voice = TtsScript(rules=(Clause(match="third", fail=fault, after=0.0),), chars_per_second=RATE)
        async with call(script(Rule(match="story", text=THREE), tts=voice), Config(playout=playout)) as line:
            await line.say("tell me a story")
            await line.until(ev.ResponseDone)
            await line.silence(6.0)
            await line.until_quiet()
        assert line.said("assistant") == ["This is the first clause. This is the second one."]
        assert [r.status for r in line.responses] == ["incomplete"]
        assert [f.stage for f in line.of(ev.Failure)] == ["tts"]

    dialogue(scene)


@OWNERS
def test_24_a_second_voice_takes_over(playout: Any) -> None:
    async def scene() -> None:
        first = ScriptedTts(TtsScript(rules=(Clause(match="third", fail="crashed"),), chars_per_second=RATE))
        chain = TtsChain([first, ScriptedTts(TtsScript(chars_per_second=RATE, frequency=330), name="second")])
        async with call(
            script(Rule(match="story", text=THREE)), Config(playout=playout), engines={"tts": chain}
        ) as line:
            await line.say("tell me a story")
            await line.until(ev.ResponseDone)
            await line.silence(8.0)
            await line.until_quiet()
        assert line.said("assistant") == [THREE]
        assert [r.status for r in line.responses] == ["completed"]

    dialogue(scene)


# --- peers, clocks, limits --------------------------------------------------------------------------------------------


def test_25_no_more_is_made_than_the_client_can_play() -> None:
    """The socket's share of this call is tested with the transports; ours is to make no audio far ahead."""

    async def scene() -> None:
        text = " ".join(f"This is sentence number {n} of a very long story." for n in range(40))
        async with call(script(Rule(match="story", text=text)), Config(playout="client", ahead=5.0)) as line:
            await start_story(line, 1.0)
            longest = 0.0
            while line.session.state.active is not None:
                longest = max(longest, line.player.ends_at - line.now)
                await line.silence(0.5)
            await line.until_quiet()
        assert 5.0 <= longest < 5.0 + 4.0, "five seconds ahead, and the clause that was begun"
        assert line.said("assistant") == [text]

    dialogue(scene)


def test_26_the_client_goes_and_comes_back() -> None:
    async def scene() -> None:
        async with call(script(STORY), Config(playout="server")) as line:
            await start_story(line, 2.0)
            line.session.peer_gone()
            line.muted = True
            gone = line.now
            await line.silence(5.0)
            assert line.ear.peak(gone + 0.1, line.now) == 0, "nobody is spoken to"
            line.session.peer_back()
            line.muted = False
            back = line.now
            await line.silence(0.5)
            await line.say(QUESTION)
            await line.until_quiet()
        assert line.said("assistant")[1] == f"You said {QUESTION}."
        assert line.record is not None
        gap = [s for s in line.record.timeline if s.start < back and s.end > gone + 0.1]
        assert [s.who for s in gap] == ["silence"]

    dialogue(scene)


def test_26_the_client_goes_in_the_middle_of_its_words() -> None:
    async def scene() -> None:
        async with call(config=Config(playout="server")) as line:
            speaking = asyncio.create_task(line.say("tell me a story and then another one"))
            await line.silence(1.0)
            line.session.peer_gone()
            line.muted = True
            line.microphone.clear()
            await line.silence(5.0)
            line.session.peer_back()
            line.muted = False
            await speaking
            await line.say(QUESTION)
            await line.until_quiet()
        assert line.transcripts[-1] == QUESTION
        assert line.said("assistant")[-1].endswith(f"{QUESTION}.")

    dialogue(scene)


def test_26_the_client_never_comes_back() -> None:
    async def scene() -> None:
        async with call(config=Config(playout="server", linger=15.0)) as line:
            await line.silence(1.0)
            line.session.peer_gone()
            record = await line.session.wait_closed()
        assert record.reason == "peer_gone" and record.seconds == pytest.approx(16.0, abs=0.1)

    dialogue(scene)


@OWNERS
def test_27_the_idle_prompt(playout: Any) -> None:
    async def scene() -> None:
        config = with_turn(Config(playout=playout, idle_prompt="ask whether they are there"), idle=10.0)
        rules = (Rule(instructions="ask whether", text=SHORT),)
        async with call(script(*rules), config) as line:
            await line.silence(8.0)
            await line.say(QUESTION)
            answered = line.now
            await line.silence(9.0)
            assert not line.of(ev.IdleTimeout)
            await line.silence(30.0)
        assert len(line.of(ev.IdleTimeout)) == 1, "once per idle period"
        assert line.at(ev.IdleTimeout) > answered + 10.0
        assert line.said("assistant") == [f"You said {QUESTION}.", SHORT]

    dialogue(scene)


def test_27_the_idle_prompt_does_not_talk_over_speech() -> None:
    async def scene() -> None:
        config = with_turn(Config(playout="server", idle_prompt="ask whether they are there"), idle=5.0)
        async with call(script(Rule(instructions="ask whether", text=SHORT)), config) as line:
            await line.silence(4.5)
            begun = await line.say("tell me a story and then another one two three")
            ended = line.now
            await line.until_quiet(1.0)
        assert not [at for at, e in line.events if isinstance(e, ev.IdleTimeout) and begun <= at <= ended + 5.0]
        assert line.said("assistant")[0].startswith("You said")

    dialogue(scene)


@OWNERS
@pytest.mark.parametrize("grace", [0.5, 6.0])
def test_28_the_time_limit(playout: Any, grace: float) -> None:
    async def scene() -> None:
        config = Config(playout=playout, max_seconds=4.0, grace=grace)
        async with call(script(STORY), config) as line:
            await start_story(line, 0.0)
            record = await line.session.wait_closed()
            ended = line.now
            frames = len(line.ear.frames)
            await line.silence(1.0)
            assert len(line.ear.frames) == frames
        assert record.reason == "max_duration"
        assert record.seconds == pytest.approx(4.0), "metering stops at the limit"
        assert len(line.of(ev.Ending)) == 1
        assert ended < 4.0 + grace + 0.1
        story = story_item(line)
        if grace == 6.0 and playout == "server":
            assert story.text == LONG, "the sentence was finished"
        else:
            assert len(story.text) < len(LONG) or playout == "client"

    dialogue(scene)


@OWNERS
def test_29_a_new_configuration_in_mid_response(playout: Any) -> None:
    async def scene() -> None:
        slow = script(llm=LlmScript(default="You said {text}. And that is that. And so on.", token_delay=0.1))
        async with call(slow, Config(playout=playout, instructions="old", voice="tone")) as line:
            await line.say(QUESTION)
            await line.until(ev.ResponseStarted)
            line.send(inp.Configure, config=replace(line.session.state.config, instructions="new", speed=1.5))
            await line.until(ev.ResponseDone)
            await line.until_quiet()
            await line.say("tell me a story")
            await line.until_quiet()
        assert [r.config.instructions for r in line.responses] == ["old", "new"]
        speeds = [e.config.speed for _, e in line.effects if isinstance(e, fx.Synthesize)]
        assert speeds == sorted(speeds) and set(speeds) == {1.0, 1.5} and speeds.count(1.0) >= 2
        assert line.asked[-1].instructions == "new"

    dialogue(scene)


@OWNERS
def test_30_noise_is_no_speech(playout: Any) -> None:
    async def scene() -> None:
        async with call(config=Config(playout=playout)) as line:
            await line.sound(cough(40.0))
            for _ in range(15):
                await line.silence(0.8)
                await line.sound(cough(0.5))
            await line.until_quiet()
        assert line.history == [] and not line.of(ev.ResponseStarted) and not line.transcripts
        assert {d.reason for d in line.of(ev.TurnDropped)} <= {"noise"}

    dialogue(scene)


@OWNERS
def test_31_a_long_monologue(playout: Any) -> None:
    async def scene() -> None:
        said: list[str] = []
        async with call(config=Config(playout=playout)) as line:
            longest = 0
            for n in range(60):
                words = [VOCABULARY[(n * 7 + k * 3) % len(VOCABULARY)] for k in range(12)]
                said += words
                await line.say(" ".join(words))
                await line.silence(0.3)
                longest = max(longest, len(line.session._heard.live))
            await line.until_quiet()
        assert line.said("user") == [" ".join(said)]
        assert max(seconds for seconds, _ in line.stt.requests) < 35
        assert longest < 16_000 * 240, "bounded by the turn and what is retained"

    dialogue(scene)


# --- the end ----------------------------------------------------------------------------------------------------------


@OWNERS
@pytest.mark.parametrize("moment", [round(0.05 + 0.43 * n, 2) for n in range(24)])
def test_32_the_end_at_any_moment(playout: Any, moment: float) -> None:
    async def scene() -> None:
        rules = (Rule(match="weather", text=LONG, calls=(ASK,), times=1), RESULT)
        config = Config(playout=playout, tools=(WEATHER,))
        async with call(script(*rules), config, tools={"get_weather": slow_weather}) as line:

            async def talk() -> None:
                await line.say("know the weather")
                await line.silence(2.5)
                await line.say("no what about paris")
                await line.silence(1.5)
                await line.sound(cough())

            talking = asyncio.create_task(talk())
            await line.silence(moment)
            first, second = line.session.close("hung_up"), line.session.close("again")
            await asyncio.gather(first, second)
            seen = len(line.events)
            line.send(inp.CreateResponse)
            line.session.hear(np.zeros(320, np.int16))
            await line.silence(3.0)
            assert len(line.events) == seen, "nothing after the end"
            talking.cancel()
            await asyncio.wait([talking])
        assert line.record is not None and line.record.reason == "hung_up"
        assert line.record.seconds == pytest.approx(moment, abs=0.01)

    dialogue(scene)


@pytest.mark.parametrize("moment", [1.0, 2.0, 3.3, 4.1, 5.0])
def test_32_the_end_by_the_limit_at_any_moment(moment: float) -> None:
    async def scene() -> None:
        config = Config(playout="server", max_seconds=moment)
        async with call(script(STORY), config, ear=Ear(latency=0.1)) as line:
            await line.say("tell me a story")
            await line.silence(2.0)
            if not line.session.closed:
                await line.say("no what about paris")
            record = await line.session.wait_closed()
        assert record.seconds == pytest.approx(moment)

    dialogue(scene)


def test_push_to_talk() -> None:
    async def scene() -> None:
        config = Config(playout="client", turn=Turn(mode="manual"))
        async with call(config=config) as line:
            await line.say(QUESTION)
            await line.silence(0.3)
            line.send(inp.CommitAudio, end=line.session.heard_samples)
            line.send(inp.CreateResponse)
            await line.until(ev.ResponseDone)
            await line.say("bye")
            line.send(inp.ClearAudio, end=line.session.heard_samples)
            line.send(inp.CommitAudio, command_id="empty", end=line.session.heard_samples, minimum=1600)
            await line.until_quiet()
        assert line.transcripts == [QUESTION] and line.said("assistant") == [f"You said {QUESTION}."]
        assert not line.of(ev.SpeechStarted)
        assert [e.command_id for e in line.of(ev.Rejected)] == ["empty"]

    dialogue(scene)
