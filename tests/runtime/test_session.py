from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config, Turn
from antiphon.core.items import LIVE, Audio, AudioRef, Message, Text, Tool
from antiphon.core.session import step
from antiphon.engines.ports import LlmText, TtsChunk
from antiphon.engines.scripted import Call as LlmToolCall
from antiphon.engines.scripted import LlmScript, Rule, TtsScript, TurnScript
from antiphon.runtime import session as module
from antiphon.runtime.manager import SessionManager
from antiphon.runtime.session import JOIN_SECONDS

from .simulator import CHUNK, LONG, TONES, Call, Ear, call, cough, dialogue, script, with_turn


def scene(play: Callable[[], Any]) -> None:
    dialogue(play)


def ask(line: Call, words: str) -> None:
    line.send(inp.AddItem, item=Message("", "user", (Text(words),)))
    line.send(inp.CreateResponse)


# --- the inbox --------------------------------------------------------------------------------------------------------


def test_events_of_opening_come_with_start_and_commands_wait_for_it() -> None:
    async def play() -> None:
        async with call() as line:
            seen: list[ev.Event] = []
            session = line.manager.open(Config(), seen.append, seed="another00")
            session.do(inp.CancelResponse, command_id="early")
            assert seen == []
            session.start()
            assert [type(e) for e in seen] == [ev.Configured, ev.Rejected]
            await session.close()

    scene(play)


def test_an_observer_may_command_the_session_from_within_an_event() -> None:
    async def play() -> None:
        async with call() as line:
            order: list[str] = []

            def first(event: ev.Event) -> None:
                order.append(f"first {type(event).__name__}")
                if isinstance(event, ev.ItemAdded) and len(line.of(ev.ItemAdded)) < 4:
                    line.send(inp.AddItem, item=Message("", "user", (Text("more"),)))

            line.session.subscribe(first)
            leave = line.session.subscribe(lambda event: order.append(f"second {type(event).__name__}"))
            line.send(inp.AddItem, item=Message("", "user", (Text("hello"),)))
            assert len(line.of(ev.ItemAdded)) == 4, "done before the call returned"
            assert order[:4] == ["first ItemAdded", "second ItemAdded", "first ItemDone", "second ItemDone"]
            leave()
            leave()
            count = len([o for o in order if o.startswith("second")])
            line.send(inp.AddItem, item=Message("", "user", (Text("hello"),)))
            assert len([o for o in order if o.startswith("second")]) == count

    scene(play)


def test_a_failing_observer_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        async with call(complaints=True) as line:
            seen: list[ev.Event] = []

            def failing(event: ev.Event) -> None:
                raise ValueError("my own fault")

            session = line.manager.open(Config(), failing, seed="another00")
            session.subscribe(seen.append)
            session.start()
            session.do(inp.CancelResponse)
            await session.close()
            assert [type(e) for e in seen] == [ev.Configured, ev.Rejected, ev.Ended]

    scene(play)
    assert "an observer failed on Rejected" in caplog.text


def test_a_wrong_field_is_the_callers_error() -> None:
    async def play() -> None:
        async with call() as line:
            with pytest.raises(TypeError, match="colour"):
                line.send(inp.CancelResponse, colour="red")
            with pytest.raises(TypeError, match="item_id"):
                line.send(inp.DeleteItem)

    scene(play)


def test_a_defect_of_the_core_loses_one_input_and_the_session_can_be_closed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        async with call(complaints=True) as line:
            seen: list[ev.Event] = []
            session = line.manager.open(Config(), seen.append, seed="another00")
            session.start()
            right = step

            def broken(state: Any, i: Any) -> Any:
                if isinstance(i, inp.CancelResponse | inp.Close):
                    raise AssertionError("a hole in the table")
                return right(state, i)

            with monkeypatch.context() as patch:
                patch.setattr(module, "step", broken)
                session.do(inp.CancelResponse)
                session.do(inp.AddItem, item=Message("", "user", (Text("still here"),)))
                await session.close()
            assert [type(e) for e in seen] == [ev.Configured, ev.ItemAdded, ev.ItemDone, ev.Ended]
            record = await session.wait_closed()
            assert record.reason == "internal_error" and len(record.items) == 1

    scene(play)
    assert "the core failed on CancelResponse" in caplog.text


# --- the ear ----------------------------------------------------------------------------------------------------------


def test_chunks_of_any_size_are_heard_alike() -> None:
    async def play() -> None:
        edges: list[list[int]] = []
        for size in (CHUNK, 1, 4096, 100_000):
            async with call(config=Config(playout="client")) as line:
                line.muted = True
                pcm = np.concatenate(
                    (np.zeros(8000, np.int16), TONES.speak("hello there agent"), np.zeros(16000, np.int16))
                )
                for start in range(0, len(pcm), size):
                    line.session.hear(pcm[start : start + size])
                    if size < 1000:
                        await asyncio.sleep(size / 16_000)
                await line.until_quiet()
                assert line.session.heard_samples == len(pcm)
            edges.append([e.sample for e in line.of(ev.SpeechStarted)] + [e.sample for e in line.of(ev.SpeechStopped)])
            assert line.transcripts == ["hello there agent"]
        assert edges[0] == edges[1] == edges[2] == edges[3], "time is the audio's own"

    scene(play)


def test_audio_that_stops_coming_ends_the_turn() -> None:
    async def play() -> None:
        async with call(config=with_turn(Config(playout="client"), stall=1.5)) as line:
            await line.say("hello there agent")
            line.muted = True
            silent = line.now
            await line.until(ev.Committed)
            assert 1.4 < line.now - silent < 1.9
            await line.until_quiet()
            line.muted = False
            await line.say("tell me a story")
            await line.until_quiet()
        assert line.transcripts == ["hello there agent", "tell me a story"]

    scene(play)


def test_live_audio_is_kept_for_a_while_and_no_longer() -> None:
    async def play() -> None:
        async with call(config=Config(playout="client")) as line:
            line.muted = True
            pcm = np.arange(16_000, dtype=np.int16) % 30
            for _ in range(20):
                line.session.hear(pcm)
                await line.silence(1.0)
            end = line.session.heard_samples
            assert np.array_equal(line.session.audio(AudioRef(LIVE, end - 16_000, end)), pcm)
            assert len(line.session.audio(AudioRef(LIVE, 0, 16_000))) == 0
            assert 8 * 16_000 <= len(line.session.audio(AudioRef(LIVE, 0, end))) <= 13 * 16_000

    scene(play)


def test_push_to_talk_keeps_all_of_the_buffer() -> None:
    async def play() -> None:
        async with call(config=Config(playout="client", turn=Turn(mode="manual"))) as line:
            await line.say("hello there agent")
            await line.silence(50.0)
            await line.say("tell me a story")
            line.send(inp.CommitAudio, end=line.session.heard_samples)
            await line.until_quiet()
            assert line.manager.statistics().vad_frames == 0, "nobody listens for a voice"
        assert line.transcripts == ["hello there agent tell me a story"]

    scene(play)


def test_modes_change_in_mid_call() -> None:
    async def play() -> None:
        async with call(config=Config(playout="client", turn=Turn(mode="manual"))) as line:
            await line.say("hello there agent")
            line.send(inp.ClearAudio, end=line.session.heard_samples)
            line.send(inp.Configure, config=replace(line.session.state.config, turn=Turn()))
            await line.silence(0.3)
            await line.say("tell me a story")
            await line.until_quiet()
            assert line.transcripts == ["tell me a story"]
            line.send(inp.Configure, config=replace(line.session.state.config, turn=Turn(mode="manual")))
            await line.say("know the weather")
            await line.until_quiet()
        assert line.transcripts == ["tell me a story"] and len(line.of(ev.SpeechStarted)) == 1

    scene(play)


@pytest.mark.parametrize("command", [inp.ClearAudio, inp.CommitAudio])
def test_a_voice_that_goes_on_after_a_clear_or_commit_is_a_new_one(command: Any) -> None:
    async def play() -> None:
        async with call(config=Config(playout="client")) as line:
            speaking = asyncio.create_task(line.say("hello there agent i would like to know the weather"))
            await line.silence(0.65)
            line.send(command, end=line.session.heard_samples)
            await speaking
            await line.until_quiet()
        said = " ".join(line.transcripts)
        if command is inp.ClearAudio:
            assert said == "i would like to know the weather"
        else:
            assert said == "hello there agent i would like to know the weather"
        assert len(line.of(ev.SpeechStarted)) == 2

    scene(play)


def test_clips_are_transcribed_and_can_be_read_back() -> None:
    async def play() -> None:
        async with call(config=Config(playout="client")) as line:
            pcm = TONES.speak("tell me a story")
            ref = line.session.clip(pcm)
            line.send(inp.AddItem, item=Message("", "user", (Audio(ref),)))
            await line.until(ev.TranscriptDone)
            assert np.array_equal(line.session.audio(ref), pcm)
        assert line.transcripts == ["tell me a story"]

    scene(play)


def test_a_vad_that_fails_ends_the_session() -> None:
    class Broken:
        frame = 512

        def probabilities(self, frames: Any, states: Any) -> Any:
            raise RuntimeError("the model is gone")

    async def play() -> None:
        async with call(vad=Broken()) as line:
            record = await line.session.wait_closed()
        assert record.reason == "vad_failed"

    scene(play)


# --- the voice --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("playout", ["server", "client"])
def test_an_items_audio_can_be_read_back(playout: Any) -> None:
    async def play() -> None:
        async with call(script(Rule(match="story", text=LONG)), Config(playout=playout)) as line:
            ask(line, "story")
            await line.until(ev.ResponseDone)
            await line.silence(8.0)
            item = next(i for i in line.items if isinstance(i, Message) and i.role == "assistant")
            part = item.content[0]
            assert isinstance(part, Audio) and part.ref.samples == round(len(LONG) * 24_000 / 15)
            kept = line.session.audio(part.ref)
            assert len(kept) == part.ref.samples and np.abs(kept).max() > 4000
            assert line.session._spoken.jobs == 0, "jobs are forgotten once played"

    scene(play)


def test_thrown_away_answers_leave_no_audio() -> None:
    async def play() -> None:
        quick = script(llm=LlmScript(default="You said {text}. And so on and on."))
        async with call(quick) as line:
            for _ in range(3):
                await line.say("tell me")
                await line.silence(0.46)
            assert line.session._spoken.jobs <= 2
            await line.until_quiet()
            assert line.session._spoken.jobs == 0

    scene(play)


def test_the_agent_is_heard_in_real_time_through_a_slow_speaker() -> None:
    async def play() -> None:
        async with call(script(Rule(match="story", text=LONG)), ear=Ear(latency=0.25)) as line:
            ask(line, "story")
            await line.until(ev.PlayoutStarted)
            begun = line.now
            await line.until(ev.PlayoutStopped)
        assert line.now - begun == pytest.approx(len(LONG) / 15 + 0.25, abs=0.05)

    scene(play)


# --- strangers --------------------------------------------------------------------------------------------------------


class Hanging:
    """An engine of every kind that never answers; or, when stubborn, not even to being cancelled."""

    name = "hanging"
    voices = ()

    def __init__(self, stubborn: asyncio.Event | None = None) -> None:
        self.stubborn = stubborn

    async def _hang(self) -> None:
        while True:
            try:
                await (self.stubborn or asyncio.Event()).wait()
                return
            except asyncio.CancelledError:
                if self.stubborn is None:
                    raise

    async def transcribe(self, request: Any) -> str:
        await self._hang()
        return ""

    async def predict(self, audio: Any) -> float:
        await self._hang()
        return 0.0

    async def generate(self, request: Any) -> AsyncIterator[Any]:
        await self._hang()
        yield LlmText("")

    async def synthesize(self, request: Any) -> AsyncIterator[Any]:
        await self._hang()
        yield TtsChunk(np.zeros(1, np.int16))

    async def warm_up(self) -> None:
        return None

    async def close(self) -> None:
        return None


@pytest.mark.parametrize("kind", ["stt", "llm", "tts", "turn"])
def test_closing_does_not_wait_for_an_engine_that_hangs(kind: str) -> None:
    async def play() -> None:
        config = with_turn(Config(playout="client"), mode="semantic", wait_incomplete=1.0)
        async with call(config=config, engines={kind: Hanging()}) as line:
            if kind == "stt":
                line.stt.requests = type(line.stt.requests)(maxlen=0)  # the usage oracle has nobody to ask
            await line.say("hello there agent")
            await line.silence(3.0)
            before = line.now
            await line.session.close()
            assert line.now - before < 0.01
            assert line.manager.statistics().unwinding == 0

    scene(play)


def test_an_engine_that_cannot_be_cancelled_is_left_after_a_while() -> None:
    async def play() -> None:
        release = asyncio.Event()
        async with call(engines={"llm": Hanging(release)}) as line:
            ask(line, "hello")
            await line.silence(1.0)
            loop = asyncio.get_running_loop()
            before = loop.time()
            await line.session.close()
            assert loop.time() - before == pytest.approx(JOIN_SECONDS, abs=0.1)
            assert line.manager.statistics().unwinding == 1
            release.set()
            await line.silence(0.1)

    scene(play)


def test_a_tool_that_never_returns_does_not_outlive_the_session() -> None:
    async def play() -> None:
        gate = threading.Event()
        started = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stuck() -> None:
            loop.call_soon_threadsafe(started.set)
            gate.wait(30)

        play_ = script(Rule(match="weather", calls=(LlmToolCall(name="stuck"),)))
        async with _with_plain_tool(play_, stuck) as line:
            ask(line, "weather")
            await started.wait()
            await line.session.close()
        gate.set()
        assert line.session.closed and line.manager.statistics().unwinding == 0

    scene(play)


@asynccontextmanager
async def _with_plain_tool(play: Any, tool: Callable[[], None]) -> AsyncIterator[Call]:
    """A call whose server-run tool really runs in a thread."""
    config = Config(playout="client", tools=(Tool("stuck", run="server", timeout=60.0),))
    async with call(play, config) as line:
        line.session._tools._tools = {"stuck": tool}
        yield line


# --- the end ----------------------------------------------------------------------------------------------------------


def test_after_the_end_nothing_happens_and_closing_again_is_harmless() -> None:
    async def play() -> None:
        async with call() as line:
            session = line.session
            await line.say("hello there agent")
            await asyncio.gather(session.close("first"), session.close("second"), session.close("third"))
            seen = len(line.events)
            session.hear(np.zeros(CHUNK, np.int16))
            session.do(inp.CreateResponse)
            session.peer_gone()
            session.peer_back()
            await session.close("fourth")
            assert len(line.events) == seen and session.closed
            assert len(session.audio(AudioRef(LIVE, 0, 16_000))) == 0
            record = await session.wait_closed()
            assert record is session.record and record.reason == "first"

    scene(play)


def test_closing_from_within_an_event() -> None:
    async def play() -> None:
        async with call() as line:

            def hang_up(event: ev.Event) -> None:
                if isinstance(event, ev.ResponseStarted):
                    line.send(inp.Close, reason="enough")

            line.session.subscribe(hang_up)
            ask(line, "hello")
            assert line.session.closed
        assert [type(e) for _, e in line.events][-2:] == [ev.ResponseDone, ev.Ended]

    scene(play)


def test_timers_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline that moves on with every input must not make a timer each."""

    async def play() -> None:
        made = 0
        loop = asyncio.get_running_loop()
        right = loop.call_at

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal made
            made += 1
            return right(*args, **kwargs)

        async with call(config=with_turn(Config(playout="client", idle_close=600.0), idle=300.0)) as line:
            line.muted = True
            with monkeypatch.context() as patch:
                patch.setattr(loop, "call_at", counted)
                for n in range(200):
                    line.send(inp.AddItem, item=Message("", "user", (Text(str(n)),)))
            assert made <= 2

    scene(play)


def test_semantic_turns_ask_the_detector_with_the_last_seconds() -> None:
    async def play() -> None:
        lengths: list[int] = []

        class Detector(Hanging):
            async def predict(self, audio: Any) -> float:
                lengths.append(len(audio))
                return 0.9

        config = with_turn(Config(playout="client"), mode="semantic")
        async with call(script(turn=TurnScript()), config, engines={"turn": Detector()}) as line:
            await line.silence(9.0)
            await line.say("hello there agent")
            await line.until_quiet()
        assert lengths and all(n <= 8 * 16_000 for n in lengths) and lengths[0] == 8 * 16_000
        assert line.transcripts == ["hello there agent"]

    scene(play)


def test_a_cough_on_a_silent_line_costs_no_engine() -> None:
    async def play() -> None:
        async with call(script(tts=TtsScript())) as line:
            await line.sound(cough(0.1))
            await line.until_quiet()
            assert not line.stt.requests and not line.llm.requests
            assert isinstance(line.manager, SessionManager)

    scene(play)
