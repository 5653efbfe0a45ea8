from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from antiphon.server.metrics import Metrics
from antiphon.server.observe import ObserveRequests


class Route:
    path = "/things/{thing}"


async def call(app: Any, scope: Scope, metrics: Metrics) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    await ObserveRequests(app, metrics)(scope, receive, send)
    return sent


def scope(kind: str = "http") -> Scope:
    return {"type": kind, "method": "GET", "path": "/things/7", "route": Route()}


async def test_a_stream_passes_piece_by_piece_with_an_id_on_its_head() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 206, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        await send({"type": "http.response.body", "body": b"2"})

    metrics = Metrics()
    sent = await call(app, scope(), metrics)
    assert [message.get("body") for message in sent] == [None, b"1", b"2"]
    headers = dict(sent[0]["headers"])
    assert headers[b"a"] == b"b"
    assert headers[b"x-request-id"].startswith(b"req_")
    line = 'antiphon_http_requests_total{method="GET",route="/things/{thing}",status="206"} 1.0'
    assert line in metrics.exposition().decode()


async def test_an_application_that_raises_counts_as_500() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise KeyError("bug")

    metrics = Metrics()
    with pytest.raises(KeyError):
        await call(app, scope(), metrics)
    assert 'status="500"} 1.0' in metrics.exposition().decode()


async def test_what_is_not_http_passes_untouched() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})

    metrics = Metrics()
    sent = await call(app, scope("lifespan"), metrics)
    assert sent == [{"type": "lifespan.startup.complete"}]
    assert "antiphon_http_requests_total{" not in metrics.exposition().decode()
