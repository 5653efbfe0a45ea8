"""openai 1.66, whose ``beta.realtime`` speaks the old dialect: text, a tool, push to talk, an interruption, errors."""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Any

import openai
from common import speech, tell
from openai import AsyncOpenAI

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


async def main() -> None:
    tell(version=openai.__version__)
    client = AsyncOpenAI(websocket_base_url=os.environ["ANTIPHON_WS"])
    async with client.beta.realtime.connect(model="gpt-4o-realtime-preview") as connection:

        async def until(last: str) -> Any:
            while True:
                event = await connection.recv()
                if not event.type.endswith(".delta"):
                    tell(event=event.type)
                if event.type == last:
                    return event

        async def say(text: str) -> None:
            part: Any = {"type": "input_text", "text": text}
            await connection.conversation.item.create(item={"type": "message", "role": "user", "content": [part]})
            await connection.response.create()

        created = await until("session.created")
        tell(modalities=created.session.modalities, format=created.session.input_audio_format)
        tools: Any = [WEATHER]
        manual: Any = None
        await connection.session.update(
            session={
                "modalities": ["text"],
                "tools": tools,
                "turn_detection": manual,
                "input_audio_transcription": {"model": "whisper-1"},
            }
        )
        updated = await until("session.updated")
        tell(turn_detection=updated.session.turn_detection, tool=updated.session.tools[0].name)

        await say("What is the weather?")
        call = (await until("response.done")).response.output[0]
        tell(call=call.name, arguments=call.arguments)
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        await connection.conversation.item.create(item=output)
        await connection.response.create()
        tell(text=(await until("response.text.done")).text)
        tell(status=(await until("response.done")).response.status)

        for chunk in speech(0.5):
            await connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())
        await connection.input_audio_buffer.commit()
        await connection.response.create(response={"modalities": ["text", "audio"]})
        tell(heard=(await until("conversation.item.input_audio_transcription.completed")).transcript)
        first = await until("response.audio.delta")
        tell(bytes=len(base64.b64decode(first.delta)))
        await connection.response.cancel()
        done = (await until("response.done")).response
        tell(status=done.status, reason=done.status_details.reason)
        await connection.conversation.item.truncate(item_id=first.item_id, content_index=0, audio_end_ms=100)
        tell(truncated=(await until("conversation.item.truncated")).audio_end_ms)

        await connection.response.cancel(event_id="evt_late")
        error = (await until("error")).error
        tell(code=error.code, event_id=error.event_id)
        await connection.conversation.item.delete(item_id=first.item_id)
        await until("conversation.item.deleted")


asyncio.run(main())
