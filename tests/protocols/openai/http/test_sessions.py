"""Ephemeral keys: made with a session, opening sessions like it, for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from openai.types.realtime import ClientSecretCreateResponse

from antiphon.protocols.openai.settings import RealtimeSettings

from ..rig import MemorySecrets, Rig, types
from .app import application, client


async def post(path: str, secrets: MemorySecrets, body: Any = None, key: str | None = None) -> Any:
    async with client(application(secrets), **({} if key is None else {"key": key})) as http:
        return await http.post(path, json=body)


async def test_secret_opens_sessions_with_its_configuration() -> None:
    secrets = MemorySecrets()
    session = {"type": "realtime", "model": "gpt-x", "instructions": "Sing.", "audio": {"output": {"voice": "verse"}}}
    answer = await post("/v1/realtime/client_secrets", secrets, {"session": session})
    assert answer.status_code == 200
    made = answer.json()
    ClientSecretCreateResponse.model_validate_json(answer.content, strict=True)
    assert made["expires_at"] == secrets.now.timestamp() + 600
    assert made["session"]["audio"]["output"]["voice"] == "verse"
    for _ in range(2):
        rig = await Rig(secrets=secrets, headers={"authorization": f"Bearer {made['value']}"}).open()
        created = rig.take()[0]["session"]
        assert (created["instructions"], created["model"]) == ("Sing.", "gpt-x")
        assert rig.session.state.config.voice == "verse"
    updated = rig.send("session.update", session={"type": "realtime", "instructions": "Hum."})
    assert updated[0]["session"]["instructions"] == "Hum."


async def test_expired_secret_is_refused_on_the_open_socket() -> None:
    secrets = MemorySecrets()
    made = (await post("/v1/realtime/client_secrets", secrets, {"expires_after": {"seconds": 10}})).json()
    secrets.now += timedelta(seconds=11)
    rig = await Rig(
        secrets=secrets, headers={}, subprotocols=("realtime", f"openai-insecure-api-key.{made['value']}")
    ).open()
    assert types(rig.take()) == ["error"]
    assert (rig.wire.code, rig.wire.reason) == (3000, "invalid_request_error.invalid_api_key")


@pytest.mark.parametrize("seconds", [9, 7201, "ten"])
async def test_lifetime_is_bounded(seconds: object) -> None:
    answer = await post("/v1/realtime/client_secrets", MemorySecrets(), {"expires_after": {"seconds": seconds}})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "expires_after.seconds"


async def test_bad_session_is_named() -> None:
    session = {"type": "realtime", "audio": {"output": {"speed": 9}}}
    answer = await post("/v1/realtime/client_secrets", MemorySecrets(), {"session": session})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("decimal_above_max_value", "session.audio.output.speed")
    assert (await post("/v1/realtime/client_secrets", MemorySecrets(), [])).status_code == 400


async def test_key_is_needed() -> None:
    assert (await post("/v1/realtime/client_secrets", MemorySecrets(), {}, key="wrong")).status_code == 401


async def test_beta_sessions_nest_their_secret() -> None:
    secrets = MemorySecrets()
    body = {"model": "gpt-4o-realtime-preview", "voice": "verse"}
    answer = (await post("/v1/realtime/sessions", secrets, body)).json()
    assert answer["voice"] == "verse"
    assert answer["client_secret"]["expires_at"] == secrets.now.timestamp() + 60
    headers = {"authorization": f"Bearer {answer['client_secret']['value']}"}
    rig = await Rig(beta=True, secrets=secrets, headers=headers).open()
    assert rig.take()[0]["session"]["voice"] == "verse"


async def test_beta_transcription_sessions() -> None:
    secrets = MemorySecrets()
    answer = (await post("/v1/realtime/transcription_sessions", secrets)).json()
    assert answer["input_audio_transcription"]["model"] == RealtimeSettings().transcription_model
    headers = {"authorization": f"Bearer {answer['client_secret']['value']}"}
    rig = await Rig(beta=True, secrets=secrets, headers=headers).open()
    assert types(rig.take()) == ["transcription_session.created"]
    assert not rig.session.state.config.respond


async def test_secret_with_a_prompt_that_is_gone() -> None:
    secrets = MemorySecrets()
    body = {"session": {"type": "realtime", "prompt": {"id": "pmpt_gone"}}}
    made = (await post("/v1/realtime/client_secrets", secrets, body)).json()
    rig = await Rig(secrets=secrets, headers={"authorization": f"Bearer {made['value']}"}).open()
    assert rig.take()[0]["error"]["param"] == "session.prompt.id"
    assert (rig.wire.code, rig.wire.reason) == (4000, "invalid_request_error.invalid_value")
