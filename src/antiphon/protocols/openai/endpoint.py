"""A WebSocket connection that speaks OpenAI Realtime: from its handshake to its last event."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any

from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.protocols.openai.access import Access, started
from antiphon.protocols.openai.channel import Channel
from antiphon.protocols.openai.errors import WireError, error_event
from antiphon.protocols.openai.handshake import Hello
from antiphon.protocols.openai.outbox import Outbox
from antiphon.protocols.openai.ports import Manager, Session
from antiphon.protocols.openai.settings import PromptStore, RealtimeSettings
from antiphon.runtime.manager import SessionLimitError
from antiphon.transports.connection import Connection

__all__ = ["RealtimeEndpoint"]

_log = logging.getLogger(__name__)

BAD_KEY = 3000
BAD_REQUEST = 4000
GOING_AWAY = 1001
TRY_LATER = 1013
BROKEN = 1011

_BACKLOG_BYTES = 32 * 1024 * 1024
"""What may wait while a key or a prompt is looked up."""

_CLOSE_CODES = {"idle": 1000, "vad_failed": BROKEN}
"""By the reason a session ended for; every other is the server going away."""


class RealtimeEndpoint:
    """One connection and its session.

    Args:
        hello: What the handshake said.
        manager: Opens sessions.
        access: Knows keys.
        settings: Defaults and limits.
        prompts: Stored prompts, or None.
    """

    def __init__(
        self,
        hello: Hello,
        manager: Manager,
        access: Access,
        settings: RealtimeSettings,
        prompts: PromptStore | None = None,
    ) -> None:
        self._hello = hello
        self._manager = manager
        self._access = access
        self._settings = settings
        self._prompts = prompts
        self._outbox: Outbox | None = None
        self._channel: Channel | None = None
        self._session: Session | None = None
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._over = False

    # --- transports.Endpoint ------------------------------------------------------------------------------------------

    def open(self, connection: Connection) -> None:
        """Greet the client, once its key was found good."""
        floor = self._settings.pacing_seconds if self._hello.dialect.beta else 0.0
        self._outbox = Outbox(connection, floor)
        self._wait(self._begin())

    def text(self, data: bytes) -> None:
        """Handle one client event; in order, so behind a lookup it waits."""
        if self._over:
            return
        if self._task is not None or self._channel is None:
            self._hold(data)
            return
        later = self._channel.handle(data)
        if later is not None:
            self._wait(later)

    def binary(self, data: bytes) -> None:
        """Refuse what the protocol does not know; the session goes on."""
        if self._outbox is not None and not self._over:
            message = f"Expected a JSON object in a text frame, got a binary frame of {len(data)} bytes."
            self._outbox.send(error_event(WireError("invalid_event", message)))

    def closed(self, code: int, reason: str) -> None:
        """End the session: the client is gone, and nothing may be left behind."""
        self._stop()
        if self._session is not None:
            self._session.do(inp.Close, reason="closed")
            self._session = None

    # --- the beginning ------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        hello = self._hello
        try:
            grant = await self._access.grant(hello.key)
        except WireError as error:
            self._fail(error, BAD_KEY, f"invalid_request_error.{error.code}")
            return
        if hello.call_id is not None:
            missing = WireError("call_not_found", f"There is no running call {hello.call_id!r}.", "call_id")
            self._fail(missing, BAD_REQUEST, "invalid_request_error.call_not_found")
            return
        try:
            session = started(grant, self._settings, hello.type, hello.model)
            prompt = None
            if session.prompt is not None and self._prompts is not None:
                prompt = await self._prompts.get(grant.project_id, session.prompt.id, session.prompt.version)
            if session.prompt is not None and prompt is None:
                raise WireError("invalid_value", f"There is no prompt {session.prompt.id!r}.", "session.prompt.id")
            assert self._outbox is not None
            channel = Channel(
                hello.dialect,
                self._settings,
                session,
                self._outbox,
                project_id=grant.project_id,
                prompts=self._prompts,
                prompt=prompt,
            )
            running = self._manager.open(channel.config(), self._observe, tools=channel.tools, tenant=grant.project_id)
        except WireError as error:
            self._fail(error, BAD_REQUEST, f"invalid_request_error.{error.code}")
            return
        except SessionLimitError as problem:
            # A limit or a drain: another try may help, so the close code is one that clients retry on.
            self._fail(
                WireError("session_limit_reached", str(problem), type="server_error"), TRY_LATER, "try again later"
            )
            return
        self._session = running
        channel.attach(running)
        self._channel = channel
        running.start()

    def _fail(self, error: WireError, code: int, reason: str) -> None:
        """Say why, then close."""
        assert self._outbox is not None
        self._outbox.send(error_event(error))
        self._over = True
        self._outbox.close(code, reason)

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _hold(self, data: bytes) -> None:
        self._backlog_bytes += len(data)
        if self._backlog_bytes > _BACKLOG_BYTES:
            message = f"Expected at most {_BACKLOG_BYTES} bytes before the session is ready."
            self._fail(WireError("invalid_event", message), 1008, "too much at once")
            return
        self._backlog.append(data)

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._waited)

    def _waited(self, task: asyncio.Task[None]) -> None:
        """Go on with what came meanwhile."""
        if task.cancelled():
            return
        self._task = None
        problem = task.exception()
        if problem is not None:
            _log.error("an OpenAI Realtime connection failed", exc_info=problem)
            error = WireError("server_error", "The server failed to look something up.", type="server_error")
            self._fail(error, BROKEN, "server_error")
        while self._backlog and self._task is None and not self._over:
            data = self._backlog.popleft()
            self._backlog_bytes -= len(data)
            self.text(data)

    # --- from the core ------------------------------------------------------------------------------------------------

    def _observe(self, event: ev.Event) -> None:
        if self._channel is None or self._over:
            return
        if isinstance(event, ev.Ended):
            self._ended(event.record)
            return
        self._channel.observe(event)

    def _ended(self, record: ev.Record) -> None:
        reason = record.reason
        assert self._outbox is not None
        self._session = None
        self._over = True
        if self._channel is not None:
            self._channel.close()
        if reason == "max_duration":
            message = f"Your session hit the maximum duration of {record.seconds / 60:.3g} minutes."
            self._outbox.send(error_event(WireError("session_expired", message)))
        elif reason == "draining":
            message = "The server is shutting down. Connect again to go on with another."
            self._outbox.send(error_event(WireError("server_shutting_down", message, type="server_error")))
        elif reason == "vad_failed":
            message = "The server cannot hear any more: its voice detector failed."
            self._outbox.send(error_event(WireError("server_error", message, type="server_error")))
        self._outbox.close(_CLOSE_CODES.get(reason, GOING_AWAY), reason)

    def _stop(self) -> None:
        self._over = True
        self._backlog.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._outbox is not None:
            self._outbox.stop()
        if self._channel is not None:
            self._channel.close()
