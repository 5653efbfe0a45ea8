"""A connection and a session without socket, clock or engine: the real core, driven by hand."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
import numpy as np

from antiphon.audio.pcm import PCM
from antiphon.core import effects as fx
from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config
from antiphon.core.items import LIVE, AudioRef
from antiphon.core.session import open_session, step
from antiphon.core.state import State
from antiphon.platform.keys import Principal
from antiphon.platform.secrets import ClientSecret
from antiphon.protocols.openai.endpoint import RealtimeEndpoint
from antiphon.protocols.openai.routes import routes
from antiphon.protocols.openai.settings import PromptStore, RealtimeSettings, StoredPrompt
from antiphon.runtime.manager import SessionLimitError
from antiphon.transports.connection import Accept, Request

from .oracle import check

KEY = "ak_good_key_0123456789"
E = TypeVar("E", bound=fx.Effect)


class CoreSession:
    """``runtime.Session`` with the engines left out: the test plays them with :meth:`feed`."""

    _seeds = itertools.count(1)

    def __init__(self, config: Config, observer: Callable[[ev.Event], None]) -> None:
        self.seed = f"{next(self._seeds):08d}"
        self.id = self.seed
        self.now = 0.0
        self.effects: list[fx.Effect] = []
        self.commands: list[inp.Command] = []
        self.heard: list[PCM] = []
        self.clips: dict[str, PCM] = {}
        self._observer = observer
        self.state: State
        self.state, self._first = open_session(config, seed=self.seed, at=0.0)

    @property
    def heard_samples(self) -> int:
        return sum(map(len, self.heard))

    def start(self) -> None:
        self._carry_out(self._first)

    def do(self, command: type[inp.Command], **fields: Any) -> None:
        made = command(at=self.now, **fields)
        self.commands.append(made)
        self._step(made)

    def feed(self, kind: type[Any], **fields: Any) -> None:
        """Let an engine, the ear or the clock say something, a hundredth of a second later."""
        self.now += 0.01
        self._step(kind(at=self.now, **fields))

    def hear(self, pcm: PCM) -> None:
        self.heard.append(pcm)

    def clip(self, pcm: PCM) -> AudioRef:
        name = f"clip_{len(self.clips)}"
        self.clips[name] = pcm
        return AudioRef(name, 0, len(pcm))

    def audio(self, ref: AudioRef) -> PCM:
        if ref.clip == LIVE:
            return np.concatenate(self.heard)[ref.start : ref.end]
        if ref.clip in self.clips:
            return self.clips[ref.clip][ref.start : ref.end]
        return np.zeros(ref.end - ref.start, np.int16)

    def synthesized(self, job: str, start: int, end: int) -> PCM:
        return (np.arange(start, end) % 1000).astype(np.int16)

    def asked(self, kind: type[E]) -> list[E]:
        """Effects of one kind, so far."""
        return [e for e in self.effects if isinstance(e, kind)]

    def _step(self, i: inp.Input) -> None:
        self.state, effects = step(self.state, i)
        self._carry_out(effects)

    def _carry_out(self, effects: tuple[fx.Effect, ...]) -> None:
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, fx.Emit):
                self._observer(effect.event)


@dataclass
class CoreManager:
    """``runtime.SessionManager``."""

    sessions: list[CoreSession] = field(default_factory=list)
    tenants: list[str] = field(default_factory=list)
    full: bool = False

    def open(
        self,
        config: Config,
        observer: Callable[[ev.Event], None],
        *,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        tenant: str = "",
    ) -> CoreSession:
        if self.full:
            raise SessionLimitError("sessions", "200 of 200 sessions are running")
        self.sessions.append(CoreSession(config, observer))
        self.tenants.append(tenant)
        return self.sessions[-1]


@dataclass
class Wire:
    """``transports.Connection``: what was sent, decoded."""

    request: Request
    beta: bool = False
    sent: list[dict[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    audio: int = 0
    code: int | None = None
    reason: str = ""
    buffered: int = 0
    dropped: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, data: bytes) -> None:
        assert self.code is None, "sent after close"
        check(data, beta=self.beta)
        self.raw.append(data)
        self.sent.append(msgspec.json.decode(data))
        self.changed.set()

    def send_audio(self, data: bytes) -> None:
        self.audio += 1
        self.send(data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self.code is None:
            self.code, self.reason = code, reason
            self.changed.set()


@dataclass
class MemorySecrets:
    """``platform.ClientSecrets`` without a database."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    kept: dict[str, ClientSecret] = field(default_factory=dict)

    async def create(
        self, project_id: str, session_config: Mapping[str, Any], ttl: float = 600.0
    ) -> tuple[str, ClientSecret]:
        value = f"ek_{len(self.kept):020d}"
        made = ClientSecret(value, project_id, dict(session_config), self.now, self.now + timedelta(seconds=ttl))
        self.kept[value] = made
        return value, made

    async def redeem(self, value: str) -> ClientSecret | None:
        found = self.kept.get(value)
        return None if found is None or found.expires_at <= self.now else found


@dataclass
class MemoryPrompts:
    """A ``PromptStore`` of one project."""

    kept: list[StoredPrompt] = field(default_factory=list)

    async def get(self, project_id: str, prompt_id: str, version: str | None) -> StoredPrompt | None:
        found = [p for p in self.kept if p.id == prompt_id and version in (None, p.version)]
        return found[-1] if found else None


async def authenticate(key: str | None) -> Principal | None:
    return Principal("proj_1", "key_1") if key == KEY else None


class Rig:
    """One connection to the endpoint, and the session behind it."""

    def __init__(
        self,
        *,
        beta: bool = False,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        subprotocols: tuple[str, ...] = (),
        settings: RealtimeSettings | None = None,
        manager: CoreManager | None = None,
        secrets: MemorySecrets | None = None,
        prompts: PromptStore | None = None,
        path: str = "/v1/realtime",
    ) -> None:
        self.settings = settings or RealtimeSettings(pacing_seconds=0.0)
        self.manager = manager or CoreManager()
        if headers is None:
            headers = {"authorization": f"Bearer {KEY}"}
        if beta:
            headers = {**headers, "openai-beta": "realtime=v1"}
        request = Request(path, query or {"model": "gpt-realtime"}, headers, subprotocols)
        table = routes(self.manager, authenticate, self.settings, secrets=secrets, prompts=prompts)
        accepted = table[path](request)
        assert isinstance(accepted, Accept)
        assert isinstance(accepted.endpoint, RealtimeEndpoint)
        self.accepted = accepted
        self.endpoint = accepted.endpoint
        self.wire = Wire(request, beta or path != "/v1/realtime" or "openai-beta.realtime-v1" in subprotocols)
        self._told = 0

    async def open(self) -> Rig:
        """Connect, and wait for the first event."""
        self.endpoint.open(self.wire)
        while not self.wire.sent and self.wire.code is None:
            self.wire.changed.clear()
            await self.wire.changed.wait()
        await asyncio.sleep(0)  # the lookup behind it is over one turn of the loop later
        return self

    @property
    def session(self) -> CoreSession:
        return self.manager.sessions[-1]

    def send(self, type: str, **fields: Any) -> list[dict[str, Any]]:
        """Send a client event; what it was answered with at once."""
        return self.send_raw(msgspec.json.encode({"type": type, **fields}))

    def send_raw(self, data: bytes) -> list[dict[str, Any]]:
        self.take()
        self.endpoint.text(data)
        return self.take()

    def take(self) -> list[dict[str, Any]]:
        """Events that came since the last look."""
        new = self.wire.sent[self._told :]
        self._told = len(self.wire.sent)
        return new

    def feed(self, kind: type[Any], **fields: Any) -> list[dict[str, Any]]:
        """Let the session's surroundings speak; what the client hears of it."""
        self.take()
        self.session.feed(kind, **fields)
        return self.take()

    # --- whole turns --------------------------------------------------------------------------------------------------

    def say(self, text: str) -> list[dict[str, Any]]:
        """A user's message in text."""
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        return self.send("conversation.item.create", item=item)

    def generated(self, *deltas: str, done: bool = True, **usage: Any) -> list[dict[str, Any]]:
        """The LLM writes, and is done."""
        job = self.session.asked(fx.Generate)[-1].job
        out: list[dict[str, Any]] = []
        for delta in deltas:
            out += self.feed(inp.TextGenerated, job=job, delta=delta)
        if done:
            out += self.feed(inp.GenerationDone, job=job, **usage)
        return out

    def called(self, name: str, arguments: str, call_id: str = "call_1", *, done: bool = True) -> list[dict[str, Any]]:
        """The LLM calls a tool."""
        job = self.session.asked(fx.Generate)[-1].job
        half = len(arguments) // 2
        out = self.feed(inp.CallGenerated, job=job, index=0, delta=arguments[:half], call_id=call_id, name=name)
        out += self.feed(inp.CallGenerated, job=job, index=0, delta=arguments[half:])
        return out + (self.feed(inp.GenerationDone, job=job) if done else [])

    def spoken(self, samples: int = 2400, *, done: bool = True) -> list[dict[str, Any]]:
        """The TTS speaks its last clause, and is done."""
        job = self.session.asked(fx.Synthesize)[-1].job
        out = self.feed(inp.Synthesized, job=job, samples=samples)
        return out + (self.feed(inp.SynthesisDone, job=job) if done else [])

    def speech(self, start: int = 16_000, end: int = 32_000, text: str = "hello") -> list[dict[str, Any]]:
        """The person speaks from one sample to another, falls silent and is understood."""
        self.session.hear(np.zeros(max(0, end + 32_000 - self.session.heard_samples), np.int16))
        out = self.feed(inp.VoiceOn, sample=start)
        while (due := self.session.state.audio_deadline) is not None and due < end:
            out += self.feed(inp.AudioReached, sample=due)
        out += self.feed(inp.VoiceOff, sample=end)
        return out + self.silence(text)

    def silence(self, text: str = "hello") -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        while (due := self.session.state.audio_deadline) is not None:
            out += self.feed(inp.AudioReached, sample=due)
        return out + self.understood(text)

    def understood(self, text: str = "hello") -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        for job in self.session.asked(fx.Transcribe):
            out += self.feed(inp.Transcribed, job=job.job, text=text)
        return out


def types(events: list[dict[str, Any]]) -> list[str]:
    return [e["type"] for e in events]


def only(events: list[dict[str, Any]], type: str) -> dict[str, Any]:
    """The one event of a type."""
    found = [e for e in events if e["type"] == type]
    assert len(found) == 1, types(events)
    return found[0]


def error_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The error that is the whole answer."""
    assert types(events) == ["error"], types(events)
    body: dict[str, Any] = events[0]["error"]
    assert set(body) == {"type", "code", "message", "param", "event_id"}
    return body


__all__ = [
    "KEY",
    "CoreManager",
    "CoreSession",
    "MemoryPrompts",
    "MemorySecrets",
    "Rig",
    "error_of",
    "only",
    "replace",
    "types",
]
