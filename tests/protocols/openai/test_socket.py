"""The stock SDK over a real socket, a real session and scripted engines."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import uvicorn
import websockets
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from antiphon.engines.scripted import (
    Call,
    LlmScript,
    Rule,
    ScriptedLlm,
    ScriptedStt,
    ScriptedTts,
    ScriptedTurn,
    ScriptedVad,
    SttScript,
    TtsScript,
)
from antiphon.protocols.openai.routes import routes
from antiphon.protocols.openai.settings import RealtimeSettings
from antiphon.runtime.engines import Engines
from antiphon.runtime.manager import SessionManager
from antiphon.transports.websocket import WebSocketSettings, websocket_protocol

from .rig import KEY, authenticate, types

RULES = (
    Rule(after_tool="weather", text="It is {output} there."),
    Rule(match="weather", calls=(Call("weather", {"city": "Paris"}),)),
    Rule(match="story", text=" ".join(["Once upon a time there was a very long story."] * 30)),
    Rule(text="You said {text}."),
)


def engines(text: str = "hello there") -> Engines:
    return Engines(
        vad=ScriptedVad(),
        turn=ScriptedTurn(),
        stt=ScriptedStt(SttScript(default=text)),
        llm=ScriptedLlm(LlmScript(rules=RULES)),
        tts=ScriptedTts(TtsScript()),
    )


@contextlib.asynccontextmanager
async def served(manager: SessionManager, **settings: Any) -> AsyncIterator[str]:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("no HTTP is expected here")

    table = routes(manager, authenticate, RealtimeSettings(**settings))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application, ws=websocket_protocol(table, WebSocketSettings()), lifespan="off", log_level="warning"
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        await task
        listener.close()
        await manager.close()


async def until(connection: AsyncRealtimeConnection, last: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != last:
        events.append((await connection.recv()).to_dict())
    return events


def tone(seconds: float) -> bytes:
    t = np.arange(round(seconds * 24_000)) / 24_000
    return (np.sin(2 * np.pi * 220 * t) * 12_000).astype("<i2").tobytes()


@pytest.fixture
def client() -> AsyncOpenAI:
    return AsyncOpenAI(api_key=KEY, base_url="http://127.0.0.1:1/v1")


async def test_text_turn_tool_and_error_over_the_sdk(client: AsyncOpenAI) -> None:
    manager = SessionManager(engines())
    async with served(manager) as url:
        sdk = client.with_options(websocket_base_url=url)
        async with sdk.realtime.connect(model="gpt-realtime") as connection:
            assert types(await until(connection, "session.created")) == ["session.created"]
            tool = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
            await connection.session.update(
                session={"type": "realtime", "output_modalities": ["text"], "tools": [tool]}  # type: ignore[list-item]
            )
            updated = (await until(connection, "session.updated"))[-1]
            assert updated["session"]["tools"][0]["name"] == "weather"
            await connection.conversation.item.create(
                item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "The weather?"}]}
            )
            await connection.response.create()
            done = (await until(connection, "response.done"))[-1]["response"]
            call = done["output"][0]
            assert (call["type"], call["name"], call["arguments"]) == ("function_call", "weather", '{"city":"Paris"}')
            await connection.conversation.item.create(
                item={"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
            )
            await connection.response.create()
            done = (await until(connection, "response.done"))[-1]["response"]
            assert done["output"][0]["content"][0]["text"] == "It is sunny there."
            await connection.response.cancel(event_id="late")
            error = (await until(connection, "error"))[-1]["error"]
            assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "late")
    assert manager.count == 0


async def test_speech_in_speech_out_and_interruption(client: AsyncOpenAI) -> None:
    manager = SessionManager(engines("tell me a story"))
    async with served(manager) as url:
        sdk = client.with_options(websocket_base_url=url)
        async with sdk.realtime.connect(model="gpt-realtime") as connection:
            await until(connection, "session.created")
            await send(connection, tone(1.0) + bytes(48_000))
            events = await until(connection, "response.output_audio.delta")
            names = types(events)
            order = [
                "input_audio_buffer.speech_started",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
                "conversation.item.added",
                "conversation.item.done",
                "response.created",
                "response.output_item.added",
            ]
            assert [n for n in names if n in order][: len(order)] == order
            assert len(base64.b64decode(events[-1]["delta"])) % 2 == 0
            await send(connection, tone(1.0))
            events = await until(connection, "response.done")
            assert "input_audio_buffer.speech_started" in types(events)
            done = events[-1]["response"]
            assert done["status_details"]["reason"] == "turn_detected"
            item_id = done["output"][0]["id"]
            await connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=200)
            assert (await until(connection, "conversation.item.truncated"))[-1]["audio_end_ms"] == 200
    assert manager.count == 0


async def send(connection: AsyncRealtimeConnection, audio: bytes) -> None:
    for start in range(0, len(audio), 4800):
        await connection.input_audio_buffer.append(audio=base64.b64encode(audio[start : start + 4800]).decode())


async def test_bad_key_is_upgraded_told_and_closed() -> None:
    manager = SessionManager(engines())
    async with served(manager) as url:
        headers = {"Authorization": "Bearer sk-wrong"}
        async with websockets.connect(f"{url}/realtime?model=x", additional_headers=headers) as ws:
            first = await ws.recv()
            assert "Incorrect API key provided" in str(first)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await ws.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 3000
        assert closed.value.rcvd.reason == "invalid_request_error.invalid_api_key"
    assert manager.count == 0


async def test_browser_handshake_gets_its_subprotocol_back_and_speaks_beta() -> None:
    manager = SessionManager(engines())
    async with served(manager) as url:
        offered = ["realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1"]
        subprotocols: Any = offered
        async with websockets.connect(f"{url}/realtime?model=x", subprotocols=subprotocols) as ws:
            assert ws.subprotocol == "realtime"
            assert '"modalities"' in str(await ws.recv())


async def test_the_beta_client_of_the_stock_sdk(client: AsyncOpenAI) -> None:
    manager = SessionManager(engines())
    async with served(manager) as url:
        sdk = client.with_options(websocket_base_url=url)
        async with sdk.beta.realtime.connect(model="gpt-4o-realtime-preview") as connection:
            events = [await connection.recv()]
            assert events[0].type == "session.created"
            await connection.session.update(session={"modalities": ["text", "audio"], "turn_detection": None})  # type: ignore[typeddict-item]
            for start in range(0, 48_000, 4800):
                audio = tone(1.0)[start : start + 4800]
                await connection.input_audio_buffer.append(audio=base64.b64encode(audio).decode())
            await connection.input_audio_buffer.commit()
            await connection.response.create()
            while events[-1].type != "response.done":
                events.append(await connection.recv())
    names = [event.type for event in events]
    assert "session.updated" in names
    assert names.count("conversation.item.created") == 2
    assert "response.audio.delta" in names
    assert names.index("response.audio_transcript.done") < names.index("response.content_part.done")
    words = "".join(event.delta for event in events if event.type == "response.audio_transcript.delta")
    assert words == "You said hello there."
    assert manager.count == 0


async def test_a_message_too_big_is_told_and_closes_but_too_much_audio_only_is_told() -> None:
    manager = SessionManager(engines())
    async with served(manager) as url:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with websockets.connect(f"{url}/realtime?model=x", additional_headers=headers, max_size=None) as ws:
            await ws.recv()
            audio = base64.b64encode(bytes(16 * 1024 * 1024)).decode()
            await ws.send(f'{{"type":"input_audio_buffer.append","event_id":"big","audio":"{audio}"}}')
            refused = json.loads(await ws.recv())["error"]
            assert (refused["code"], refused["event_id"]) == ("invalid_value", "big")
            await ws.send('{"type":"input_audio_buffer.clear"}')
            assert json.loads(await ws.recv())["type"] == "input_audio_buffer.cleared"
            with contextlib.suppress(websockets.ConnectionClosed):
                await ws.send("x" * 30_000_000)
            last = json.loads(await ws.recv())
            assert last["type"] == "error"
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await ws.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    assert manager.count == 0
