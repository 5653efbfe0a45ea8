"""The application: what lives as long as the server does, and the routes that belong to no protocol."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Protocol, TypedDict

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from antiphon import __version__
from antiphon.errors import StoreError
from antiphon.platform.keys import ServiceKeys
from antiphon.platform.secrets import ClientSecrets
from antiphon.platform.store import Store
from antiphon.server.auth import Authenticator
from antiphon.server.errors import install_error_handlers
from antiphon.server.metrics import CONTENT_TYPE, Metrics, SessionFigures
from antiphon.server.observe import ObserveRequests
from antiphon.server.settings import Settings

__all__ = ["EngineReadiness", "Readiness", "Service", "Sessions", "create_app"]

_log = logging.getLogger(__name__)


class EngineReadiness(TypedDict):
    """Whether one engine is warm, and what it is doing if not."""

    ready: bool
    detail: str


class Readiness(Protocol):
    """Tells which engines are warm; ``app.state.readiness``."""

    def readiness(self) -> Mapping[str, EngineReadiness]:
        """One entry an engine, by its name. Called on the event loop; must not wait."""
        ...


class Sessions(Protocol):
    """What the server needs of the session manager; ``app.state.sessions``."""

    @property
    def count(self) -> int:
        """How many sessions run now."""
        ...

    def statistics(self) -> SessionFigures:
        """Counts since the process began."""
        ...

    async def drain(self, seconds: float) -> None:
        """Refuse new sessions and return when the running ones have ended.

        Sessions that still run after `seconds` are told and ended.
        """
        ...


Service = Callable[[FastAPI], AbstractAsyncContextManager[None]]
"""Something that lives as long as the server: entered at start with the store open and ``app.state``
filled, left, in reverse order, at the end. It may set ``app.state.readiness`` and ``app.state.sessions``."""


def create_app(settings: Settings, *, services: Sequence[Service] = (), routers: Iterable[APIRouter] = ()) -> FastAPI:
    """Compose the application.

    Args:
        settings: All settings.
        services: What to start with the server, in this order.
        routers: The protocols' routes.

    Returns:
        The application. While it runs, ``app.state`` holds ``settings``, ``store``, ``keys``, ``secrets``,
        ``auth``, ``metrics``, ``draining``, ``first_key`` (the key made at the very first start, or None),
        ``sessions`` (None or :class:`Sessions`) and ``readiness`` (None or :class:`Readiness`).
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(await Store.open(settings.data.resolved_database_url))
            app.state.store = store
            app.state.keys = keys = ServiceKeys(store)
            app.state.secrets = secrets = ClientSecrets(store)
            app.state.auth = Authenticator(keys, secrets, allow_anonymous=settings.server.allow_anonymous)
            app.state.first_key = await keys.create_first()
            await stack.enter_async_context(_running(keys.watch(), "service keys"))
            for service in services:
                await stack.enter_async_context(service(app))
            yield

    app = FastAPI(
        title="Antiphon",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from elsewhere; the description itself is at /openapi.json
        redoc_url=None,
    )
    metrics = Metrics()
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.draining = False
    app.state.sessions = None
    app.state.readiness = None
    metrics.watch_sessions(lambda: None if app.state.sessions is None else app.state.sessions.statistics())
    app.add_middleware(ObserveRequests, metrics=metrics)
    install_error_handlers(app)
    app.include_router(_operations())
    for router in routers:
        app.include_router(router)
    return app


@asynccontextmanager
async def _running(work: Any, name: str) -> AsyncIterator[None]:
    """Run a coroutine beside the block, and end it with the block."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _operations() -> APIRouter:
    """Routes for whoever runs the server: health, readiness, figures. They need no key and tell no secret."""
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @router.get("/readyz")
    async def readyz(request: Request) -> JSONResponse:
        state = request.app.state
        engines = state.readiness.readiness() if state.readiness is not None else {}
        database = await _database(state.store)
        ready = not state.draining and database["ready"] and all(one["ready"] for one in engines.values())
        body = {"ready": ready, "draining": state.draining, "database": database, "engines": dict(engines)}
        return JSONResponse(body, 200 if ready else 503)

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        state = request.app.state
        if state.readiness is not None:
            for name, engine in state.readiness.readiness().items():
                state.metrics.engine_ready.labels(name).set(engine["ready"])
        return Response(state.metrics.exposition(), media_type=CONTENT_TYPE)

    return router


async def _database(store: Store) -> EngineReadiness:
    try:
        await store.ping()
    except StoreError as error:
        _log.error("the database is not ready: %s", error)
        return {"ready": False, "detail": "does not answer; the server's log says why"}
    return {"ready": True, "detail": ""}
