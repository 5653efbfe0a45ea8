"""The engine process: ``python -m antiphon.engines.local.worker``, started and owned by ``process.EngineProcess``.

It reads requests from its standard input and writes replies to its standard output. It ends when its input does, so it
never outlives the server. The main thread only reads; models run on the scheduler's threads, the LLM on its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, assert_never

import numpy as np

from antiphon.audio.resample import Resampler
from antiphon.core.items import OUTPUT_RATE
from antiphon.engines.local import wire
from antiphon.engines.local.added import find_llm, find_voice
from antiphon.engines.local.moonshine import Moonshine
from antiphon.engines.local.options import LocalOptions
from antiphon.engines.local.scheduler import Scheduler, Step, Work
from antiphon.engines.ports import ErrorKind
from antiphon.errors import ModelFileError

if TYPE_CHECKING:
    from antiphon.engines.local.llama import Llama
    from antiphon.engines.local.piper import Voice

__all__ = ["Worker", "main"]

_PARTIAL_PATIENCE = 0.5
"""Seconds by which the text of a turn that goes on may come later than that of one that is over."""


class Worker:
    """Holds the models, loaded when they are first needed, and turns requests into work.

    Args:
        start: The first request.
        send: Writes a reply; may be called from any thread.
    """

    def __init__(self, start: wire.Start, send: Callable[[wire.Reply], None]) -> None:
        self._models_dir = Path(start.models_dir)
        self._private_dir = Path(start.private_dir)
        self._options = LocalOptions.of(start.options)
        self._send = send
        self._scheduler = Scheduler(self._options.threads, send)
        self._chats = ThreadPoolExecutor(self._options.llm_slots, "chat")
        self._loads = ThreadPoolExecutor(3, "load")
        self._locks = {name: threading.Lock() for name in ("stt", "llm", "tts")}
        self._stt: Moonshine | None = None
        self._llm: Llama | None = None
        self._voices: dict[str, Voice] = {}
        self._listening = 0
        self._listening_lock = threading.Lock()
        self._stops: dict[int, threading.Event] = {}

    def take(self, request: wire.Request) -> None:
        """Act on a request; returns at once."""
        match request:
            case wire.Ping():
                self._send(wire.Pong(request.id, self._scheduler.longest_step()))
            case wire.Cancel():
                self._scheduler.cancel(request.id)
                if stop := self._stops.get(request.id):
                    stop.set()
            case wire.Load():
                self._loads.submit(self._load, request)
            case wire.Transcribe():
                self._take_speech(request)
            case wire.Chat():
                stop = self._stops[request.id] = threading.Event()
                self._chats.submit(self._chat, request, stop)
            case wire.Speak():
                self._scheduler.submit(request.id, self._speak(request), self._failing(request.id))
            case wire.Start():
                raise ValueError("the engine process was started twice")
            case _:
                assert_never(request)

    def _failing(self, id: int) -> Callable[[Exception], None]:
        def fail(error: Exception) -> None:
            kind, message = _explain(error)
            self._send(wire.Failed(id, kind, message))

        return fail

    # --- loading ----------------------------------------------------------------------------------------------------

    def _load(self, request: wire.Load) -> None:
        try:
            match request.engine:
                case "stt":
                    for _ in self._moonshine().transcribe(np.zeros(8000, np.int16)):
                        pass
                case "tts":
                    for _ in self._voice("").speak("Hello."):
                        pass
                case "llm":
                    hello = [_message("system", self._options.instructions), _message("user", "Hello.")]
                    self._llama().chat(hello, 1, 0.0, lambda text: None, threading.Event())
                case _:
                    raise ValueError(f"expected stt, tts or llm, got {request.engine!r}")
        except Exception as error:  # reported to whoever asked
            self._failing(request.id)(error)
        else:
            self._send(wire.Done(request.id))

    def _moonshine(self) -> Moonshine:
        with self._locks["stt"]:
            if self._stt is None:
                self._stt = Moonshine(self._models_dir)
            return self._stt

    def _llama(self) -> Llama:
        from antiphon.engines.local.llama import Llama

        with self._locks["llm"]:
            if self._llm is None:
                path = find_llm(self._models_dir, self._options.llm)
                self._llm = Llama(path, self._private_dir, self._options)
            return self._llm

    def _voice(self, name: str) -> Voice:
        from antiphon.engines.local.piper import Voice

        found = find_voice(self._models_dir, name, self._options.voice)
        with self._locks["tts"]:
            if found.name not in self._voices:
                self._voices[found.name] = Voice(found.path, found.parts)
            return self._voices[found.name]

    # --- work -------------------------------------------------------------------------------------------------------

    def _take_speech(self, request: wire.Transcribe) -> None:
        with self._listening_lock:
            if request.partial and self._listening:
                self._send(wire.Done(request.id))
                return
            self._listening += 1
        self._scheduler.submit(
            request.id,
            self._transcribe(request),
            self._failing(request.id),
            over=self._heard,
            patience=_PARTIAL_PATIENCE if request.partial else 0.0,
        )

    def _heard(self) -> None:
        with self._listening_lock:
            self._listening -= 1

    def _transcribe(self, request: wire.Transcribe) -> Work:
        steps = self._moonshine().transcribe(np.frombuffer(request.pcm, np.int16))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                yield Step(wire.Words(request.id, end.value))
                break
            yield Step()
        yield Step(wire.Done(request.id))

    def _speak(self, request: wire.Speak) -> Work:
        voice = self._voice(request.voice)
        resampler = Resampler(voice.rate, OUTPUT_RATE)
        sent = 0
        pending: list[tuple[str, int]] = []
        for piece in voice.speak(request.text, min(max(request.speed, 0.25), 4.0)):
            pending += [(text, round(end * OUTPUT_RATE / voice.rate)) for text, end in piece.words]
            pcm = resampler.push((piece.audio * np.float32(32767)).astype(np.int16))
            sent += len(pcm)
            # The resampler looks ahead: a word at a window's very end comes with the next one.
            ended = [word for word in pending if word[1] <= sent]
            pending = pending[len(ended) :]
            yield Step(wire.Sound(request.id, pcm.tobytes(), ended), len(pcm) / OUTPUT_RATE)
        rest = resampler.flush()
        ended = [(text, min(end, sent + len(rest))) for text, end in pending]
        if len(rest) or ended:
            yield Step(wire.Sound(request.id, rest.tobytes(), ended))
        yield Step(wire.Done(request.id))

    def _chat(self, request: wire.Chat, stop: threading.Event) -> None:
        def say(text: str) -> None:
            self._send(wire.Words(request.id, text))

        try:
            if not stop.is_set():
                answer = self._llama().chat(request.messages, request.max_tokens, request.temperature, say, stop)
                tokens = (answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens)
                self._send(wire.Done(request.id, answer.reason, *tokens))
        except Exception as error:  # reported to whoever asked
            self._failing(request.id)(error)
        finally:
            del self._stops[request.id]


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _explain(error: Exception) -> tuple[ErrorKind, str]:
    """How a failure is told to the server: what can be mended there, by kind."""
    if isinstance(error, ModelFileError):
        return "unavailable", str(error)
    if isinstance(error, ImportError):
        return "unavailable", f"{error}: install the embedded engines with pip install 'antiphon[local]'"
    traceback.print_exception(error, file=sys.stderr)
    return "bad_output", f"{type(error).__name__}: {error}"


def _read(source: IO[bytes]) -> wire.Request | None:
    """The next request; None at the input's end."""
    header = source.read(wire.HEADER.size)
    if len(header) < wire.HEADER.size:
        return None
    (length,) = wire.HEADER.unpack(header)
    body = source.read(length)
    return wire.read_request(body) if len(body) == length else None


def main() -> None:
    """Serve requests until the input ends."""
    # Ctrl-C in a terminal, and a service manager's stop, reach the whole group: the server decides when to stop, and
    # while it drains, its sessions still speak.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Libraries that print must not break the framing: the real output moves, and "stdout" becomes stderr.
    output = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(reply: wire.Reply) -> None:
        data = wire.frame(reply)
        try:
            with lock:
                while data:
                    data = data[output.write(data) or 0 :]
        except BrokenPipeError:
            os._exit(0)

    start = _read(sys.stdin.buffer)
    if not isinstance(start, wire.Start):
        sys.exit("the engine process is started by the server: its first frame must be Start")
    worker = Worker(start, send)
    send(wire.Pong(start.id))
    while (request := _read(sys.stdin.buffer)) is not None:
        worker.take(request)
    # Running models are not waited for, nor are their destructors: the server is gone or wants us gone.
    shutil.rmtree(start.private_dir, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
