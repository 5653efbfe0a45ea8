"""Text to speech: Piper voices in the engine process, and espeak-ng as a program."""

from __future__ import annotations

import asyncio
import contextlib
import io
import shutil
import wave
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np

from antiphon.audio.resample import resample
from antiphon.core.inputs import Word
from antiphon.core.items import OUTPUT_RATE
from antiphon.engines.local import wire
from antiphon.engines.local.added import ESPEAK, voices
from antiphon.engines.local.process import EngineProcess
from antiphon.engines.ports import EngineError, TtsChunk, TtsRequest

__all__ = ["EspeakTts", "LocalTts"]

_ESPEAK_WPM = 175
"""espeak-ng's usual speed, in words a minute; it takes 80 to 450."""
_CHUNK = OUTPUT_RATE // 2


class EspeakTts:
    """Implements :class:`antiphon.engines.ports.Tts` with the ``espeak-ng`` program: robotic, and quick.

    Args:
        name: The engine's name in errors.
    """

    voices = (ESPEAK,)

    def __init__(self, *, name: str = ESPEAK) -> None:
        self.name = name

    async def warm_up(self) -> None:
        """Look for the program.

        Raises:
            EngineError: kind unavailable: it is not installed.
        """
        self._program()

    def readiness(self) -> bool:
        """Whether the program is installed."""
        return shutil.which("espeak-ng") is not None

    def _program(self) -> str:
        program = shutil.which("espeak-ng")
        if program is None:
            raise EngineError(self.name, "unavailable", "the program espeak-ng is not installed (or not on PATH)")
        return program

    async def synthesize(self, request: TtsRequest) -> AsyncGenerator[TtsChunk, None]:
        """Speak a text in chunks of half a second; words end in proportion to their letters.

        Raises:
            EngineError: kind unavailable: no such program; bad_output: it failed.
        """
        words = request.text.split()
        if not words:
            return
        wpm = min(450, max(80, round(_ESPEAK_WPM * request.speed)))
        # The text goes in by a pipe: as an argument, one that begins with a dash would be an option.
        process = await asyncio.create_subprocess_exec(
            self._program(), "--stdin", "--stdout", "-b", "1", "-s", str(wpm), stdin=PIPE, stdout=PIPE, stderr=DEVNULL
        )
        try:
            output, _ = await process.communicate(request.text.encode())
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        audio = self._read(output, process.returncode)
        letters = np.cumsum([len(word) + 1 for word in words])
        ends = [int(len(audio) * count / letters[-1]) for count in letters]
        told = 0
        for start in range(0, len(audio), _CHUNK):
            stop = min(start + _CHUNK, len(audio))
            upto = sum(1 for end in ends if end <= stop)
            yield TtsChunk(audio[start:stop], tuple(Word(words[i], ends[i]) for i in range(told, upto)))
            told = upto

    def _read(self, output: bytes, code: int | None) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
        # espeak-ng does not know the length when it writes the header, and claims 2 GB: the real length is the pipe's.
        try:
            with wave.open(io.BytesIO(output)) as file:
                rate = file.getframerate()
        except (wave.Error, EOFError) as error:
            raise EngineError(
                self.name, "bad_output", f"espeak-ng (exit code {code}) wrote no sound: {error}"
            ) from error
        data = output[44:]
        pcm = np.frombuffer(data[: len(data) // 2 * 2], np.int16)
        return resample(pcm, rate, OUTPUT_RATE)

    async def close(self) -> None:
        """Nothing is kept open."""


class LocalTts:
    """Implements :class:`antiphon.engines.ports.Tts` with Piper voices; the voice ``espeak`` is the program.

    The first sound comes when the first quarter of a second of a sentence was made, words with their real ends.
    Closing the iterator stops the work within a window.
    """

    def __init__(self, process: EngineProcess) -> None:
        self.name = process.name
        self._process = process
        self._espeak = EspeakTts(name=process.name)
        self.voices = [*voices(process.models_dir), *((ESPEAK,) if self._espeak.readiness() else ())]
        process.join()

    async def warm_up(self) -> None:
        """Load the default voice and run it once.

        Raises:
            EngineError: kind unavailable: a file is missing or damaged, or a program or package not installed.
        """
        if self._process.options.voice == ESPEAK:
            await self._espeak.warm_up()
        else:
            await self._process.load("tts")

    def readiness(self) -> bool:
        """Whether the default voice is loaded."""
        if self._process.options.voice == ESPEAK:
            return self._espeak.readiness()
        return self._process.loaded("tts")

    async def synthesize(self, request: TtsRequest) -> AsyncGenerator[TtsChunk, None]:
        """Speak a text; an unknown voice is the default one.

        Raises:
            EngineError: The voice cannot be loaded, or the process died.
        """
        voice = request.voice if request.voice in self.voices else self._process.options.voice
        if voice == ESPEAK:
            async with aclosing(self._espeak.synthesize(request)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        replies = self._process.stream(lambda id: wire.Speak(id, request.text, voice, request.speed))
        async with aclosing(replies):
            async for reply in replies:
                if isinstance(reply, wire.Sound):
                    words = tuple(Word(text, end) for text, end in reply.words)
                    yield TtsChunk(np.frombuffer(reply.pcm, np.int16), words)

    async def close(self) -> None:
        """Leave the process; it ends with its last engine."""
        await self._process.leave()
