"""The ``websockets`` package and nothing else: the protocol as a page of JSON."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from typing import Any

import websockets
from common import tell


async def main() -> None:
    tell(version=websockets.__version__)
    url = os.environ["ANTIPHON_WS"] + "/realtime?model=gpt-realtime"
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    async with websockets.connect(url, additional_headers=headers) as socket:

        async def send(type: str, **fields: Any) -> None:
            await socket.send(json.dumps({"type": type, **fields}))

        async def until(last: str) -> dict[str, Any]:
            while True:
                event: dict[str, Any] = json.loads(await socket.recv())
                if not event["type"].endswith(".delta"):
                    tell(event=event["type"])
                if event["type"] == last:
                    return event

        await until("session.created")
        await socket.send("this is not JSON")
        tell(error=(await until("error"))["error"]["type"])
        vad = {"type": "server_vad", "silence_duration_ms": 300}
        audio = {"input": {"format": {"type": "audio/pcmu"}, "turn_detection": vad}}
        await send("session.update", event_id="mine", session={"type": "realtime", "audio": audio})
        tell(format=(await until("session.updated"))["session"]["audio"]["input"]["format"]["type"])
        # G.711: sign and exponent of a loud tone, then its silence
        tone = [b"\x90" * 20 + b"\x10" * 20] * 100
        for chunk in (b"".join(tone), b"\xff" * 4000):
            await send("input_audio_buffer.append", audio=base64.b64encode(chunk).decode())
        delta = await until("response.output_audio.delta")
        await send("response.cancel", response_id=delta["response_id"])
        done = await until("response.done")
        tell(status=done["response"]["status"])
        await send("conversation.item.truncate", item_id=delta["item_id"], content_index=0, audio_end_ms=0)
        tell(truncated=(await until("conversation.item.truncated"))["audio_end_ms"])
        await send("conversation.item.retrieve", item_id=delta["item_id"], event_id="get")
        tell(retrieved=(await until("conversation.item.retrieved"))["item"]["role"])
        await send("conversation.item.retrieve", item_id="item_nowhere", event_id="nothing")
        tell(event_id=(await until("error"))["error"]["event_id"])
    tell(closed=socket.close_code)


asyncio.run(main())
