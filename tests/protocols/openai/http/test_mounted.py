"""The routes in the real application: its keys, its store, its error shape."""

from __future__ import annotations

from pathlib import Path

import httpx

from antiphon.protocols.openai.http.routes import router
from antiphon.protocols.openai.http.service import Service
from antiphon.server.app import create_app
from antiphon.server.auth import require_principal
from antiphon.server.settings import DataSettings, Settings

from .app import Engines


async def test_secrets_and_refusals_in_the_application(tmp_path: Path) -> None:
    engines = Engines()
    service = Service(require_principal, lambda _: engines, lambda request: request.app.state.secrets)
    app = create_app(Settings(data=DataSettings(data_dir=tmp_path)), routers=[router(service)])
    async with app.router.lifespan_context(app):
        key = app.state.first_key
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://antiphon") as http:
            refused = await http.post("/v1/realtime/client_secrets", json={})
            assert refused.status_code == 401
            assert refused.json()["error"]["type"] == "invalid_request_error"
            http.headers["authorization"] = f"Bearer {key}"
            made = (await http.post("/v1/realtime/client_secrets", json={"session": {"type": "realtime"}})).json()
            secret = await app.state.secrets.redeem(made["value"])
            assert secret.session_config == {"kind": "ga", "session": {"type": "realtime"}}
            bad = await http.post("/v1/chat/completions", json={"messages": []})
            assert (bad.status_code, bad.json()["error"]["param"]) == (400, "messages")
            paths = (await http.get("/openapi.json")).json()["paths"]
    assert {"/v1/realtime/client_secrets", "/v1/audio/speech", "/v1/chat/completions"} <= set(paths)
