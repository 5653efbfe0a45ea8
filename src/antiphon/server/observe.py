"""Counts and times requests, and gives each an id: plain ASGI, so that streams pass untouched."""

from __future__ import annotations

import time
import uuid
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.server.metrics import Metrics

__all__ = ["ObserveRequests"]


class ObserveRequests:
    """ASGI middleware.

    Args:
        app: What it wraps.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        request_id = f"req_{uuid.uuid4().hex}".encode()

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", [])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            # The template, not the path: a path holds ids, and there are endlessly many.
            route: Any = scope.get("route")
            template = getattr(route, "path", "other")
            self._metrics.http_requests.labels(scope["method"], template, status).inc()
            self._metrics.http_seconds.labels(scope["method"], template).observe(time.perf_counter() - started)
