"""The REST routes in an application of their own, asked without a socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import httpx
from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse

from antiphon.engines.ports import Llm, Stt, Tts
from antiphon.engines.scripted import LlmScript, ScriptedLlm, ScriptedStt, ScriptedTts, SttScript, TtsScript
from antiphon.errors import ApiError
from antiphon.platform.keys import Principal
from antiphon.protocols.openai.http.routes import router
from antiphon.protocols.openai.http.service import Service
from antiphon.protocols.openai.settings import RealtimeSettings

from ..rig import KEY, MemorySecrets


@dataclass
class Engines:
    stt: Stt = field(default_factory=lambda: ScriptedStt(SttScript(default="hello there")))
    llm: Llm = field(default_factory=lambda: ScriptedLlm(LlmScript()))
    tts: Tts = field(default_factory=lambda: ScriptedTts(TtsScript()))


async def caller(authorization: Annotated[str, Header()] = "") -> Principal:
    if authorization != f"Bearer {KEY}":
        raise ApiError(401, "Incorrect API key provided: ***.", code="invalid_api_key")
    return Principal("proj_1", "key_1")


async def refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.status)


def application(secrets: MemorySecrets | None = None, engines: Engines | None = None) -> FastAPI:
    kept, made = secrets or MemorySecrets(), engines or Engines()
    service = Service(caller, lambda _: made, lambda _: kept, RealtimeSettings(models=("gpt-realtime",)))
    app = FastAPI()
    app.add_exception_handler(ApiError, refused)
    app.include_router(router(service))
    return app


def client(app: FastAPI, key: str = KEY) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://antiphon", headers=headers)
