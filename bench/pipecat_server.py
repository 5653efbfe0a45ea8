"""pipecat's voice pipeline behind its own FastAPI WebSocket transport; run with a Python that has pipecat-ai.

    PYTHON bench/pipecat_server.py PORT

Stub STT, LLM and TTS that answer at once; real Silero VAD; end of turn 600 ms after speech (VAD stop 0.2 s, time-out
0.4 s). Prints ``ready`` when it listens.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.utils.time import time_now_iso8601
from pipecat.workers.runner import WorkerRunner

INPUT_RATE, OUTPUT_RATE = 16000, 24000
ANSWER = [f"word{number} " for number in range(19)] + ["end."]
TONE = (np.sin(np.arange(2 * OUTPUT_RATE) * 0.06) * 8000).astype(np.int16).tobytes()
_NO_LLM = dict.fromkeys(
    ("model", "system_instruction", "temperature", "max_tokens", "top_p", "top_k", "frequency_penalty"), None
) | dict.fromkeys(("presence_penalty", "seed", "user_turn_completion_config"), None)


class InstantStt(SegmentedSTTService):
    def __init__(self) -> None:
        super().__init__(settings=STTSettings(model=None, language=None), ttfs_p99_latency=0.2)

    async def run_stt(self, audio: bytes) -> AsyncIterator[Frame]:
        yield TranscriptionFrame("hello there agent", "", time_now_iso8601())


class InstantLlm(LLMService):
    def __init__(self) -> None:
        super().__init__(settings=LLMSettings(**_NO_LLM, filter_incomplete_user_turns=False))

    async def process_frame(self, frame: Frame, direction: Any) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        for word in ANSWER:
            await self.push_frame(LLMTextFrame(word))
        await self.push_frame(LLMFullResponseEndFrame())


class InstantTts(TTSService):
    def __init__(self) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            sample_rate=OUTPUT_RATE,
            settings=TTSSettings(model=None, voice=None, language=None),
        )

    async def run_tts(self, text: str, context_id: str) -> AsyncIterator[Frame]:
        piece = OUTPUT_RATE * 2 // 5
        for at in range(0, len(TONE), piece):
            yield TTSAudioRawFrame(TONE[at : at + piece], OUTPUT_RATE, 1, context_id=context_id)


def pipeline(transport: FastAPIWebsocketTransport) -> PipelineWorker:
    """One call's pipeline; ``min_volume`` 0 leaves the decision to the VAD alone, as ours does."""
    vad = SileroVADAnalyzer(params=VADParams(start_secs=0.2, stop_secs=0.2, min_volume=0))
    strategies = UserTurnStrategies(
        start=[VADUserTurnStartStrategy()], stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.4)]
    )
    aggregators = LLMContextAggregatorPair(
        LLMContext([{"role": "system", "content": "You are a voice agent."}]),
        user_params=LLMUserAggregatorParams(vad_analyzer=vad, user_turn_strategies=strategies),
    )
    stages = [
        transport.input(),
        InstantStt(),
        aggregators.user(),
        InstantLlm(),
        InstantTts(),
        transport.output(),
        aggregators.assistant(),
    ]
    params = PipelineParams(audio_in_sample_rate=INPUT_RATE, audio_out_sample_rate=OUTPUT_RATE)
    return PipelineWorker(Pipeline(stages), params=params, idle_timeout_secs=None)


app = FastAPI()


@app.websocket("/ws")
async def call(socket: WebSocket) -> None:
    await socket.accept()
    params = FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=ProtobufFrameSerializer())
    transport = FastAPIWebsocketTransport(socket, params)
    worker = pipeline(transport)

    @transport.event_handler("on_client_disconnected")
    async def gone(transport: FastAPIWebsocketTransport, client: WebSocket) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


class Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        print("ready", flush=True)


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    Server(uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")).run()
