"""Random calls: whatever people and clients do, in whatever order, the invariants of ``simulator.check`` hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.core import inputs as inp
from antiphon.core.config import Config, Turn
from antiphon.core.items import FunctionCall, FunctionCallOutput, Message, Text, Tool
from antiphon.engines.scripted import Call as LlmToolCall
from antiphon.engines.scripted import (
    Clause,
    Fault,
    LlmScript,
    Rule,
    Script,
    SttScript,
    TtsScript,
    TurnScript,
    Utterance,
)

from .simulator import LONG, RATE, VOCABULARY, Call, Ear, call, cough, dialogue

CONFIGS = st.builds(
    Config,
    playout=st.sampled_from(["server", "client"]),
    modality=st.sampled_from(["audio", "audio", "audio", "text"]),
    tools=st.just((Tool("get_weather", run="server", timeout=2.0), Tool("get_time", run="client"))),
    not_understood=st.sampled_from(["", "Sorry?"]),
    idle_prompt=st.sampled_from(["", "are you there"]),
    ahead=st.sampled_from([30.0, 2.0]),
    max_seconds=st.sampled_from([3600.0, 12.0, 5.0]),
    grace=st.sampled_from([3.0, 0.2]),
    idle_close=st.sampled_from([None, None, 3.0]),
    linger=st.sampled_from([15.0, 1.0]),
    turn=st.builds(
        Turn,
        mode=st.sampled_from(["silence", "silence", "semantic", "manual"]),
        interrupt_response=st.sampled_from([True, True, False]),
        create_response=st.sampled_from([True, True, True, False]),
        barge_in=st.sampled_from(["duck", "pause"]),
        confirm=st.sampled_from([0.4, 0.0]),
        over_agent=st.sampled_from(["queue", "drop"]),
        merge=st.booleans(),
        keep_empty=st.booleans(),
        idle=st.sampled_from([None, 2.0]),
        captions=st.sampled_from([None, 0.5]),
    ),
)

SLOW = st.sampled_from([0.0, 0.1, 1.2])
FAULTS: st.SearchStrategy[Fault] = st.sampled_from(["crashed", "rubbish", "truncated", "timeout"])
TOLD: st.SearchStrategy[Fault] = st.sampled_from(["crashed", "rubbish", "timeout"])


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Engines of any speed that fail now and then."""
    call_weather = LlmToolCall(name="get_weather", arguments={"city": "berlin"})
    both = (call_weather, LlmToolCall(name="get_time"))
    rules = [
        Rule(match="weather", text=draw(st.sampled_from(["", "Let me see."])), calls=(call_weather,), times=2),
        Rule(match="later", calls=both, times=2),
        Rule(after_tool="*", text="It is sunny there."),
        Rule(match="story", text=LONG),
        Rule(match="paris", text="One two three. Four five six. Seven eight nine. Ten eleven."),
    ]
    if draw(st.booleans()):
        rules.insert(0, Rule(call=draw(st.integers(1, 4)), text=LONG, fail=draw(FAULTS), after=draw(st.integers(0, 5))))
    heard: tuple[Utterance, ...] = ()
    if draw(st.booleans()):
        heard = (Utterance(call=draw(st.integers(1, 4)), fail=draw(FAULTS)),)
    said: tuple[Clause, ...] = ()
    if draw(st.booleans()):
        # A voice that stops in mid-clause without a word of it cannot be told from one that speaks fast.
        fault = draw(TOLD)
        said = (Clause(call=draw(st.integers(1, 4)), fail=fault, after=draw(st.sampled_from([0.0, 0.4]))),)
    return Script(
        stt=SttScript(utterances=heard, words=VOCABULARY, delay=draw(SLOW)),
        llm=LlmScript(rules=tuple(rules), delay=draw(SLOW), token_delay=draw(st.sampled_from([0.0, 0.01, 0.15]))),
        tts=TtsScript(
            rules=said, chars_per_second=RATE, delay=draw(SLOW), chunk_delay=draw(st.sampled_from([0.0, 0.1]))
        ),
        turn=TurnScript(probabilities=(0.1, 0.9, 0.2), delay=draw(SLOW)),
    )


def _first(line: Call, role: str) -> str:
    """The id of the newest message of a role, or one that does not exist."""
    found = [i.id for i in line.session.state.conversation.items if isinstance(i, Message) and i.role == role]
    return found[-1] if found else "item_nowhere"


def _say(words: str) -> Callable[[Call], Any]:
    return lambda line: line.say(words)


def _answer_call(line: Call) -> None:
    items = line.session.state.conversation.items
    answered = {i.call_id for i in items if isinstance(i, FunctionCallOutput)}
    open_ = [
        i.call_id for i in items if isinstance(i, FunctionCall) and i.name == "get_time" and i.call_id not in answered
    ]
    line.send(inp.AddItem, item=FunctionCallOutput("", open_[-1] if open_ else "call_none", "noon"))
    line.send(inp.CreateResponse, when_busy="queue")


def _peer(line: Call, there: bool) -> None:
    line.muted = not there
    if there:
        line.session.peer_back()
    else:
        line.session.peer_gone()


def _configure(line: Call, **turn: Any) -> None:
    config = line.session.state.config
    line.send(inp.Configure, config=replace(config, instructions="new", turn=replace(config.turn, **turn)))


ACTIONS: dict[str, Callable[[Call], Any]] = {
    "story": _say("tell me a story"),
    "weather": _say("know the weather"),
    "paris": _say("what about paris"),
    "later": _say("later"),
    "stop": _say("stop"),
    "uh-huh": _say("uh-huh"),
    "um": _say("um"),
    "cough": lambda line: line.sound(cough(0.3)),
    "click": lambda line: line.sound(cough(0.06)),
    "breath": lambda line: line.silence(0.25),
    "pause": lambda line: line.silence(0.7),
    "wait": lambda line: line.silence(2.5),
    "moment": lambda line: line.silence(0.05),
    "text": lambda line: line.send(inp.AddItem, item=Message("", "user", (Text("tell me a story"),))),
    "root": lambda line: line.send(inp.AddItem, item=Message("", "system", (Text("be brief"),)), after="root"),
    "create": lambda line: line.send(inp.CreateResponse),
    "create queue": lambda line: line.send(inp.CreateResponse, when_busy="queue"),
    "create interrupt": lambda line: line.send(inp.CreateResponse, when_busy="interrupt"),
    "say": lambda line: line.send(inp.CreateResponse, say="This is a notice. Mind it.", when_busy="queue"),
    "aside": lambda line: line.send(inp.CreateResponse, out_of_band=True),
    "cancel": lambda line: line.send(inp.CancelResponse),
    "clear playout": lambda line: line.send(inp.ClearPlayout),
    "clear audio": lambda line: line.send(inp.ClearAudio, end=line.session.heard_samples),
    "commit": lambda line: line.send(inp.CommitAudio, end=line.session.heard_samples, minimum=1600),
    "delete user": lambda line: line.send(inp.DeleteItem, item_id=_first(line, "user")),
    "delete agent": lambda line: line.send(inp.DeleteItem, item_id=_first(line, "assistant")),
    "answer call": _answer_call,
    "peer gone": lambda line: _peer(line, False),
    "peer back": lambda line: _peer(line, True),
    "mute": lambda line: setattr(line, "muted", True),
    "unmute": lambda line: setattr(line, "muted", False),
    "manual": lambda line: _configure(line, mode="manual"),
    "vad": lambda line: _configure(line, mode="silence"),
    "no barge-in": lambda line: _configure(line, interrupt_response=False),
}


async def _weather(city: str) -> str:
    await asyncio.sleep(1.0)
    return f"sunny in {city}"


def run(config: Config, script: Script, actions: list[str], latency: float = 0.0) -> None:
    """One call in which ``actions`` happen one after the other."""

    async def scene() -> None:
        async with call(script, config, tools={"get_weather": _weather}, ear=Ear(latency)) as line:
            for action in actions:
                if line.session.closed:
                    break
                done = ACTIONS[action](line)
                if done is not None:
                    await done
            await line.silence(1.0)

    dialogue(scene)


CALLS = given(
    config=CONFIGS,
    script=scripts(),
    actions=st.lists(st.sampled_from(sorted(ACTIONS)), min_size=1, max_size=16),
    latency=st.sampled_from([0.0, 0.06]),
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@CALLS
def test_the_invariants_hold_in_any_call(config: Config, script: Script, actions: list[str], latency: float) -> None:
    run(config, script, actions, latency)


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@CALLS
def test_the_invariants_hold_in_any_of_very_many_calls(
    config: Config, script: Script, actions: list[str], latency: float
) -> None:
    run(config, script, actions, latency)
