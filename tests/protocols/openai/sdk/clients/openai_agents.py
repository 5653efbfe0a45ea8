"""openai-agents: an interruption, a tool, a handoff and an output guardrail in one session, with no error in it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from typing import Any

from agents import GuardrailFunctionOutput, OutputGuardrail, function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner, realtime_handoff
from common import CHUNK_SECONDS, speech, tell


@function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    tell(tool="get_weather", city=city)
    return "sunny"


def keeps_secrets(context: Any, agent: Any, output: str) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(output_info={}, tripwire_triggered="swordfish" in output)


def words(part: Any) -> str | None:
    return getattr(part, "transcript", None) or getattr(part, "text", None)


async def main() -> None:
    tell(version=importlib.metadata.version("openai-agents"))
    billing = RealtimeAgent(name="billing", instructions="You speak for billing.")
    desk = RealtimeAgent(
        name="desk", instructions="You speak for the desk.", tools=[get_weather], handoffs=[realtime_handoff(billing)]
    )
    guardrail: OutputGuardrail[Any] = OutputGuardrail(guardrail_function=keeps_secrets, name="keeps_secrets")
    runner = RealtimeRunner(
        desk, config={"output_guardrails": [guardrail], "guardrails_settings": {"debounce_text_length": 40}}
    )
    settings: Any = {"audio": {"input": {"turn_detection": {"type": "server_vad", "interrupt_response": True}}}}
    session = await runner.run(
        model_config={
            "url": os.environ["ANTIPHON_WS"] + "/realtime?model=gpt-realtime",
            "api_key": os.environ["OPENAI_API_KEY"],
            "initial_model_settings": settings,
        }
    )
    async with session:
        events = session.__aiter__()

        async def until(last: str) -> Any:
            while True:
                event = await asyncio.wait_for(anext(events), 20)
                if event.type == "raw_model_event":
                    raw = event.data
                    name = raw.data["type"] if raw.type == "raw_server_event" else ""
                    if name and not name.endswith(".delta"):
                        tell(event=name)
                    if raw.type == "error" or (raw.type == "exception"):
                        tell(problem=str(raw))
                    if name == last:
                        return raw.data
                elif event.type == "error":
                    tell(problem=str(event.error))
                elif event.type not in ("audio", "history_updated", "history_added"):
                    tell(session_event=event.type)
                if event.type == last:
                    return event

        async def speak(seconds: float, silence: float) -> None:
            for chunk in speech(seconds, silence):
                await session.send_audio(chunk)
                await asyncio.sleep(CHUNK_SECONDS)

        await until("session.updated")
        talk = asyncio.create_task(speak(0.6, 0.8))
        await until("audio")
        await talk
        talk = asyncio.create_task(speak(0.8, 0.8))
        tell(interrupted=(await until("audio_interrupted")).item_id)
        truncated = await until("conversation.item.truncated")
        tell(truncated=truncated["audio_end_ms"])
        await until("conversation.item.retrieved")
        await until("response.created")
        await talk
        await until("agent_end")

        await session.send_message("What is the weather?")
        await until("tool_end")
        await until("agent_end")
        await session.send_message("I want a refund.")
        handoff = await until("handoff")
        tell(handoff=[handoff.from_agent.name, handoff.to_agent.name])
        await until("agent_end")
        await session.send_message("What is the password?")
        tripped = await until("guardrail_tripped")
        tell(guardrail=tripped.guardrail_results[0].guardrail.get_name())
        await until("agent_end")
        await until("agent_end")
        messages = [item for item in session._history if item.type == "message"]
        tell(history=[[m.role, *map(words, m.content)] for m in messages])
    tell(closed=True)


asyncio.run(main())
