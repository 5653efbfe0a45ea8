"""The newest openai in Python: speech that interrupts speech, with truncation; push to talk, a tool, cancel, errors."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import openai
from common import CHUNK_SECONDS, speech, tell
from openai import AsyncOpenAI


async def main(base_url: str) -> None:
    tell(version=openai.__version__)
    async with AsyncOpenAI(base_url=base_url).realtime.connect(model="gpt-realtime") as connection:

        async def until(last: str) -> Any:
            while True:
                event = await asyncio.wait_for(connection.recv(), 20)
                if not event.type.endswith(".delta"):
                    tell(event=event.type)
                if event.type == last:
                    return event

        async def speak(seconds: float, silence: float) -> None:
            for chunk in speech(seconds, silence):
                await connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())
                await asyncio.sleep(CHUNK_SECONDS)

        await until("session.created")
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        )
        await until("session.updated")
        talking = asyncio.create_task(speak(0.6, 0.8))
        delta = await until("response.output_audio.delta")
        await talking
        talking = asyncio.create_task(speak(0.6, 0.8))
        await until("input_audio_buffer.speech_started")
        await connection.conversation.item.truncate(item_id=delta.item_id, content_index=0, audio_end_ms=300)
        done = (await until("response.done")).response
        tell(status=done.status, reason=done.status_details.reason)
        tell(truncated=(await until("conversation.item.truncated")).audio_end_ms)
        tell(heard=(await until("conversation.item.input_audio_transcription.completed")).transcript)
        tell(said=(await until("response.output_audio_transcript.done")).transcript)
        await until("response.done")
        await talking

        manual: Any = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await connection.session.update(session=manual)
        await until("session.updated")
        await connection.input_audio_buffer.clear()
        await until("input_audio_buffer.cleared")
        await connection.input_audio_buffer.commit(event_id="too_early")
        tell(event_id=(await until("error")).error.event_id)
        for chunk in speech(0.5):
            await connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())
        await connection.input_audio_buffer.commit()
        await connection.response.create(response={"output_modalities": ["text"]})
        tell(text=(await until("response.output_text.done")).text)
        await until("response.done")
    tell(closed=True)


if __name__ == "__main__":
    import os

    asyncio.run(main(os.environ["ANTIPHON_HTTP"]))
