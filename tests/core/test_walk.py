"""Random walks over the core: no order of inputs, sane or absurd, may break an invariant."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

sys.path.insert(0, str(Path(__file__).parent))
from invariants import Watch

from antiphon.core import effects as fx
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config, Turn
from antiphon.core.items import (
    Audio,
    AudioRef,
    FunctionCall,
    FunctionCallOutput,
    McpApprovalResponse,
    Message,
    Text,
    Tool,
    Usage,
)

TOOLS = (
    Tool("client_tool"),
    Tool("server_tool", run="server"),
    Tool("mcp_tool", run="server", mcp_server="srv"),
    Tool("approved_tool", run="server", mcp_server="srv", needs_approval=True),
)
WORDS = st.sampled_from(
    ["", "Hello there.", "uh-huh", "stop", "Well, I would like to know, if you can, ", "Yes. No! Why? ", " "]
)


def turns() -> st.SearchStrategy[Turn]:
    return st.builds(
        Turn,
        mode=st.sampled_from(["silence", "semantic", "manual"]),
        create_response=st.booleans(),
        interrupt_response=st.booleans(),
        confirm=st.sampled_from([0.0, 0.4]),
        start=st.sampled_from([0.06, 0.2]),
        barge_in=st.sampled_from(["duck", "pause"]),
        over_agent=st.sampled_from(["queue", "drop"]),
        merge=st.booleans(),
        keep_empty=st.booleans(),
        idle=st.sampled_from([None, 2.0]),
        captions=st.sampled_from([None, 0.5]),
    )


def configs() -> st.SearchStrategy[Config]:
    return st.builds(
        Config,
        playout=st.sampled_from(["client", "server"]),
        modality=st.sampled_from(["audio", "audio", "text"]),
        turn=turns(),
        tools=st.just(TOOLS),
        respond=st.sampled_from([True, True, True, False]),
        lock_voice=st.booleans(),
        voice=st.sampled_from(["a", "b"]),
        ahead=st.sampled_from([0.5, 30.0]),
        not_understood=st.sampled_from(["", "Sorry?"]),
        idle_prompt=st.sampled_from(["", "Say something."]),
        context_tokens=st.sampled_from([None, 20]),
        max_seconds=st.sampled_from([None, 20.0]),
        idle_close=st.sampled_from([None, 9.0]),
        linger=st.just(3.0),
    )


class Walk(RuleBasedStateMachine):
    """Plays the runtime: keeps the clocks, answers jobs, speaks, asks and interferes at will."""

    @initialize(config=configs())
    def begin(self, config: Config) -> None:
        self.watch = Watch(config)
        self.playout = config.playout
        self.now = 0.0
        self.sample = 0
        self.voice = False
        self.jobs: dict[str, list[str]] = {"stt": [], "llm": [], "tts": [], "turn": []}
        self.tools: list[str] = []
        self.queued = 0
        self.heard = 0
        self.held = False
        self.items: list[str] = ["nothing"]
        self.responses: list[str] = ["nothing"]

    def send(self, kind: type, **fields: Any) -> tuple[fx.Effect, ...]:
        heard = self.heard if self.playout == "server" else 0
        effects = self.watch.feed(kind(at=self.now, heard=heard, **fields))
        for e in effects:
            match e:
                case fx.Transcribe(job=j):
                    self.jobs["stt"].append(j)
                case fx.Generate(job=j):
                    self.jobs["llm"].append(j)
                case fx.Synthesize(job=j):
                    self.jobs["tts"].append(j)
                case fx.PredictTurn(job=j):
                    self.jobs["turn"].append(j)
                case fx.RunTool(call_id=c):
                    self.tools.append(c)
                case fx.Play():
                    self.queued += e.end - e.start
                case fx.Flush():
                    self.queued, self.held = self.heard, False
                case fx.Pause():
                    self.held = True
                case fx.Resume():
                    self.held = False
                case fx.Emit(ev.ItemAdded(item=item)):
                    self.items.append(item.id)
                case fx.Emit(ev.ResponseStarted(response=r)):
                    self.responses.append(r.id)
                case _:
                    pass
        return effects

    # --- time and voice ---

    @rule(seconds=st.sampled_from([0.1, 0.3, 0.5, 1.0, 2.0]), then=st.sampled_from([0.0, 0.25, 0.45, 0.6, 1.0, 2.5]))
    def person_speaks(self, seconds: float, then: float) -> None:
        """A stretch of voice, then of silence, as the VAD would tell them."""
        self.voice = True
        self.send(inp.VoiceOn, sample=self.sample)
        self.listen(seconds)
        self.voice = False
        self.send(inp.VoiceOff, sample=self.sample)
        self.listen(then)

    def listen(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.time_passes(0.05, True)

    @rule(data=st.data(), text=st.sampled_from(["Tell me, please, about the weather in Paris.", "uh-huh", "Stop!", ""]))
    def words_come(self, data: st.DataObject, text: str) -> None:
        self.send(inp.Transcribed, job=self.job("stt", data), text=text)

    @rule(
        words=st.sampled_from(["Sunny. ", "It rains, as it does in spring, and the wind is cold. Take a coat! "]),
        whole=st.booleans(),
    )
    def agent_answers(self, words: str, whole: bool) -> None:
        """The newest LLM and TTS jobs do what they should."""
        if self.jobs["llm"]:
            self.send(inp.TextGenerated, job=self.jobs["llm"][-1], delta=words)
            if whole:
                self.send(inp.GenerationDone, job=self.jobs["llm"][-1])
        for _ in range(3):
            if self.jobs["tts"]:
                job = self.jobs["tts"][-1]
                word = (inp.Word("Sunny.", 9600),) if words == "Sunny. " else ()
                self.send(inp.Synthesized, job=job, samples=9600, words=word)
                self.send(inp.SynthesisDone, job=job)

    @rule(seconds=st.sampled_from([0.02, 0.1, 0.2, 0.4, 0.5, 1.0, 3.0]), listen=st.booleans())
    def time_passes(self, seconds: float, listen: bool) -> None:
        self.now += seconds
        if not self.held:
            self.heard = min(self.queued, self.heard + round(seconds * 24000))
        if listen:
            self.sample += round(seconds * 16000)
            due = self.watch.state.audio_deadline
            if due is not None and self.sample >= due:
                self.send(inp.AudioReached, sample=self.sample)
        due_at = self.watch.state.deadline
        if due_at is not None and self.now >= due_at:
            self.send(inp.Tick)
        if self.playout == "server" and self.heard == self.queued and self.watch.state.playout.audible:
            self.send(inp.Drained)

    @rule()
    def voice_changes(self) -> None:
        self.voice = not self.voice
        self.send(inp.VoiceOn if self.voice else inp.VoiceOff, sample=self.sample)

    @rule(kind=st.sampled_from([inp.VoiceOn, inp.VoiceOff, inp.AudioReached, inp.AudioStalled]))
    def absurd_ear(self, kind: type) -> None:
        self.send(kind, sample=self.sample)

    # --- engines ---

    def job(self, kind: str, data: st.DataObject) -> str:
        """Mostly the newest job, now and then an old, finished, cancelled or unknown one."""
        known = [*self.jobs[kind], "job_unknown"]
        newest = self.jobs[kind][-1] if self.jobs[kind] else "job_unknown"
        return data.draw(st.one_of(st.just(newest), st.just(newest), st.just(newest), st.sampled_from(known)))

    @rule(data=st.data(), text=WORDS, final=st.booleans())
    def stt_answers(self, data: st.DataObject, text: str, final: bool) -> None:
        self.send(inp.Transcribed, job=self.job("stt", data), text=text, final=final)

    @rule(data=st.data())
    def stt_fails(self, data: st.DataObject) -> None:
        self.send(inp.TranscriptionFailed, job=self.job("stt", data), message="no ear")

    @rule(data=st.data(), p=st.sampled_from([None, 0.1, 0.9]))
    def turn_predicted(self, data: st.DataObject, p: float | None) -> None:
        self.send(inp.TurnPredicted, job=self.job("turn", data), probability=p)

    @rule(data=st.data(), text=WORDS)
    def llm_writes(self, data: st.DataObject, text: str) -> None:
        self.send(inp.TextGenerated, job=self.job("llm", data), delta=text)

    @rule(
        data=st.data(),
        index=st.integers(0, 2),
        name=st.sampled_from([t.name for t in TOOLS]),
        call_id=st.sampled_from(["", "call_1"]),
        delta=st.sampled_from(["", '{"a":', "1}"]),
    )
    def llm_calls(self, data: st.DataObject, index: int, name: str, call_id: str, delta: str) -> None:
        self.send(inp.CallGenerated, job=self.job("llm", data), index=index, name=name, call_id=call_id, delta=delta)

    @rule(data=st.data(), reason=st.sampled_from(["stop", "length", "content_filter"]))
    def llm_ends(self, data: st.DataObject, reason: Any) -> None:
        usage = Usage(input_text_tokens=3, output_text_tokens=2)
        self.send(inp.GenerationDone, job=self.job("llm", data), reason=reason, usage=usage)

    @rule(data=st.data())
    def llm_fails(self, data: st.DataObject) -> None:
        self.send(inp.GenerationFailed, job=self.job("llm", data), message="no mind")

    @rule(data=st.data(), samples=st.sampled_from([0, 480, 24000]))
    def tts_speaks(self, data: st.DataObject, samples: int) -> None:
        self.send(inp.Synthesized, job=self.job("tts", data), samples=samples)

    @rule(data=st.data())
    def tts_ends(self, data: st.DataObject) -> None:
        self.send(inp.SynthesisDone, job=self.job("tts", data))

    @rule(data=st.data())
    def tts_fails(self, data: st.DataObject) -> None:
        self.send(inp.SynthesisFailed, job=self.job("tts", data), message="no voice")

    @rule(data=st.data(), failed=st.booleans())
    def tool_returns(self, data: st.DataObject, failed: bool) -> None:
        call_id = data.draw(st.sampled_from([*self.tools, "call_unknown"]))
        running = call_id in self.watch.state.tools
        self.send(inp.ToolDone, call_id=call_id, output="42", failed=failed)
        call = self.watch.state.conversation.call(call_id)
        if running and call:
            items = self.watch.state.conversation.items
            assert any(isinstance(i, FunctionCallOutput) and i.call_id == call_id for i in items)

    # --- clients ---

    def command(self, kind: type, **fields: Any) -> None:
        self.send(inp.Tick)  # so that nothing but the command has an effect
        before = self.watch.state
        effects = self.send(kind, command_id="cmd", **fields)
        rejected = [e for e in effects if isinstance(e, fx.Emit) and isinstance(e.event, ev.Rejected)]
        if rejected:
            assert len(effects) == 1, effects  # 9
            assert self.watch.state == before

    @rule(config=configs())
    def configure(self, config: Config) -> None:
        self.command(inp.Configure, config=replace(config, playout=self.playout))

    @rule(
        data=st.data(),
        kind=st.sampled_from(["text", "audio", "system", "output", "call", "approval", "duplicate"]),
    )
    def add_item(self, data: st.DataObject, kind: str) -> None:
        item: Any
        match kind:
            case "text":
                item = Message("", "user", (Text("Hi."),))
            case "audio":
                item = Message("", "user", (Audio(AudioRef("clip_1", 0, 16000)),))
            case "system":
                item = Message("", "system", (Text("Be kind."),))
            case "output":
                item = FunctionCallOutput("", data.draw(st.sampled_from(["call_1", "call_none"])), "{}")
            case "call":
                item = FunctionCall("", "call_1", "client_tool", "{}")
            case "approval":
                item = McpApprovalResponse("", data.draw(st.sampled_from(self.items)), True)
            case _:
                item = Message(data.draw(st.sampled_from(self.items)), "user", (Text("Again."),))
        after = data.draw(st.sampled_from([None, "root", *self.items]))
        self.command(inp.AddItem, item=item, after=after)

    @rule(data=st.data(), kind=st.sampled_from([inp.DeleteItem, inp.RetrieveItem]))
    def item_command(self, data: st.DataObject, kind: type) -> None:
        self.command(kind, item_id=data.draw(st.sampled_from(self.items)))

    @rule(data=st.data(), ms=st.sampled_from([-1, 0, 500, 90_000]), index=st.sampled_from([0, 0, 1]))
    def truncate(self, data: st.DataObject, ms: int, index: int) -> None:
        self.command(
            inp.TruncateItem, item_id=data.draw(st.sampled_from(self.items)), content_index=index, audio_end_ms=ms
        )

    @rule()
    def commit(self) -> None:
        self.command(inp.CommitAudio, end=self.sample, minimum=1600)

    @rule()
    def clear(self) -> None:
        self.command(inp.ClearAudio, end=self.sample)

    @rule()
    def clear_playout(self) -> None:
        self.command(inp.ClearPlayout)

    @rule(
        say=st.sampled_from([None, None, "Welcome. Sit down."]),
        aside=st.sampled_from([False, False, True]),
        busy=st.sampled_from(["reject", "queue", "interrupt"]),
        context=st.sampled_from([None, None, (), (Message("", "user", (Audio(AudioRef("clip_2", 0, 8000)),)),)]),
    )
    def create(self, say: str | None, aside: bool, busy: Any, context: Any) -> None:
        self.command(inp.CreateResponse, say=say, out_of_band=aside, when_busy=busy, context=context)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.command(inp.CancelResponse, response_id=data.draw(st.sampled_from([None, *self.responses])))

    @rule(data=st.data(), approve=st.booleans())
    def approve(self, data: st.DataObject, approve: bool) -> None:
        request = data.draw(st.sampled_from(self.items))
        self.command(inp.ApproveCall, approval_request_id=request, approve=approve)

    @rule()
    def set_tools(self) -> None:
        self.command(inp.SetTools, tools=(Tool("late_tool"),))

    @rule(kind=st.sampled_from([inp.PeerGone, inp.PeerBack, inp.Drained, inp.Tick]))
    def peer(self, kind: type) -> None:
        self.send(kind)

    @rule()
    @precondition(lambda self: self.now > 5)
    def close(self) -> None:
        self.send(inp.Close, reason="test")

    # --- what always holds ---

    @invariant()
    def heard_only(self) -> None:
        if not hasattr(self, "watch") or self.playout != "server":
            return
        s = self.watch.state
        if s.playout.mode == "stopped" and s.active is None:
            total = sum(p.end - p.start for plays in self.watch.played.values() for p in plays)
            assert s.playout.queued <= total
            for item in s.conversation.items:
                if isinstance(item, Message) and item.heard is not None and item.id in self.watch.played:
                    said = "".join(c.text for c in s.spoken[item.id])
                    assert said.startswith(item.heard) or item.heard in said  # 3

    def teardown(self) -> None:
        if hasattr(self, "watch"):
            self.send(inp.Close, reason="teardown")
            assert self.watch.state.ended
            self.watch.replay()  # 10


@pytest.mark.timeout(600)
def test_no_walk_breaks_an_invariant() -> None:
    long = bool(os.environ.get("LONG"))
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=2000 if long else 150,
            stateful_step_count=80 if long else 60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
