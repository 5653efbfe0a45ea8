from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, Field

from antiphon.core.events import Failure, Interrupted, TurnMetrics
from antiphon.errors import ApiError, StoreError
from antiphon.runtime.manager import Statistics
from antiphon.server.app import EngineReadiness, Service, create_app
from antiphon.server.auth import Caller
from antiphon.server.metrics import Metrics
from antiphon.server.settings import DataSettings, ServerSettings, Settings


class Readiness:
    def __init__(self) -> None:
        self.engines: dict[str, EngineReadiness] = {"local.stt": {"ready": True, "detail": ""}}

    def readiness(self) -> Mapping[str, EngineReadiness]:
        return self.engines


class Body(BaseModel):
    speed: float = Field(ge=0.25, le=4)


def routes() -> APIRouter:
    router = APIRouter()

    @router.get("/whoami")
    async def whoami(caller: Caller) -> dict[str, str | None]:
        return {"project": caller.project_id, "key": caller.key_id}

    @router.post("/things/{thing}")
    async def things(thing: str, body: Body) -> dict[str, str]:
        return {"thing": thing}

    @router.get("/fails/{how}")
    async def fails(how: str) -> None:
        raise {
            "api": ApiError(429, "Slow down.", type="requests", code="rate_limit_exceeded", param="n"),
            "store": StoreError("the database /secret/place failed"),
            "bug": KeyError("private words"),
        }[how]

    return router


@asynccontextmanager
async def running(settings: Settings, *services: Service) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    app = create_app(settings, services=services, routers=[routes()])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield app, client


async def test_health_names_the_version(settings: Settings) -> None:
    async with running(settings) as (_, client):
        answer = await client.get("/healthz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "version": "0.1.0"}
    assert answer.headers["x-request-id"].startswith("req_")


async def test_readiness_follows_engines_database_and_drain(settings: Settings) -> None:
    readiness = Readiness()

    @asynccontextmanager
    async def service(app: FastAPI) -> AsyncIterator[None]:
        app.state.readiness = readiness
        yield

    async with running(settings, service) as (app, client):
        answer = await client.get("/readyz")
        assert answer.status_code == 200
        assert answer.json() == {
            "ready": True,
            "draining": False,
            "database": {"ready": True, "detail": ""},
            "engines": {"local.stt": {"ready": True, "detail": ""}},
        }
        readiness.engines["local.tts"] = {"ready": False, "detail": "loading"}
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["engines"]["local.tts"] == {"ready": False, "detail": "loading"}
        metrics = (await client.get("/metrics")).text
        assert 'antiphon_engine_ready{engine="local.stt"} 1.0' in metrics
        assert 'antiphon_engine_ready{engine="local.tts"} 0.0' in metrics
        del readiness.engines["local.tts"]
        app.state.draining = True
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["draining"]) == (503, True)
        app.state.draining = False

        async def broken() -> None:
            raise StoreError("gone: /secret/place")

        app.state.store.ping = broken
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert not answer.json()["database"]["ready"]
        assert "secret" not in answer.text


async def test_metrics_count_requests_by_route_and_sessions_when_asked(settings: Settings) -> None:
    class Manager:
        def statistics(self) -> Statistics:
            return Statistics(
                open=3,
                unwinding=0,
                opened=7,
                refused=1,
                ended={"closed": 2, "idle": 2},
                vad_frames=0,
                vad_batches=0,
                late_frames=5,
            )

    async with running(settings) as (app, client):
        app.state.sessions = Manager()
        for thing in ("a", "b"):
            await client.post(f"/things/{thing}", json={"speed": 1})
        await client.get("/nowhere")
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    line = 'antiphon_http_requests_total{method="POST",route="/things/{thing}",status="200"} 2.0'
    assert line in answer.text
    assert 'antiphon_http_requests_total{method="GET",route="other",status="404"} 1.0' in answer.text
    for figure in (
        "antiphon_sessions_active 3.0",
        "antiphon_sessions_opened_total 7.0",
        "antiphon_sessions_refused_total 1.0",
        'antiphon_sessions_ended_total{reason="idle"} 2.0',
        "antiphon_late_frames_total 5.0",
    ):
        assert figure in answer.text.splitlines()
    assert 'antiphon_build_info{version="0.1.0"} 1.0' in answer.text


async def test_two_apps_do_not_share_figures(settings: Settings) -> None:
    create_app(settings)
    async with running(settings) as (_, client):
        assert (await client.get("/metrics")).status_code == 200


async def test_the_first_start_makes_a_key_and_the_second_does_not(settings: Settings) -> None:
    async with running(settings) as (app, client):
        key = app.state.first_key
        answer = await client.get("/whoami", headers={"authorization": f"Bearer {key}"})
        assert answer.json()["project"] == "proj_default"
        assert (await client.get("/whoami", headers={"x-api-key": key})).json() == answer.json()
    async with running(settings) as (app, client):
        assert app.state.first_key is None
        assert (await client.get("/whoami", headers={"x-api-key": key})).status_code == 200


@pytest.mark.parametrize(
    ("headers", "code", "shown"),
    [
        ({}, "missing_api_key", "Authorization"),
        ({"authorization": "Bearer"}, "missing_api_key", "Authorization"),
        ({"authorization": "Basic eDp5"}, "missing_api_key", "Authorization"),
        ({"authorization": "Bearer sk-1234567890"}, "invalid_api_key", "sk-***"),
        ({"x-api-key": "ak_" + "x" * 43}, "invalid_api_key", "ak_xxxxx***"),
    ],
)
async def test_bad_keys_get_401_in_openai_shape(
    settings: Settings, headers: dict[str, str], code: str, shown: str
) -> None:
    async with running(settings) as (_, client):
        answer = await client.get("/whoami", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert shown in error["message"]


async def test_anonymous_callers_where_they_are_allowed(settings: Settings, tmp_path: Path) -> None:
    settings = Settings(server=ServerSettings(allow_anonymous=True), data=DataSettings(data_dir=tmp_path / "data"))
    async with running(settings) as (_, client):
        assert (await client.get("/whoami")).json() == {"project": "proj_default", "key": None}
        other = await client.get("/whoami", headers={"authorization": "Bearer not-needed"})
        assert other.status_code == 200
        ours = await client.get("/whoami", headers={"authorization": "Bearer ak_" + "x" * 43})
        assert ours.status_code == 401, "a key of ours that is not good stays refused"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/nowhere", None, 404, {"code": "unknown_url", "type": "invalid_request_error"}),
        ("GET", "/things/a", None, 405, {"code": "method_not_supported"}),
        ("POST", "/things/a", b"{", 400, {"code": "invalid_json"}),
        ("POST", "/things/a", b"{}", 400, {"code": "missing_required_parameter", "param": "speed"}),
        ("POST", "/things/a", b'{"speed": 9}', 400, {"code": "invalid_value", "param": "speed"}),
        (
            "GET",
            "/fails/api",
            None,
            429,
            {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded", "param": "n"},
        ),
        ("GET", "/fails/store", None, 503, {"type": "server_error"}),
        ("GET", "/fails/bug", None, 500, {"type": "server_error"}),
    ],
)
async def test_errors_have_openai_shape(
    settings: Settings, method: str, path: str, body: bytes | None, status: int, error: dict[str, Any]
) -> None:
    async with running(settings) as (_, client):
        answer = await client.request(method, path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    sent = answer.json()["error"]
    assert set(sent) == {"message", "type", "param", "code"}
    assert {name: sent[name] for name in error} == error
    assert sent["message"]
    assert "secret" not in answer.text
    assert "private" not in answer.text


async def test_services_start_in_order_and_end_in_reverse(settings: Settings) -> None:
    seen: list[str] = []

    def named(name: str) -> Service:
        @asynccontextmanager
        async def service(app: FastAPI) -> AsyncIterator[None]:
            assert app.state.store is not None
            seen.append(f"+{name}")
            yield
            seen.append(f"-{name}")

        return service

    async with running(settings, named("a"), named("b")):
        assert seen == ["+a", "+b"]
    assert seen == ["+a", "+b", "-b", "-a"]


def test_metrics_tell_latencies_and_failures_of_turns() -> None:
    metrics = Metrics()
    metrics.observe(TurnMetrics("resp_1", 0.5, None, 0.1, 0.1, 0.9))
    metrics.observe(Failure("tts", "no voice"))
    metrics.observe(Interrupted("resp_1", None, ""))
    text = metrics.exposition().decode()
    assert 'antiphon_turn_seconds_count{stage="voice_to_voice"} 1.0' in text
    assert 'stage="stt"' not in text
    assert 'antiphon_failures_total{stage="tts"} 1.0' in text
    assert "antiphon_interruptions_total 1.0" in text
