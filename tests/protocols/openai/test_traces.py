"""Conversations that real clients had, replayed: the client's frames as recorded, to a server in virtual time."""

from __future__ import annotations

import asyncio
import base64
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from antiphon.engines.scripted import ScriptedLlm, ScriptedStt, ScriptedTts, ScriptedTurn, ScriptedVad
from antiphon.engines.scripted.script import load_script
from antiphon.protocols.openai.routes import routes
from antiphon.protocols.openai.settings import RealtimeSettings
from antiphon.runtime.clock import run_virtual
from antiphon.runtime.engines import Engines
from antiphon.runtime.manager import SessionManager
from antiphon.transports.connection import Accept, Request

from .rig import KEY, Wire, authenticate

HERE = Path(__file__).parent
TRACES = sorted((HERE / "traces").glob("*.jsonl"))
LATEST = 10.0
"""Seconds (virtual) to wait for what a client had seen before it sent its next frame."""
_ID = re.compile(r'"((?:item|resp|call)_[0-9a-f]+)"')


def sound(described: str) -> str:
    """The audio that a trace only describes, as ``tone:4800``."""
    kind, size = described.split(":")
    t = np.arange(int(size) // 2) / 24_000
    pcm = (np.sin(2 * np.pi * 220 * t) * (12_000 if kind == "tone" else 0)).astype("<i2")
    return base64.b64encode(pcm.tobytes().ljust(int(size), b"\0")).decode()


def lasting(events: list[dict[str, Any]]) -> list[str]:
    """The types without those of which there may be more or fewer: pieces of streams."""
    return [e["type"] for e in events if not e["type"].endswith(".delta")]


def ids(events: list[dict[str, Any]]) -> list[str]:
    """Identifiers in the order in which they were first told."""
    return list(dict.fromkeys(_ID.findall(msgspec.json.encode(events).decode())))


async def replay(trace: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the server sent when the trace was recorded, and what it sends now."""
    handshake, *frames = [msgspec.json.decode(line) for line in trace.splitlines()]
    script = load_script(HERE / "sdk" / "script.toml")
    engines = Engines(
        ScriptedVad(), ScriptedTurn(), ScriptedStt(script.stt), ScriptedLlm(script.llm), ScriptedTts(script.tts)
    )
    manager = SessionManager(engines)
    headers = {name: value.replace("KEY", KEY) for name, value in handshake["headers"].items()}
    request = Request("/v1/realtime", {"model": "gpt-realtime"}, headers, tuple(handshake["subprotocols"]))
    accepted = routes(manager, authenticate, RealtimeSettings())["/v1/realtime"](request)
    assert isinstance(accepted, Accept)
    wire = Wire(request, beta="openai-beta" in headers or "openai-beta.realtime-v1" in request.subprotocols)
    accepted.endpoint.open(wire)
    recorded: list[dict[str, Any]] = []

    async def caught_up() -> None:
        wanted = Counter(lasting(recorded))
        while wanted - Counter(lasting(wire.sent)):
            wire.changed.clear()
            await wire.changed.wait()

    loop = asyncio.get_running_loop()
    began = loop.time()
    for frame in frames:
        if "server" in frame:
            recorded.append(frame["server"])
            continue
        await asyncio.sleep(max(0.0, began + frame["at"] - loop.time()))
        await asyncio.wait_for(caught_up(), LATEST)
        event = frame["client"]
        if isinstance(event, dict) and "audio" in event:
            event["audio"] = sound(event["audio"])
        data = event if isinstance(event, str) else msgspec.json.encode(event).decode()
        for then, now in zip(ids(recorded), ids(wire.sent), strict=False):
            data = data.replace(f'"{then}"', f'"{now}"')
        accepted.endpoint.text(data.encode())
    await asyncio.wait_for(caught_up(), LATEST)
    accepted.endpoint.closed(1000, "")
    await manager.close()
    return recorded, wire.sent


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_recorded_client_is_answered_as_it_was(path: Path) -> None:
    """Each event is held against the SDK's own types as it is sent (``Wire``); the order is the recorded one."""
    recorded, sent = run_virtual(replay(path.read_bytes()))
    assert Counter(lasting(sent)) == Counter(lasting(recorded))
    for kind in ("response.", "conversation.item.", "input_audio_buffer.", "error"):
        family = [n for n in lasting(sent) if n.startswith(kind)]
        assert family == [n for n in lasting(recorded) if n.startswith(kind)]


def test_there_are_traces_without_keys() -> None:
    assert len(TRACES) >= 9
    for path in TRACES:
        assert "ak_" not in path.read_text()
