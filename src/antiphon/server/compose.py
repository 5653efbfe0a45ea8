"""What the server is made of: which services start with it and which protocols it speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from fastapi import FastAPI

from antiphon.engines.registry import EngineSet, build
from antiphon.platform.prompts import Prompts
from antiphon.protocols.openai.http.routes import router
from antiphon.protocols.openai.http.service import Service
from antiphon.protocols.openai.routes import routes
from antiphon.protocols.openai.session_wire import TurnDetection
from antiphon.protocols.openai.settings import RealtimeSettings, StoredPrompt
from antiphon.runtime.engines import Engines
from antiphon.runtime.manager import Limits, SessionManager
from antiphon.server.app import EngineReadiness, create_app
from antiphon.server.auth import require_principal
from antiphon.server.settings import Settings, TurnSettings
from antiphon.transports.connection import Factory
from antiphon.transports.websocket import WebSocketSettings, websocket_protocol

__all__ = ["Composition", "StoredPrompts", "compose"]


@dataclass(frozen=True, slots=True)
class Composition:
    """A server, ready to run.

    Attributes:
        app: The application.
        ws_protocol: What takes a connection over that asks for a WebSocket.
    """

    app: FastAPI
    ws_protocol: type[asyncio.Protocol]


def compose(settings: Settings) -> Composition:
    """Put the server together; nothing starts before the application does."""
    realtime = realtime_settings(settings)
    table: dict[str, Factory] = {}  # filled once the services run; the transport reads it at each handshake

    @asynccontextmanager
    async def conversations(app: FastAPI) -> AsyncIterator[None]:
        """Engines, sessions, and the protocols that open them."""
        engines = build(settings.engines, settings.data.models_dir, ears=settings.engines.ears)
        app.state.engines = Engines(engines.vad, engines.turn, engines.stt, engines.llm, engines.tts)
        app.state.sessions = manager = SessionManager(app.state.engines, _limits(settings), app.state.metrics.observe)
        app.state.readiness = _Readiness(engines)
        auth, secrets = app.state.auth, app.state.secrets
        prompts = StoredPrompts(Prompts(app.state.store))
        table.update(routes(manager, auth.principal, realtime, secrets=secrets, prompts=prompts))
        warming = asyncio.create_task(engines.keep_warming(), name="engines warm up")
        try:
            yield
        finally:
            warming.cancel()
            with suppress(asyncio.CancelledError):
                await warming
            await manager.close()
            await engines.close()

    rest = Service(
        caller=require_principal,
        engines=lambda request: request.app.state.engines,
        secrets=lambda request: request.app.state.secrets,
        settings=realtime,
    )
    app = create_app(settings, services=[conversations], routers=[router(rest)])
    limits = WebSocketSettings(
        max_message_bytes=settings.limits.max_message_bytes, dropped=app.state.metrics.audio_dropped.inc
    )
    return Composition(app, websocket_protocol(table, limits))


def _limits(settings: Settings) -> Limits:
    limits = settings.limits
    return Limits(
        sessions=limits.max_sessions, session_seconds=limits.session_seconds, idle_seconds=limits.idle_seconds
    )


def realtime_settings(settings: Settings) -> RealtimeSettings:
    """What the operator's settings mean for OpenAI sessions."""
    return RealtimeSettings(
        turn_detection=_turn_detection(settings.turn),
        speculate_seconds=settings.turn.speculation_ms / 1000,
        max_seconds=settings.limits.session_seconds,
        idle_close_seconds=settings.limits.idle_seconds,
        ahead_seconds=settings.limits.audio_ahead_seconds,
        allow_private_addresses=settings.server.allow_private_addresses,
    )


def _turn_detection(turn: TurnSettings) -> TurnDetection | None:
    if turn.detection == "none":
        return None
    return TurnDetection(
        type=turn.detection,
        threshold=turn.threshold,
        prefix_padding_ms=turn.prefix_padding_ms,
        silence_duration_ms=turn.silence_duration_ms,
        eagerness=turn.eagerness,
        create_response=True,
        interrupt_response=turn.interrupt_response,
    )


@dataclass(frozen=True, slots=True)
class StoredPrompts:
    """The platform's prompts as OpenAI sessions name them."""

    kept: Prompts

    async def get(self, project_id: str, prompt_id: str, version: str | None) -> StoredPrompt | None:
        found = await self.kept.get(project_id, prompt_id, version)
        return None if found is None else StoredPrompt(found.id, found.version, found.instructions, found.voice)


@dataclass(frozen=True, slots=True)
class _Readiness:
    """The engines' states as ``/readyz`` shows them: a role is ready when one of its engines is warm."""

    engines: EngineSet

    def readiness(self) -> Mapping[str, EngineReadiness]:
        return {
            role: {
                "ready": "warm" in states.values(),
                "detail": ", ".join(f"{name}: {state}" for name, state in states.items()),
            }
            for role, states in self.engines.readiness().items()
        }
