"""The two wire formats that the driver speaks: OpenAI Realtime (ours) and pipecat's protobuf frames."""

from __future__ import annotations

import base64
import json
from typing import Protocol


class Wire(Protocol):
    """How a client of one server talks.

    Attributes:
        path: What is asked for in the handshake.
        opcode: Of the messages it sends.
        rate: Of the audio it sends, Hz.
        hello: Messages sent before anything else.
    """

    path: str
    opcode: int
    rate: int
    hello: tuple[bytes, ...]

    def wrap(self, pcm: bytes) -> bytes:
        """A message that carries a chunk."""
        ...

    def is_ready(self, message: bytes) -> bool:
        """Whether the server says by this that the session is set up."""
        ...

    def audio_seconds(self, message: bytes) -> float:
        """Seconds of audio in a message of the server; 0 without."""
        ...

    def is_speech_started(self, message: bytes) -> bool:
        """Whether the client would stop playing on this."""
        ...


class OpenAI:
    """GA dialect, server VAD with a wait of 500 ms."""

    path = "/v1/realtime?model=bench"
    opcode = 1
    rate = 24000
    wait_ms = 500
    hello = (
        json.dumps(
            {
                "type": "session.update",
                "session": {
                    "type": "realtime",
                    "instructions": "You are a voice agent.",
                    "audio": {
                        "input": {
                            "transcription": {"model": "bench"},
                            "turn_detection": {"type": "server_vad", "silence_duration_ms": wait_ms},
                        }
                    },
                },
            }
        ).encode(),
    )

    def wrap(self, pcm: bytes) -> bytes:
        return b'{"type":"input_audio_buffer.append","audio":"' + base64.b64encode(pcm) + b'"}'

    def is_ready(self, message: bytes) -> bool:
        return b'"session.updated"' in message[:200]

    def audio_seconds(self, message: bytes) -> float:
        if b"audio.delta" not in message[:200]:
            return 0.0
        begin = message.find(b'"delta":"') + 9
        return (message.find(b'"', begin) - begin) * 3 / 4 / 48000

    def is_speech_started(self, message: bytes) -> bool:
        return b"speech_started" in message[:200]


class Pipecat:
    """``Frame { AudioRawFrame audio = 2 { bytes audio = 3; uint32 sample_rate = 4; uint32 num_channels = 5 } }``,
    written by hand so that the driver needs nothing of pipecat's."""

    path = "/ws"
    opcode = 2
    rate = 16000
    wait_ms = 600
    """VAD stop 200 ms and speech time-out 400 ms, its documented pair for a wait near ours."""
    hello = ()

    def wrap(self, pcm: bytes) -> bytes:
        audio = b"\x1a" + _varint(len(pcm)) + pcm + b"\x20" + _varint(self.rate) + b"\x28\x01"
        return b"\x12" + _varint(len(audio)) + audio

    def is_ready(self, message: bytes) -> bool:
        return True

    def audio_seconds(self, message: bytes) -> float:
        frame = _fields(message)
        audio = frame.get(2)
        if not isinstance(audio, bytes):
            return 0.0
        inner = _fields(audio)
        pcm, rate = inner.get(3), inner.get(4)
        return len(pcm) / 2 / rate if isinstance(pcm, bytes) and isinstance(rate, int) else 0.0

    def is_speech_started(self, message: bytes) -> bool:
        return not self.audio_seconds(message)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _fields(data: bytes) -> dict[int, bytes | int]:
    """A protobuf message's fields, the last of each number; varints and length-delimited ones."""
    found: dict[int, bytes | int] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            found[key >> 3] = varint()
        elif key & 7 == 2:
            size = varint()
            found[key >> 3] = data[at : at + size]
            at += size
        else:
            at += 8 if key & 7 == 1 else 4
    return found


WIRES: dict[str, type[Wire]] = {"openai": OpenAI, "pipecat": Pipecat}
