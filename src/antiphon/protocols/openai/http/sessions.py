"""Ephemeral keys (section 9): a backend makes one, a browser opens sessions with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request
from msgspec import Meta, Raw, Struct

from antiphon.platform.keys import Principal
from antiphon.protocols.openai.access import Kind, stored_session
from antiphon.protocols.openai.decoding import decode
from antiphon.protocols.openai.http.service import Service, json_body, refusing
from antiphon.protocols.openai.ids import new_id
from antiphon.protocols.openai.session_object import SessionObject, beta_view, ga_view

__all__ = ["session_routes"]

_BETA_SECONDS = 60.0


class _ExpiresAfter(Struct):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7200)] | None = None


class _SecretRequest(Struct):
    expires_after: _ExpiresAfter | None = None
    session: Raw = Raw(b'{"type":"realtime"}')


_REQUEST = msgspec.json.Decoder(_SecretRequest)


def session_routes(service: Service) -> APIRouter:
    """The three calls that make client secrets, one for GA, two for beta."""
    router = APIRouter(tags=["realtime"])
    settings = service.settings
    who = Depends(service.caller)

    async def make(
        request: Request, caller: Principal, kind: Kind, body: bytes, seconds: float
    ) -> tuple[SessionObject, dict[str, Any]]:
        with refusing():
            session = stored_session(kind, body, settings)
        stored = {"kind": kind, "session": msgspec.json.decode(body)}
        value, secret = await service.secrets(request).create(caller.project_id, stored, seconds)
        shown = {"value": value, "expires_at": int(secret.expires_at.timestamp())}
        return replace(session, id=new_id("sess")), shown

    @router.post(
        "/v1/realtime/client_secrets",
        openapi_extra=json_body({"expires_after": {"seconds": 600}, "session": {"type": "realtime"}}),
    )
    async def client_secrets(request: Request, caller: Principal = who) -> dict[str, Any]:
        """Make a key that opens sessions with the given configuration for a while (10 s to 2 h, 10 min by default)."""
        with refusing():
            wanted = decode(_REQUEST, await request.body() or b"{}")
        after = wanted.expires_after
        seconds = settings.secret_seconds if after is None or after.seconds is None else after.seconds
        session, secret = await make(request, caller, "ga", bytes(wanted.session), seconds)
        return {**secret, "session": ga_view(session, settings)}

    @router.post("/v1/realtime/sessions", openapi_extra=json_body({"modalities": ["text", "audio"]}))
    async def sessions(request: Request, caller: Principal = who) -> dict[str, Any]:
        """Make a key for a session in the beta dialect, good for a minute."""
        body = await request.body() or b"{}"
        session, secret = await make(request, caller, "beta", body, _BETA_SECONDS)
        return {**beta_view(session, settings), "client_secret": secret}

    @router.post("/v1/realtime/transcription_sessions", openapi_extra=json_body({}))
    async def transcription_sessions(request: Request, caller: Principal = who) -> dict[str, Any]:
        """Make a key for a transcription session in the beta dialect, good for a minute."""
        body = await request.body() or b"{}"
        session, secret = await make(request, caller, "beta_transcription", body, _BETA_SECONDS)
        return {**beta_view(session, settings), "client_secret": secret}

    return router
