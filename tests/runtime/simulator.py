"""A dialogue simulator: scripted people on a scripted line, in virtual time.

A person's words are bursts of tones that carry their own transcript (``Tones``), so whatever span a turn cuts, the STT
hears what is in it. The agent's voice is a tone as long as its text. Everything is recorded: events with their times,
what the speaker was given, what the engines were asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from antiphon.core import effects as fx
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config
from antiphon.core.items import FunctionCall, FunctionCallOutput, Item, Message, Usage
from antiphon.core.session import open_session, step
from antiphon.engines.ports import PCM, LlmRequest, Vad
from antiphon.engines.scripted import (
    LlmScript,
    Rule,
    Script,
    ScriptedLlm,
    ScriptedStt,
    ScriptedTts,
    ScriptedTurn,
    ScriptedVad,
    SttScript,
    Tones,
    TtsScript,
)
from antiphon.runtime.clock import run_virtual
from antiphon.runtime.engines import Engines
from antiphon.runtime.manager import Limits, SessionManager
from antiphon.runtime.recording import Recording, replay
from antiphon.runtime.session import Session

E = TypeVar("E")

VOCABULARY: tuple[str, ...] = (
    *("hello", "there", "agent", "i", "would", "like", "to", "um", "know", "the", "weather", "in", "berlin", "today"),
    *("please", "stop", "wait", "no", "what", "about", "paris", "uh-huh", "yeah", "right", "are", "you", "tell", "me"),
    *("a", "story", "and", "then", "another", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "is", "it", "raining", "now", "later", "thanks", "bye"),
)
TONES = Tones(VOCABULARY)
CHUNK = 320
"""Samples (16 kHz) the microphone delivers at a time: 20 ms."""
RATE = 15.0
"""Characters the agent says in a second."""

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."
"""A sentence that takes the agent six and a half seconds."""
SHORT = "Yes, I am here."


def script(*rules: Rule, llm: LlmScript | None = None, tts: TtsScript | None = None, **parts: Any) -> Script:
    """A script whose LLM plays ``rules``; STT hears tones; everything takes a little, plausible time."""
    return Script(
        stt=parts.pop("stt", SttScript(words=VOCABULARY, delay=0.05)),
        llm=llm or LlmScript(rules=rules, default="You said {text}.", delay=0.1, token_delay=0.01),
        tts=tts or TtsScript(chars_per_second=RATE, delay=0.05, chunk_delay=0.01),
        **parts,
    )


def cough(seconds: float = 0.3) -> PCM:
    """A sound without a word in it: a hum far below any tone of the vocabulary."""
    t = np.arange(round(seconds * 16_000)) / 16_000
    return (9000 * np.sin(2 * np.pi * 90 * t)).astype(np.int16)


class Ear:
    """The person's side of server-owned playout: every frame and when it was due."""

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.frames: list[tuple[float, PCM]] = []
        self.deaf_from: float | None = None

    def play(self, frame: PCM, at: float) -> None:
        assert frame.dtype == np.int16 and frame.shape == (480,)
        self.frames.append((at, frame))

    def peak(self, start: float, end: float) -> int:
        """Largest sample among the frames due from ``start`` up to ``end``; 0 in silence."""
        return max((int(np.abs(f.astype(np.int32)).max()) for at, f in self.frames if start <= at < end), default=0)


class ClientPlayer:
    """The person's side of client-owned playout: plays deltas on arrival, in real time."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.items: dict[str, list[tuple[float, int]]] = {}
        """Item id to (when it begins to play, samples) of its deltas."""
        self.ends_at = 0.0

    def take(self, event: ev.AudioDelta) -> None:
        now = self.call.now
        begin = max(now, self.ends_at)
        samples = event.end - event.start
        self.items.setdefault(event.item_id, []).append((begin, samples))
        self.ends_at = begin + samples / 24_000

    def played(self, item_id: str, now: float) -> int:
        """Samples of the item played by ``now``."""
        return sum(min(n, max(0, round((now - begin) * 24_000))) for begin, n in self.items.get(item_id, []))

    def stop(self) -> tuple[str, int] | None:
        """Drop what is queued; the item cut short and the milliseconds of it that were played."""
        now = self.call.now
        if now >= self.ends_at:
            return None
        self.ends_at = now
        cut: tuple[str, int] | None = None
        for item_id, parts in self.items.items():
            total, played = sum(n for _, n in parts), self.played(item_id, now)
            if played < total:
                cut = cut or (item_id, played * 1000 // 24_000)
                self.items[item_id] = [(begin, min(n, max(0, round((now - begin) * 24_000)))) for begin, n in parts]
        return cut


@dataclass
class Call:
    """One session with a person on the line. Made by :func:`call`."""

    session: Session
    manager: SessionManager
    stt: ScriptedStt
    llm: ScriptedLlm
    tts: ScriptedTts
    ear: Ear
    truncate_on: tuple[type[ev.Event], ...] = (ev.Interrupted,)
    """Client-owned: what makes the client stop playing and tell what was played."""
    events: list[tuple[float, ev.Event]] = field(default_factory=list)
    microphone: deque[PCM] = field(default_factory=deque)
    muted: bool = False
    spoken_until: float = 0.0
    record: ev.Record | None = None
    tool_runs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.player = ClientPlayer(self)
        self._news = asyncio.Event()

    # --- the person ---

    @property
    def now(self) -> float:
        return self.session.now

    async def say(self, words: str) -> float:
        """Speak; returns when the last word is out, with the time at which the first began."""
        return await self.sound(TONES.speak(words))

    async def sound(self, pcm: PCM) -> float:
        """Make any sound."""
        rest = len(pcm) % CHUNK
        if rest:
            pcm = np.concatenate((pcm, np.zeros(CHUNK - rest, np.int16)))
        begin = self.now
        self.microphone.extend(pcm.reshape(-1, CHUNK))
        await asyncio.sleep(len(pcm) / 16_000)
        self.spoken_until = self.now
        return begin

    async def silence(self, seconds: float) -> None:
        """Say nothing."""
        await asyncio.sleep(seconds)

    def send(self, command: type[inp.Command | inp.Close], **fields: Any) -> None:
        """Command the session as a client would."""
        self.session.do(command, **fields)

    async def talk(self) -> None:
        """The microphone: 20 ms of audio every 20 ms, silence where nobody speaks."""
        loop = asyncio.get_running_loop()
        start, silent = loop.time(), np.zeros(CHUNK, np.int16)
        n = 0
        while True:
            n += 1
            await asyncio.sleep(start + n * 0.02 - loop.time())
            chunk = self.microphone.popleft() if self.microphone else silent
            if not self.muted:
                self.session.hear(chunk)

    # --- the observer ---

    def observe(self, event: ev.Event) -> None:
        self.events.append((self.now, event))
        if isinstance(event, ev.AudioDelta):
            pcm = self.session.synthesized(event.job, event.start, event.end)
            assert len(pcm) == event.end - event.start, "audio must be there when it is told"
            if self.session.state.config.playout == "client":
                self.player.take(event)
        if isinstance(event, self.truncate_on) and self.session.state.config.playout == "client":
            cut = self.player.stop()
            if cut is not None:
                self.send(inp.TruncateItem, item_id=cut[0], content_index=0, audio_end_ms=cut[1])
        self._news.set()

    def of(self, kind: type[E]) -> list[E]:
        """All events of a kind so far, in order."""
        return [e for _, e in self.events if isinstance(e, kind)]

    def at(self, kind: type[ev.Event], n: int = 0) -> float:
        """When the n-th event of a kind came."""
        return [at for at, e in self.events if isinstance(e, kind)][n]

    async def until(self, kind: type[E], count: int = 1, *, limit: float = 60.0) -> E:
        """Wait for the ``count``-th event of a kind."""
        async with asyncio.timeout(limit):
            while len(found := self.of(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    async def until_quiet(self, seconds: float = 2.0) -> None:
        """Wait until nothing has happened, and nobody was heard, for a while."""
        while True:
            seen, heard = len(self.events), len(self.ear.frames)
            await asyncio.sleep(seconds)
            state = self.session.state
            busy = state.active or state.pending or state.tools or state.playout.audible
            if (len(self.events), len(self.ear.frames)) == (seen, heard) and (not busy or self.session.closed):
                return

    # --- looking back ---

    @property
    def items(self) -> tuple[Item, ...]:
        return self.record.items if self.record else self.session.state.conversation.items

    @property
    def history(self) -> list[tuple[str, str]]:
        """(role, words) of each message."""
        return [(i.role, i.text) for i in self.items if isinstance(i, Message)]

    def said(self, role: str) -> list[str]:
        return [text for who, text in self.history if who == role]

    @property
    def asked(self) -> list[LlmRequest]:
        return list(self.llm.requests)

    @property
    def transcripts(self) -> list[str]:
        return [e.text for e in self.of(ev.TranscriptDone)]

    @property
    def effects(self) -> list[tuple[float, fx.Effect]]:
        """Every effect so far, with the time of the input that had it."""
        recording = self.session.recording
        assert recording is not None
        state, done = open_session(recording.config, seed=recording.seed, at=recording.at)
        out = [(recording.at, effect) for effect in done]
        for past in recording.steps:
            state, done = step(state, past.input)
            out.extend((past.input.at, effect) for effect in done)
        return out

    @property
    def responses(self) -> list[ev.ResponseView]:
        return [e.response for e in self.of(ev.ResponseDone)]


@asynccontextmanager
async def call(
    play: Script | None = None,
    config: Config | None = None,
    *,
    tools: Mapping[str, Callable[..., Any]] | None = None,
    ear: Ear | None = None,
    vad: Vad | None = None,
    engines: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    truncate_on: tuple[type[ev.Event], ...] = (ev.Interrupted,),
    complaints: bool = False,
) -> AsyncIterator[Call]:
    """A call that is up, with somebody breathing into the microphone; closed and checked at the end.

    The actor may log errors only where ``complaints`` says that it will.
    """
    play = play or script()
    stt, llm, tts = ScriptedStt(play.stt), ScriptedLlm(play.llm), ScriptedTts(play.tts)
    own: dict[str, Any] = {
        "vad": vad or ScriptedVad(play.vad),
        "turn": ScriptedTurn(play.turn),
        "stt": stt,
        "llm": llm,
        "tts": tts,
    }
    manager = SessionManager(Engines(**{**own, **(engines or {})}), limits)
    ear = ear or Ear()
    made: list[Call] = []
    runs: list[tuple[str, dict[str, Any]]] = []

    def counted(name: str, tool: Callable[..., Any]) -> Callable[..., Any]:
        async def run(**arguments: Any) -> Any:
            runs.append((name, arguments))
            result = tool(**arguments)
            return await result if isinstance(result, Awaitable) else result

        return run

    session = manager.open(
        config or Config(playout="server"),
        lambda event: made[0].observe(event),
        seed="dialogue0",
        tools={name: counted(name, tool) for name, tool in (tools or {}).items()},
        speaker=ear,
        record=True,
    )
    line = Call(session, manager, stt, llm, tts, ear, truncate_on)
    line.tool_runs = runs
    made.append(line)
    session.start()
    told = _Complaints()
    logging.getLogger("antiphon.runtime.session").addHandler(told)
    microphone = asyncio.create_task(line.talk())
    try:
        yield line
    finally:
        logging.getLogger("antiphon.runtime.session").removeHandler(told)
        microphone.cancel()
        await asyncio.wait([microphone])
        await session.close()
        line.record = await session.wait_closed()
        await manager.close()
    assert bool(told.words) is complaints, f"the core or an observer failed: {told.words}"
    check(line)


class _Complaints(logging.Handler):
    """What the actor would only have logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(f"{record.getMessage()}: {record.exc_info[1] if record.exc_info else ''}")


def dialogue(scene: Callable[[], Awaitable[None]]) -> None:
    """Run a scene in virtual time; nothing may be left running, and no timer be set, when it is over."""

    async def main() -> None:
        await scene()
        await asyncio.sleep(0)
        left = [t for t in asyncio.get_running_loop()._scheduled if not t.cancelled()]  # type: ignore[attr-defined]
        assert not left, f"timers left behind: {left}"

    run_virtual(main())


# --- what must be true of every call ----------------------------------------------------------------------------------


def check(line: Call) -> None:
    """The invariants, on everything that was recorded of a call."""
    events = [event for _, event in line.events]
    _check_responses(events)
    _check_items(events, line.items)
    _check_end(line, events)
    recording = line.session.recording
    assert recording is not None and line.record is not None
    effects = _check_replay(recording)
    _check_usage(line, line.record, recording, effects)
    if line.session.state.config.playout == "server":
        _check_heard(line, effects)
    _check_tools(line, events)


_TOLD = (
    ev.OutputItemAdded,
    ev.OutputItemDone,
    ev.PartAdded,
    ev.TextDelta,
    ev.AudioDelta,
    ev.PartDone,
    ev.ArgumentsDelta,
    ev.ArgumentsDone,
)


def _check_responses(events: list[ev.Event]) -> None:
    open_: dict[str, ev.ResponseView] = {}
    done: set[str] = set()
    parts: set[tuple[str, int]] = set()
    outputs: set[str] = set()
    for event in events:
        match event:
            case ev.ResponseStarted(r):
                assert r.id not in open_ and r.id not in done, "a response starts once"
                assert r.out_of_band or not [o for o in open_.values() if not o.out_of_band], "one active response"
                open_[r.id] = r
            case ev.ResponseDone(r):
                assert r.id in open_, "exactly one terminal event, after the start"
                assert r.status != "in_progress"
                assert not (parts or outputs) or len(open_) > 1, "every added is closed"
                del open_[r.id]
                done.add(r.id)
            case _:
                pass
        if isinstance(event, _TOLD):
            assert event.response_id in open_, f"{type(event).__name__} outside of its response"
        match event:
            case ev.OutputItemAdded(_, _, item):
                outputs.add(item.id)
            case ev.OutputItemDone(_, _, item):
                assert item.id in outputs, "closed once, after it was added"
                outputs.remove(item.id)
            case ev.PartAdded(_, item_id, _, index):
                parts.add((item_id, index))
            case ev.PartDone(_, item_id, _, index):
                assert (item_id, index) in parts
                parts.remove((item_id, index))
            case _:
                pass
    assert not open_, "every response ends"
    assert not parts and not outputs, "every added is closed"


def _check_items(events: list[ev.Event], items: tuple[Item, ...]) -> None:
    added: dict[str, int] = {}
    done: dict[str, int] = {}
    deleted = set()
    for event in events:
        match event:
            case ev.ItemAdded(item):
                added[item.id] = added.get(item.id, 0) + 1
            case ev.ItemDone(item):
                assert item.id in added, "done after it was added"
                done[item.id] = done.get(item.id, 0) + 1
            case ev.ItemDeleted(item_id):
                deleted.add(item_id)
            case _:
                pass
    assert all(n == 1 for n in (*added.values(), *done.values())), "items are added and done once"
    assert set(added) - deleted == {item.id for item in items}, "what was told is what is there"
    assert set(added) - deleted <= set(done), "every item added is done"
    calls = [item.call_id for item in items if isinstance(item, FunctionCall)]
    outputs = [item.call_id for item in items if isinstance(item, FunctionCallOutput)]
    assert len(outputs) == len(set(outputs)) and set(outputs) <= set(calls)


def _check_end(line: Call, events: list[ev.Event]) -> None:
    assert isinstance(events[-1], ev.Ended) and len(line.of(ev.Ended)) == 1, "one end, and nothing after it"
    record = line.record
    assert record is not None
    position = 0.0
    for segment in record.timeline:
        assert abs(segment.start - position) < 1e-6, f"a gap or overlap in the timeline at {position}: {segment}"
        assert segment.end >= segment.start
        position = segment.end
    assert abs(position - record.seconds) < 1e-6, "the timeline sums to the call's length"
    assert line.manager.statistics().open == 0 and line.manager.statistics().unwinding == 0


def _check_replay(recording: Recording) -> list[fx.Effect]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "call.jsonl"
        recording.write(path)
        again = Recording.read(path)
    assert again == recording, "a recording survives its file"
    difference = replay(again)
    assert difference is None, f"a replay went another way: {difference}"
    state, effects = open_session(recording.config, seed=recording.seed, at=recording.at)
    out = list(effects)
    for past in recording.steps:
        state, effects = step(state, past.input)
        out.extend(effects)
    return out


def _check_usage(line: Call, record: ev.Record, recording: Recording, effects: list[fx.Effect]) -> None:
    given = Usage()
    samples: dict[str, int] = {}
    for past in recording.steps:
        if isinstance(past.input, inp.GenerationDone):
            given += past.input.usage
        elif isinstance(past.input, inp.Synthesized):
            samples[past.input.job] = samples.get(past.input.job, 0) + past.input.samples
    assert record.usage + record.speculative_usage == given, "tokens: what the LLM counted, speculation apart"
    heard = sum(seconds for seconds, partial in line.stt.requests if not partial)
    assert abs(record.stt_seconds - heard) < 1e-6 or line.stt.requests.maxlen == len(line.stt.requests)
    told = {e.event.job for e in effects if isinstance(e, fx.Emit) and isinstance(e.event, ev.AudioDelta)}
    told |= {e.job for e in effects if isinstance(e, fx.Play)}
    spoken = sum(n for job, n in samples.items() if job in told)
    assert round(record.tts_seconds * 24_000) == spoken, "voice: what was made of answers that were given"
    assert record.responses == len(line.of(ev.ResponseStarted))


def heard_samples(line: Call, effects: list[fx.Effect]) -> Iterator[tuple[str, int]]:
    """(item id, samples of it that reached the ear), worked out from what was queued and what was played."""
    stream: list[tuple[str, int, int]] = []
    position = 0
    recording = line.session.recording
    assert recording is not None
    heard: dict[str, int] = {}
    state, _ = open_session(recording.config, seed=recording.seed, at=recording.at)
    for past in recording.steps:
        state, done = step(state, past.input)
        for effect in done:
            if isinstance(effect, fx.Play):
                stream.append((effect.item_id, position, position + effect.end - effect.start))
                position += effect.end - effect.start
            elif isinstance(effect, fx.Flush | fx.End):
                reached = past.input.heard
                for item, begin, end in stream:
                    heard[item] = heard.get(item, 0) + max(0, min(end, reached) - begin)
                stream, position = [], reached
            elif isinstance(effect, fx.Emit) and isinstance(effect.event, ev.Ended):
                reached = past.input.heard
                for item, begin, end in stream:
                    heard[item] = heard.get(item, 0) + max(0, min(end, reached) - begin)
                stream = []
    yield from heard.items()


def words_within(clauses: list[tuple[str, float]], samples: int) -> str:
    """The words of an item's (clause, speed)s within its first ``samples``, as the scripted voice says them."""
    out: list[str] = []
    start = 0
    for clause, speed in clauses:
        text = clause.strip()
        position = 0
        for word in text.split():
            position = text.index(word, position) + len(word)
            if start + round(position * 24_000 / (RATE * speed)) <= samples:
                out.append(word)
        start += round(len(text) * 24_000 / (RATE * speed))
    return " ".join(out)


def _check_heard(line: Call, effects: list[fx.Effect]) -> None:
    """Invariant 3: no assistant message holds a word that did not reach the ear."""
    heard = dict(heard_samples(line, effects))
    texts = {e.job: (e.text, e.config.speed) for e in effects if isinstance(e, fx.Synthesize)}
    clauses: dict[str, list[tuple[str, float]]] = {}
    for job, item_id in dict.fromkeys((e.job, e.item_id) for e in effects if isinstance(e, fx.Play)):
        clauses.setdefault(item_id, []).append(texts[job])
    out_of_band = {
        e.item.id
        for e in line.of(ev.OutputItemAdded)
        for r in line.of(ev.ResponseStarted)
        if r.response.id == e.response_id and r.response.out_of_band
    }
    for item in line.items:
        if isinstance(item, Message) and item.role == "assistant" and item.id in clauses and item.id not in out_of_band:
            expected = words_within(clauses[item.id], heard.get(item.id, 0))
            got = " ".join(item.text.split())
            assert got == expected, f"history says {got!r}, heard was {expected!r}"


def _check_tools(line: Call, events: list[ev.Event]) -> None:
    started = [e.call_id for e in events if isinstance(e, ev.ToolStarted)]
    assert len(started) == len(set(started)), "a tool call starts once"
    assert len(line.tool_runs) <= len(started), "a tool runs once per call"


def with_turn(config: Config, **turn: Any) -> Config:
    """``config`` with other turn rules."""
    return replace(config, turn=replace(config.turn, **turn))
