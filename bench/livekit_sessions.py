"""livekit-agents' AgentSession with audio in memory; run with a Python that has livekit-agents.

    PYTHON bench/livekit_sessions.py STIMULUS.npy SESSIONS CYCLES

It has no WebSocket of its own, so its figures leave out what a transport costs and include the feeder (below 0.001 CPU
seconds a session second). Stub STT, LLM and TTS that answer at once; its bundled Silero VAD; end of turn 500 ms after
speech. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import numpy as np
from livekit import rtc
from livekit.agents import Agent, AgentSession, llm, stt, tts, utils
from livekit.agents.voice import io
from livekit.plugins import silero

from figures import Feeder, Log, analyse, cpu_seconds, now, resident_mb
from stimulus import CHUNK, CYCLE, chunks

INPUT_RATE, OUTPUT_RATE = 16000, 24000
ANSWER = [f"word{number} " for number in range(19)] + ["end."]
TONE = (np.sin(np.arange(2 * OUTPUT_RATE) * 0.06) * 8000).astype(np.int16).tobytes()


class InstantStt(stt.STT):
    """Tells its final transcript 200 ms after speech ended, as a streaming recogniser does."""

    def __init__(self, log: Log) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))
        self.log = log

    async def _recognize_impl(self, buffer: Any, *, language: Any, conn_options: Any) -> Any:
        raise NotImplementedError("it streams")

    def stream(self, *, language: Any = None, conn_options: Any = None) -> stt.RecognizeStream:
        return _SttStream(stt=self, conn_options=conn_options, sample_rate=INPUT_RATE)


class _SttStream(stt.RecognizeStream):
    async def _run(self) -> None:
        log, told, behind = self._stt.log, 0, 0
        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame) or len(log.ends) == told:
                continue
            behind += 1
            if behind == 10:
                told, behind = len(log.ends), 0
                words = stt.SpeechData(language="en", text="hello there agent")
                event = stt.SpeechEvent(type=stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[words])
                self._event_ch.send_nowait(event)


class InstantLlm(llm.LLM):
    def chat(self, *, chat_ctx: Any, tools: Any = None, conn_options: Any = None, **_: Any) -> llm.LLMStream:
        return _LlmStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _LlmStream(llm.LLMStream):
    async def _run(self) -> None:
        for word in ANSWER:
            delta = llm.ChoiceDelta(role="assistant", content=word)
            self._event_ch.send_nowait(llm.ChatChunk(id="answer", delta=delta))


class InstantTts(tts.TTS):
    def __init__(self) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=True), sample_rate=OUTPUT_RATE, num_channels=1)

    def synthesize(self, text: str, *, conn_options: Any = None) -> Any:
        raise NotImplementedError("it streams")

    def stream(self, *, conn_options: Any = None) -> tts.SynthesizeStream:
        return _TtsStream(tts=self, conn_options=conn_options)


class _TtsStream(tts.SynthesizeStream):
    async def _run(self, emitter: Any) -> None:
        emitter.initialize(
            request_id="answer", sample_rate=OUTPUT_RATE, num_channels=1, mime_type="audio/pcm", stream=True
        )
        emitter.start_segment(segment_id="answer")
        spoken = False
        async for piece in self._input_ch:
            if isinstance(piece, str) and not spoken:
                self._mark_started()
                emitter.push(TONE)
                spoken = True
        emitter.end_segment()


class Microphone(io.AudioInput):
    def __init__(self) -> None:
        super().__init__(label="bench")
        self._frames: Any = utils.aio.Chan()

    def feed(self, pcm: bytes) -> None:
        samples = len(pcm) // 2
        self._frames.send_nowait(
            rtc.AudioFrame(data=pcm, sample_rate=INPUT_RATE, num_channels=1, samples_per_channel=samples)
        )

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.__anext__()


class Loudspeaker(io.AudioOutput):
    """Plays 20 ms at a time; one shared task keeps the pace of all."""

    STEP = OUTPUT_RATE // 50 * 2
    playing: ClassVar[set[Loudspeaker]] = set()

    def __init__(self, log: Log) -> None:
        capabilities = io.AudioOutputCapabilities(pause=True)
        super().__init__(label="bench", capabilities=capabilities, sample_rate=OUTPUT_RATE)
        self._log = log
        self._sound, self._position = bytearray(), 0
        self._whole = self._held = False
        self.due = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if self not in self.playing:
            self._sound, self._position, self._whole, self.due = bytearray(), 0, False, now()
            self.playing.add(self)
            self.on_playback_started(created_at=time.time())
        self._sound += frame.data.cast("b")

    def flush(self) -> None:
        super().flush()
        self._whole = True

    def clear_buffer(self) -> None:
        if self in self.playing:
            self._finish(interrupted=True)

    def pause(self) -> None:
        super().pause()
        if not self._held:
            self._log.told.append(now())
        self._held = True

    def resume(self) -> None:
        super().resume()
        self._held = False

    def tick(self) -> None:
        if self._held:
            return
        left = len(self._sound) - self._position
        if left >= self.STEP or (left and self._whole):
            step = min(left, self.STEP)
            self._position += step
            self._log.audio.append((now(), step / 2 / OUTPUT_RATE))
        elif self._whole:
            self._finish(interrupted=False)

    def _finish(self, *, interrupted: bool) -> None:
        self.playing.discard(self)
        self.on_playback_finished(playback_position=self._position / 2 / OUTPUT_RATE, interrupted=interrupted)

    @classmethod
    async def pace(cls) -> None:
        while True:
            await asyncio.sleep(0.005)
            for speaker in [one for one in cls.playing if one.due <= now()]:
                speaker.due += CHUNK
                speaker.tick()


async def _sessions(logs: list[Log]) -> AsyncIterator[Microphone]:
    for log in logs:
        session: Any = AgentSession(
            stt=InstantStt(log),
            llm=InstantLlm(),
            tts=InstantTts(),
            vad=VAD,
            turn_handling={
                "turn_detection": "vad",
                "endpointing": {"min_delay": 0.5},
                "interruption": {"mode": "vad", "min_duration": 0.5},
            },
            aec_warmup_duration=None,
            user_away_timeout=None,
        )
        microphone = Microphone()
        session.input.audio, session.output.audio = microphone, Loudspeaker(log)
        await session.start(Agent(instructions="You are a voice agent."))
        yield microphone


VAD = silero.VAD.load(min_silence_duration=0.5)


async def main(path: str, count: int, cycles: int) -> None:
    pid = os.getpid()
    figures: dict[str, Any] = {"sessions": count, "rss_before": round(resident_mb(pid), 1)}
    stimulus = chunks(INPUT_RATE, list(np.load(path)))
    logs = [Log(number % len(stimulus)) for number in range(count)]
    pacing = asyncio.create_task(Loudspeaker.pace())
    used = cpu_seconds(pid)
    microphones = [microphone async for microphone in _sessions(logs)]
    figures["setup_cpu_ms"] = round((cpu_seconds(pid) - used) / count * 1e3, 2)
    feeder = Feeder(logs, lambda number, pcm: microphones[number].feed(pcm), stimulus, cycles)
    speaking = asyncio.create_task(feeder.run())
    await asyncio.sleep(CYCLE + 0.2)
    used, began = cpu_seconds(pid), now()
    await asyncio.sleep((cycles - 1) * CYCLE)
    figures["cpu_per_session_s"] = round((cpu_seconds(pid) - used) / (now() - began) / count, 5)
    await speaking
    await asyncio.sleep(2.6)
    figures |= analyse(logs) | {
        "feeder_late_ms": round(feeder.worst_lateness * 1e3, 1),
        "rss_after": round(resident_mb(pid), 1),
    }
    print(json.dumps(figures), flush=True)
    pacing.cancel()
    os._exit(0)  # its sessions take seconds to close, and what matters is printed


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
