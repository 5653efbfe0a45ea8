"""livekit-agents' own OpenAI realtime plugin in an agent session without a room: a text turn with a tool."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from typing import Any

from common import tell
from livekit.agents import Agent, AgentSession, function_tool
from livekit.plugins import openai


class Desk(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="You speak for the desk.")

    @function_tool
    async def get_weather(self, city: str) -> str:
        """The weather of a city."""
        tell(tool="get_weather", city=city)
        return "sunny"


async def main() -> None:
    tell(version=importlib.metadata.version("livekit-plugins-openai"))
    model = openai.realtime.RealtimeModel(
        base_url=os.environ["ANTIPHON_HTTP"], api_key=os.environ["OPENAI_API_KEY"], modalities=["text"]
    )
    async with AgentSession[Any](llm=model) as session:
        session.on("error", lambda event: tell(problem=str(event.error)))
        await session.start(Desk())
        for text in ("What is the weather?", "Thank you."):
            run = session.run(user_input=text)
            await asyncio.wait_for(run, 20)
            messages = [event.item for event in run.events if event.type == "message"]
            tell(said=[message.text_content for message in messages if message.role == "assistant"])
    tell(closed=True)


asyncio.run(main())
