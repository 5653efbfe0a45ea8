"""A relay that writes down what passes between a client and the server, to make the fixtures in ``../traces``.

``ANTIPHON_RECORD_TRACES=1 pytest tests/protocols/openai/sdk`` records each test's connection anew. A trace is a file of
JSON lines: first the handshake, without its key; then each frame with its side and the seconds since the first. Audio
is described only: ``tone:4800`` stands for that many bytes that are not all the same, ``silence:4800`` for zeros.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websockets
from websockets.asyncio.server import ServerConnection

__all__ = ["TRACES", "recording"]

TRACES = Path(__file__).parents[1] / "traces"


@contextmanager
def recording(name: str, upstream: str, tls: tuple[Path, Path] | None) -> Iterator[str]:
    """Relay to the plain server at `upstream` (host and port), and write the trace `name` at the end.

    Args:
        name: The trace's name.
        upstream: Where the server is, without TLS.
        tls: Certificate and key with which the client is met, if it wants TLS.

    Yields:
        Host and port to connect to.
    """
    relay = _Relay(upstream, tls)
    thread = threading.Thread(target=lambda: asyncio.run(relay.run()))
    thread.start()
    relay.ready.wait(10)
    try:
        yield relay.address
    finally:
        relay.loop.call_soon_threadsafe(relay.over.set)
        thread.join()
    lines = [json.dumps(line, separators=(",", ":")) for line in relay.lines]
    (TRACES / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


class _Relay:
    def __init__(self, upstream: str, tls: tuple[Path, Path] | None) -> None:
        self._upstream = upstream
        self._tls = tls
        self._began = 0.0
        self.lines: list[dict[str, Any]] = []
        self.ready = threading.Event()
        self.address = ""
        self.loop: asyncio.AbstractEventLoop
        self.over: asyncio.Event

    async def run(self) -> None:
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        context = None
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
        realtime = websockets.Subprotocol("realtime")
        async with websockets.serve(
            self._relay,
            "127.0.0.1",
            0,
            ssl=context,
            select_subprotocol=lambda _, offered: realtime if realtime in offered else None,
            max_size=None,
        ) as server:
            self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self.ready.set()
            await self.over.wait()

    async def _relay(self, client: ServerConnection) -> None:
        request = client.request
        assert request is not None
        protocols = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
        passed = {n: v for n, v in request.headers.raw_items() if n.lower() in ("authorization", "openai-beta")}
        self.lines.append(
            {
                "path": request.path,
                "headers": {n.lower(): "Bearer KEY" if n.lower() == "authorization" else v for n, v in passed.items()},
                "subprotocols": ["openai-insecure-api-key.KEY" if "api-key" in p else p for p in protocols],
            }
        )
        self._began = time.monotonic()
        offered = [websockets.Subprotocol(p) for p in protocols]
        async with websockets.connect(
            f"ws://{self._upstream}{request.path}",
            additional_headers=passed,
            subprotocols=offered or None,
            max_size=None,
        ) as server:
            down = asyncio.create_task(self._copy("server", server, client))
            await self._copy("client", client, server)
            down.cancel()
            await asyncio.wait({down})

    async def _copy(self, side: str, source: Any, target: Any) -> None:
        try:
            async for frame in source:
                at = round(time.monotonic() - self._began, 3)
                self.lines.append({"at": at, side: _shortened(frame)})
                await target.send(frame)
        except websockets.ConnectionClosed:
            return


def _shortened(frame: str) -> Any:
    try:
        event = json.loads(frame)
    except ValueError:
        return frame
    if "audio" in event:
        event["audio"] = _described(event["audio"])
    if "audio.delta" in event["type"]:
        event["delta"] = _described(event["delta"])
    for part in event.get("item", {}).get("content", ()):
        if part.get("audio"):
            part["audio"] = _described(part["audio"])
    return event


def _described(audio: str) -> str:
    data = base64.b64decode(audio)
    return f"{'tone' if len(set(data)) > 1 else 'silence'}:{len(data)}"
