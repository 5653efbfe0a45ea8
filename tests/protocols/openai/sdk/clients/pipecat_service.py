"""pipecat's own OpenAI realtime service in a pipeline: speech in, speech out."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from typing import Any

from common import CHUNK_SECONDS, speech, tell
from pipecat.frames.frames import (
    CancelFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService


class Ear(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.heard = 0
        self.stopped = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.heard += len(frame.audio)
        elif isinstance(frame, TTSTextFrame):
            tell(said=frame.text)
        elif isinstance(frame, TTSStoppedFrame):
            self.stopped.set()
        elif isinstance(frame, ErrorFrame):
            tell(problem=frame.error)
        await self.push_frame(frame, direction)


async def main() -> None:
    tell(version=importlib.metadata.version("pipecat-ai"))
    service = OpenAIRealtimeLLMService(
        api_key=os.environ["OPENAI_API_KEY"], base_url=os.environ["ANTIPHON_WS"] + "/realtime"
    )
    ear = Ear()
    service.add_event_handler("on_connection_error", lambda _, error: tell(problem=str(error)))
    task = PipelineTask(Pipeline([service, ear]), params=PipelineParams(audio_in_sample_rate=24_000))
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    context: Any = [{"role": "user", "content": "Hello."}]
    await task.queue_frames([LLMContextFrame(LLMContext(context))])
    await asyncio.wait_for(ear.stopped.wait(), 20)
    tell(greeted=ear.heard > 0)
    ear.stopped.clear()
    ear.heard = 0
    for chunk in speech(0.6, 1.0):
        await task.queue_frame(InputAudioRawFrame(audio=chunk, sample_rate=24_000, num_channels=1))
        await asyncio.sleep(CHUNK_SECONDS)
    await asyncio.wait_for(ear.stopped.wait(), 20)
    tell(answered=ear.heard > 0)
    await task.queue_frame(CancelFrame())
    await asyncio.wait_for(running, 10)


asyncio.run(main())
