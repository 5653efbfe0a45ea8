"""All sessions of a process: who may open one, what they share, and how they are told to go."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from antiphon.core.config import Config
from antiphon.errors import AntiphonError
from antiphon.runtime.engines import Engines
from antiphon.runtime.playout import Pacer, Speaker
from antiphon.runtime.session import Observer, Session, SessionOwner, Shared
from antiphon.runtime.stall import StallWatch
from antiphon.runtime.tools import ToolFunction
from antiphon.runtime.vad import VadBatcher

__all__ = ["Limits", "SessionLimitError", "SessionManager", "Statistics"]

_log = logging.getLogger(__name__)


class SessionLimitError(AntiphonError):
    """No further session may be opened now.

    Attributes:
        code: "sessions" (the process is full), "tenant" (this tenant's share is), or "draining".
    """

    def __init__(self, code: Literal["sessions", "tenant", "draining"], message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on sessions; a session's configuration may only be tighter."""

    sessions: int = 200
    """Sessions at once in this process."""
    sessions_per_tenant: int | None = None
    session_seconds: float = 3600.0
    """Longest a session may last."""
    idle_seconds: float | None = None
    """Seconds without speech, text or answer after which a session is ended."""
    retain_seconds: float = 8.0
    """Seconds of audio that stay retrievable after they were used."""

    def admit(self, config: Config) -> Config:
        """``config`` within these bounds."""
        longest = self.session_seconds if config.max_seconds is None else min(config.max_seconds, self.session_seconds)
        idle = [s for s in (config.idle_close, self.idle_seconds) if s is not None]
        if longest == config.max_seconds and min(idle, default=None) == config.idle_close:
            return config
        return replace(config, max_seconds=longest, idle_close=min(idle, default=None))


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the process began, but for ``open`` and ``unwinding``, which are of now."""

    open: int
    unwinding: int
    """Ended sessions with a job that has not ended yet."""
    opened: int
    refused: int
    ended: Mapping[str, int]
    """Ended sessions by reason."""
    vad_frames: int
    vad_batches: int
    late_frames: int
    """Playout frames skipped because the loop was held up."""


class SessionManager(SessionOwner):
    """Opens sessions within limits and keeps track of them. One per process and loop."""

    def __init__(self, engines: Engines, limits: Limits | None = None, watch: Observer | None = None) -> None:
        """``watch`` sees every event of every session: for figures, never for words."""
        self.engines = engines
        self._watch = watch
        self.limits = limits or Limits()
        self._shared = Shared(engines, VadBatcher(engines.vad), Pacer(), StallWatch(), self.limits.retain_seconds)
        self._open: dict[str, Session] = {}
        self._tenants: Counter[str] = Counter()
        self._unwinding: set[Session] = set()
        self._ended: Counter[str] = Counter()
        self._opened = 0
        self._refused = 0
        self._draining = False
        self._changed: asyncio.Event | None = None

    @property
    def count(self) -> int:
        """Sessions that are open."""
        return len(self._open)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The open sessions, oldest first."""
        return tuple(self._open.values())

    def get(self, session_id: str) -> Session | None:
        """The open session of that id."""
        return self._open.get(session_id)

    def open(
        self,
        config: Config,
        observer: Observer,
        *,
        seed: str | None = None,
        tools: Mapping[str, ToolFunction] | None = None,
        speaker: Speaker | None = None,
        tenant: str = "",
        record: bool = False,
    ) -> Session:
        """Open a session. Its first events reach ``observer`` in ``session.start()``, which the caller calls next.

        Args:
            config: clamped to the manager's limits.
            observer: called synchronously with every event.
            seed: makes the session's ids, 8 to 20 letters or digits, unused; None makes one up.
            tools: the functions behind server-run tools, by name (``label/name`` for an MCP server's).
            speaker: where the agent's voice goes when playout is the server's.
            tenant: whose session it is, for limits.
            record: keep the inputs, and everything said in them, in ``session.recording``.

        Raises:
            SessionLimitError: the process or the tenant is full, or the process is draining.
        """
        self._check(tenant)
        session = Session(
            seed or secrets.token_hex(8),
            config,
            self._shared,
            tools=tools,
            speaker=speaker,
            owner=self,
            admit=self.limits.admit,
            tenant=tenant,
            record=record,
        )
        if session.id in self._open:
            raise ValueError(f"the seed {session.id!r} is in use by an open session")
        session.subscribe(observer)
        if self._watch is not None:
            session.subscribe(self._watch)
        self._open[session.id] = session
        self._tenants[tenant] += 1
        self._opened += 1
        return session

    def _check(self, tenant: str) -> None:
        problem: SessionLimitError | None = None
        share = self.limits.sessions_per_tenant
        if self._draining:
            problem = SessionLimitError("draining", "the server is shutting down and takes no new sessions")
        elif len(self._open) >= self.limits.sessions:
            problem = SessionLimitError(
                "sessions", f"the server is full: all of its {self.limits.sessions} sessions are in use"
            )
        elif share is not None and self._tenants[tenant] >= share:
            problem = SessionLimitError("tenant", f"all of your {share} sessions are in use")
        if problem is not None:
            self._refused += 1
            raise problem

    def statistics(self) -> Statistics:
        """The figures of now."""
        vad, pacer = self._shared.vad, self._shared.pacer
        return Statistics(
            open=len(self._open),
            unwinding=len(self._unwinding),
            opened=self._opened,
            refused=self._refused,
            ended=dict(self._ended),
            vad_frames=vad.frames,
            vad_batches=vad.batches,
            late_frames=pacer.late,
        )

    async def drain(self, seconds: float) -> None:
        """Refuse new sessions, let the running ones finish for ``seconds``, then end them (reason "draining")."""
        self._draining = True
        self._changed = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                while self._open or self._unwinding:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            _log.info("%d sessions did not finish within %g s", len(self._open), seconds)
        await self._close_sessions("draining")

    async def close(self) -> None:
        """End all sessions at once and stop what they share. The engines stay open: they are the caller's."""
        self._draining = True
        await self._close_sessions("closed")
        self._shared.vad.close()
        self._shared.pacer.close()
        self._shared.stalls.close()

    async def _close_sessions(self, reason: str) -> None:
        await asyncio.gather(*(session.close(reason) for session in self.sessions))
        await asyncio.gather(*(session.wait_closed() for session in tuple(self._unwinding)))

    # --- SessionOwner -------------------------------------------------------------------------------------------------

    def ended(self, session: Session) -> None:
        """See :class:`SessionOwner`."""
        del self._open[session.id]
        self._tenants[session.tenant] -= 1
        if not self._tenants[session.tenant]:
            del self._tenants[session.tenant]
        self._unwinding.add(session)
        self._ended[session.record.reason if session.record else "unknown"] += 1
        if self._changed is not None:
            self._changed.set()

    def gone(self, session: Session) -> None:
        """See :class:`SessionOwner`."""
        self._unwinding.discard(session)
        if self._changed is not None:
            self._changed.set()
