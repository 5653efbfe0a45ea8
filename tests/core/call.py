"""A scripted session, and the way to each stage of a conversation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from invariants import Watch

from antiphon.core import effects as fx
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config, Turn
from antiphon.core.items import Tool

S = 16_000
"""Samples of user audio a second."""
TOOLS = (
    Tool("server_tool", run="server"),
    Tool("mcp_tool", run="server", mcp_server="srv"),
    Tool("ask_first", run="server", mcp_server="srv", needs_approval=True),
)


class Call:
    """A scripted session: remembers the newest job of each kind."""

    def __init__(self, **config: Any) -> None:
        turn = config.pop("turn", Turn())
        self.watch = Watch(Config(turn=turn, tools=TOOLS, **config))
        self.events: list[ev.Event] = []
        self.jobs: dict[type, str] = {}
        self.call_id = "none"

    def do(self, kind: type, at: float, **fields: Any) -> tuple[fx.Effect, ...]:
        for name, want in (
            ("stt", fx.Transcribe),
            ("llm", fx.Generate),
            ("tts", fx.Synthesize),
            ("turn", fx.PredictTurn),
        ):
            if fields.get("job") == name:
                fields["job"] = self.jobs.get(want, "none")
        effects = self.watch.feed(kind(at=at, **fields))
        for e in effects:
            if isinstance(e, fx.Transcribe | fx.Generate | fx.Synthesize | fx.PredictTurn):
                self.jobs[type(e)] = e.job
            if isinstance(e, fx.RunTool):
                self.call_id = e.call_id
            if isinstance(e, fx.Emit):
                self.events.append(e.event)
        return effects

    def told(self, kind: type) -> list[Any]:
        """Events of a kind so far."""
        return [e for e in self.events if isinstance(e, kind)]

    def speak(self, start: float, end: float) -> None:
        self.do(inp.VoiceOn, start, sample=int(start * S))
        self.do(inp.VoiceOff, end, sample=int(end * S))

    def hear_until(self, at: float) -> None:
        self.do(inp.AudioReached, at, sample=int(at * S))


def idle(c: Call) -> None:
    pass


def sound(c: Call) -> None:
    c.do(inp.VoiceOn, 1.0, sample=S)


def speech(c: Call) -> None:
    sound(c)
    c.hear_until(1.5)


def pause(c: Call) -> None:
    c.speak(1.0, 2.0)


def speculating(c: Call) -> None:
    pause(c)
    c.hear_until(2.2)
    c.do(inp.Transcribed, 2.25, job="stt", text="What is the weather?")
    c.do(inp.TextGenerated, 2.3, job="llm", delta="It rains. Take a coat.")
    c.do(inp.Synthesized, 2.35, job="tts", samples=4800)


def waiting_for_words(c: Call) -> None:
    pause(c)
    c.hear_until(2.6)


def thinking(c: Call) -> None:
    waiting_for_words(c)
    c.do(inp.Transcribed, 2.7, job="stt", text="What is the weather?")


def speaking(c: Call) -> None:
    speculating(c)
    c.hear_until(2.6)


def playing_out(c: Call) -> None:
    speaking(c)
    c.do(inp.GenerationDone, 2.7, job="llm")
    for at in (2.71, 2.72):
        c.do(inp.Synthesized, at, job="tts", samples=48_000)
        c.do(inp.SynthesisDone, at, job="tts")


def interrupting(c: Call) -> None:
    playing_out(c)
    c.do(inp.VoiceOn, 3.0, sample=3 * S)


def calling(c: Call) -> None:
    thinking(c)
    c.do(inp.CallGenerated, 2.8, job="llm", index=0, name="server_tool", call_id="call_1", delta="{}")


def running_tool(c: Call) -> None:
    calling(c)
    c.do(inp.GenerationDone, 2.9, job="llm")


def peer_gone(c: Call) -> None:
    speaking(c)
    c.do(inp.PeerGone, 3.0)


def ending(c: Call) -> None:
    playing_out(c)
    c.do(inp.Tick, 100.0)


def ended(c: Call) -> None:
    playing_out(c)
    c.do(inp.Close, 3.0)
