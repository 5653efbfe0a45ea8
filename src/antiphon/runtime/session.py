"""The session actor: the one writer of a session's state, and the hands of the core.

Inputs go through one inbox, so that an observer may command the session from within an event. Everything public is
called on the loop's thread; nothing of it waits but :meth:`Session.close` and :meth:`Session.wait_closed`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from antiphon.core import effects as fx
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config
from antiphon.core.items import INPUT_RATE, AudioRef
from antiphon.core.session import open_session, record, step
from antiphon.core.state import State
from antiphon.engines.ports import PCM, LlmRequest, SttRequest, TtsRequest
from antiphon.runtime import jobs
from antiphon.runtime.engines import Engines
from antiphon.runtime.playout import NullSpeaker, Pacer, Playout, Speaker
from antiphon.runtime.recording import Recording
from antiphon.runtime.sound import Heard, Spoken
from antiphon.runtime.stall import StallWatch
from antiphon.runtime.tools import ToolFunction, ToolRunner
from antiphon.runtime.vad import NEVER, VadBatcher, VoiceGate

__all__ = ["Observer", "Session", "SessionOwner", "Shared"]

_log = logging.getLogger(__name__)

Observer = Callable[[ev.Event], None]

JOIN_SECONDS = 5.0
"""How long a cancelled job may take to end before it is logged and left."""
LATE_TICK = 0.01
"""Seconds before the core is ticked again when a tick left its deadline in the past."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all sessions of a process share."""

    engines: Engines
    vad: VadBatcher
    pacer: Pacer
    stalls: StallWatch
    retain_seconds: float = 8.0
    """Audio that is kept for retrieval after nobody needs it."""


class SessionOwner:
    """Who wants to know when a session ends. The default does not."""

    def ended(self, session: Session) -> None:
        """The session has ended; its jobs may still be unwinding."""

    def gone(self, session: Session) -> None:
        """Nothing of the session runs any more."""


class Session:
    """One conversation.

    Attributes:
        id: unique in the process.
        state: the core's state, for reading.
        record: what remains of the session, once it has ended.
        recording: its inputs so far, where that was asked for.
        tenant: whose session it is.
    """

    def __init__(
        self,
        id: str,
        config: Config,
        shared: Shared,
        *,
        tools: Mapping[str, ToolFunction] | None = None,
        speaker: Speaker | None = None,
        owner: SessionOwner | None = None,
        admit: Callable[[Config], Config] = lambda config: config,
        tenant: str = "",
        record: bool = False,
    ) -> None:
        self.id = id
        self.tenant = tenant
        self.record: ev.Record | None = None
        self._loop = asyncio.get_running_loop()
        self._opened_at = self._loop.time()
        self._shared = shared
        self._owner = owner or SessionOwner()
        self._admit = admit
        self._observers: tuple[Observer, ...] = ()
        self._inbox: deque[inp.Input] = deque()
        self._busy = self._started = False
        self._over = self._loop.create_future()
        self._tasks = jobs.TaskOwner(self._task_ended)
        self._tools = ToolRunner(tools or {})
        self._heard = Heard(shared.retain_seconds)
        self._spoken = Spoken(shared.retain_seconds)
        self._item_ends: dict[str, int] = {}
        self._playout: Playout | None = None
        if config.playout == "server":
            self._playout = Playout(shared.pacer, speaker or NullSpeaker(), self._drained)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._listening = False
        self._release_at = INPUT_RATE
        self._audio_at = self._opened_at
        config = admit(config)
        self.state: State
        self.state, self._opening = open_session(config, seed=id, at=0.0)
        self.recording = Recording.begin(config, id, 0.0, self._opening) if record else None
        self._config = config
        self._deaf = config.turn.mode == "manual"
        self._gate = VoiceGate(self._heard.live, self, config.turn.threshold)

    # --- for protocols ------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the session has ended: no event will come any more."""
        return self._over.done()

    @property
    def now(self) -> float:
        """Seconds since the session was opened."""
        return self._loop.time() - self._opened_at

    @property
    def heard_samples(self) -> int:
        """Samples of input audio (16 kHz) received so far: the input audio clock."""
        return self._heard.live.end

    @property
    def heard_output(self) -> int:
        """Samples (24 kHz) of the agent's stream that the person has heard; 0 where a client plays it."""
        return self._playout.heard(self._loop.time()) if self._playout is not None else 0

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Call ``observer`` with every event, in order, until the returned function is called."""
        self._observers = (*self._observers, observer)

        def leave() -> None:
            self._observers = tuple(o for o in self._observers if o is not observer)

        return leave

    def start(self) -> None:
        """Carry out what opening began: the first events. Once; before that, inputs wait."""
        self._started = self._busy = True
        try:
            for effect in self._opening:
                self._carry(effect)
            self._follow()
        finally:
            self._busy = False
        self._work()

    def do(self, command: type[inp.Command | inp.Close], **fields: Any) -> None:
        """Give the core a command; ``fields`` are the command's own. After the end it is ignored.

        Raises:
            TypeError: the command has no such field, or misses one.
        """
        if "config" in fields and command is inp.Configure:
            fields["config"] = self._admit(fields["config"])
        self._tell(command, **fields)
        if command is inp.ClearAudio or command is inp.CommitAudio:
            self._gate.skip(min(fields["end"], self.heard_samples))

    def hear(self, pcm: PCM) -> None:
        """Take input audio: int16 mono, 16 kHz, any length."""
        if self._over.done():
            return
        live = self._heard.live
        live.append(pcm)
        self._audio_at = self._loop.time()
        gate = self._gate
        if live.end >= self._release_at:
            self._release_at = live.end + INPUT_RATE
            self._heard.release(self._needed())
        if self._deaf:
            gate.position = live.end
        elif not gate.queued:
            if live.end - gate.position >= self._shared.vad.frame:
                self._shared.vad.due(gate)
            else:
                gate.look_ahead()

    def clip(self, pcm: PCM) -> AudioRef:
        """Keep audio (int16 mono, 16 kHz) that a client put into an item."""
        return self._heard.clip(pcm)

    def audio(self, ref: AudioRef) -> PCM:
        """What is kept of a span: 16 kHz for live audio and clips, 24 kHz for an agent's item; may be empty."""
        return self._heard.read(ref) if self._heard.knows(ref) else self._spoken.item(ref)

    def synthesized(self, job: str, start: int, end: int) -> PCM:
        """The samples (24 kHz) that an ``AudioDelta`` event tells of; to be fetched while the event is observed."""
        return self._spoken.read(job, start, end)

    def peer_gone(self) -> None:
        """The client's media went away; it may come back."""
        self._tell(inp.PeerGone)

    def peer_back(self) -> None:
        """It came back."""
        self._tell(inp.PeerBack)

    async def close(self, reason: str = "closed") -> None:
        """End the session, from any state and any number of times, and wait until nothing of it runs."""
        if not self.closed:
            self.do(inp.Close, reason=reason)
        await self.wait_closed()

    async def wait_closed(self) -> ev.Record:
        """Wait for the end, and for the jobs to unwind; the record of the session."""
        await asyncio.shield(self._over)
        await self._tasks.join(JOIN_SECONDS)
        assert self.record is not None, "Ended comes before End"
        return self.record

    # --- the VAD's and the clocks' side -------------------------------------------------------------------------------

    def voice_on(self, sample: int) -> None:
        """See :class:`~antiphon.runtime.vad.GateSink`."""
        self._tell(inp.VoiceOn, sample=sample)

    def voice_off(self, sample: int) -> None:
        """See :class:`~antiphon.runtime.vad.GateSink`."""
        self._tell(inp.VoiceOff, sample=sample)

    def audio_reached(self, sample: int) -> None:
        """See :class:`~antiphon.runtime.vad.GateSink`."""
        self._tell(inp.AudioReached, sample=sample)

    def vad_failed(self, problem: Exception) -> None:
        """A session without ears cannot go on."""
        self._tell(inp.Close, reason="vad_failed")

    def check_stalled(self, now: float) -> None:
        """See :class:`~antiphon.runtime.stall.Stalling`."""
        if self._listening and not self._gate.queued and now - self._audio_at >= self.state.config.turn.stall:
            self._tell(inp.AudioStalled, sample=self._gate.position)

    def _drained(self) -> None:
        self._tell(inp.Drained)

    def _due(self) -> None:
        """The timer fired: it may be early, when the deadline moved on meanwhile."""
        self._timer = None
        deadline = self.state.deadline
        if deadline is None:
            return
        now = self.now
        if deadline > now + 1e-6:
            self._set_timer(deadline)
            return
        self._tell(inp.Tick, at=max(now, deadline))

    # --- the actor ----------------------------------------------------------------------------------------------------

    def _tell(self, kind: type[inp.Input], **fields: Any) -> None:
        """Stamp an input and take it, now or after the one under way."""
        if self._over.done():
            return
        now = self._loop.time()
        fields.setdefault("at", now - self._opened_at)
        heard = self._playout.heard(now) if self._playout is not None else 0
        self._inbox.append(kind(heard=heard, **fields))
        self._work()

    def _work(self) -> None:
        if self._busy or not self._started:
            return
        self._busy = True
        try:
            while self._inbox and not self._over.done():
                self._step(self._inbox.popleft())
        finally:
            self._busy = False

    def _step(self, i: inp.Input) -> None:
        try:
            self.state, effects = step(self.state, i)
        except Exception:
            # The core is total by contract; should that break, one input is lost rather than the call.
            _log.exception("session %s: the core failed on %s", self.id, type(i).__name__)
            if isinstance(i, inp.Close):
                self._give_up(i)
            return
        if self.recording is not None:
            self.recording.add(i, effects)
        for effect in effects:
            self._carry(effect)
        if not self._over.done():
            self._follow()

    def _give_up(self, i: inp.Close) -> None:
        """A session must always be closable: end without the core's help, with what can be told."""
        self.record = record(self.state, "internal_error", at=i.at, end=i.at)
        self._emit(ev.Ended(self.record))
        self._end()

    def _follow(self) -> None:
        """Bring gate, timer, stall watch and stores in line with the new state."""
        state, gate = self.state, self._gate
        if state.config is not self._config:
            self._configured(state.config)
        deadline = state.audio_deadline
        gate.deadline = NEVER if deadline is None else deadline
        if gate.voiced and not state.turn.speaking:
            gate.voiced = False  # the core began anew (clear, commit, stall): a voice that goes on is a new edge
        listening = state.listening_turn
        if listening != self._listening:
            self._listening = listening
            if listening:
                self._shared.stalls.watch(self)
            else:
                self._shared.stalls.forget(self)
        if self._spoken.jobs:
            self._spoken.tidy(held=state.trial is not None)
        if state.deadline is not None and (self._timer is None or state.deadline < self._timer_at):
            self._set_timer(state.deadline)

    def _set_timer(self, deadline: float) -> None:
        """One timer; a deadline that moves on is noticed when the timer fires, so most steps set none."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = max(deadline, self.now + LATE_TICK if deadline <= self.now else deadline)
        self._timer = self._loop.call_at(self._opened_at + self._timer_at, self._due)

    def _configured(self, config: Config) -> None:
        self._config = config
        self._gate.threshold = config.turn.threshold
        deaf = config.turn.mode == "manual"
        if deaf != self._deaf:
            self._deaf = deaf
            self._gate.reset(self.heard_samples)

    def _needed(self) -> int:
        """The first live sample that the core may still ask for."""
        keep = self.state.keep_from
        position = self._gate.position - INPUT_RATE * 2
        return position if keep is None else min(keep, position)

    # --- carrying out -------------------------------------------------------------------------------------------------

    def _carry(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Emit(event):
                self._emit(event)
            case fx.Transcribe() | fx.PredictTurn() | fx.Generate() | fx.Synthesize():
                self._tasks.start(effect.job, self._job(effect))
            case fx.Cancel(job):
                self._tasks.cancel(job)
                self._spoken.forget(job)
            case fx.RunTool(call_id):
                if self._tools.first_call(call_id):
                    self._tasks.start(f"tool {call_id}", self._run_tool(effect))
            case fx.Play(job, start, end, item_id, item_start):
                pcm = self._spoken.play(job, start, end, item_id, item_start)
                if self._playout is not None:
                    self._playout.append(pcm)
            case fx.Duck() | fx.Pause() | fx.Resume() | fx.Flush():
                self._voice(effect)
            case fx.End():
                self._end()
            case _:
                assert_never(effect)

    def _job(self, effect: fx.Transcribe | fx.PredictTurn | fx.Generate | fx.Synthesize) -> jobs.Work:
        """The coroutine that has a job done."""
        engines, c = self._shared.engines, getattr(effect, "config", self._config)
        match effect:
            case fx.Transcribe(job, audio, _, partial):
                stt = SttRequest(self._heard.joined(audio), c.language, c.transcription_prompt, partial)
                return jobs.transcribe(engines.stt, stt, job, self._tell)
            case fx.PredictTurn(job, ref):
                return jobs.predict(engines.turn, self._heard.read(ref), job, self._tell)
            case fx.Generate(job, history):
                llm = LlmRequest(
                    history,
                    c.instructions,
                    c.tools,
                    c.tool_choice,
                    c.parallel_tool_calls,
                    c.max_output_tokens,
                    c.temperature,
                    c.model,
                )
                return jobs.generate(engines.llm, llm, job, self._tell)
            case fx.Synthesize(job, text):
                return jobs.synthesize(engines.tts, TtsRequest(text, c.voice, c.speed), job, self._spoken, self._tell)
            case _:
                assert_never(effect)

    async def _run_tool(self, call: fx.RunTool) -> None:
        output, failed = await self._tools.run(call)
        self._tell(inp.ToolDone, call_id=call.call_id, output=output, failed=failed)

    def _voice(self, effect: fx.Duck | fx.Pause | fx.Resume | fx.Flush) -> None:
        playout = self._playout
        if playout is None:
            return
        match effect:
            case fx.Duck():
                playout.duck()
            case fx.Pause():
                playout.pause()
            case fx.Resume():
                playout.resume()
            case fx.Flush():
                playout.flush(self._loop.time())

    def _emit(self, event: ev.Event) -> None:
        if isinstance(event, ev.Ended):
            self.record = event.record
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                _log.exception("session %s: an observer failed on %s", self.id, type(event).__name__)
        if isinstance(event, ev.AudioDelta) and self._playout is None:
            # Client-owned: told is played. The item's audio stays retrievable for a while.
            start = self._item_ends.get(event.item_id, 0)
            self._item_ends = {event.item_id: start + event.end - event.start}
            self._spoken.play(event.job, event.start, event.end, event.item_id, start)

    def _end(self) -> None:
        """Let go of everything: no event, no timer and no new task after this (invariant 8)."""
        self._inbox.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._shared.stalls.forget(self)
        self._gate.close()
        if self._playout is not None:
            self._playout.close()
        self._tasks.cancel_all()
        self._observers = ()
        self._heard.clear()
        self._spoken.clear()
        self._over.set_result(None)
        self._owner.ended(self)
        if not self._tasks:
            self._owner.gone(self)

    def _task_ended(self) -> None:
        if self._over.done() and not self._tasks:
            self._owner.gone(self)
