"""Speech to text by Moonshine (English) in the engine process."""

from __future__ import annotations

from antiphon.engines.local import wire
from antiphon.engines.local.process import EngineProcess
from antiphon.engines.ports import EngineError, SttRequest

__all__ = ["LocalStt"]


class LocalStt:
    """Implements :class:`antiphon.engines.ports.Stt`.

    English only; ``prompt`` has no effect. Audio under 0.25 s, and texts that the model makes up out of noise, answer
    "". A partial request answers "" at once while other speech is being recognised.
    """

    def __init__(self, process: EngineProcess) -> None:
        self.name = process.name
        self._process = process
        process.join()

    async def warm_up(self) -> None:
        """Load the model and run it once.

        Raises:
            EngineError: kind unavailable: a file is missing or damaged.
        """
        await self._process.load("stt")

    def readiness(self) -> bool:
        """Whether the model is loaded."""
        return self._process.loaded("stt")

    async def transcribe(self, request: SttRequest) -> str:
        """The text; empty when nothing was said.

        Raises:
            EngineError: kind rejected: the language is not English; crashed or unavailable: the process.
        """
        language = (request.language or "en").lower()
        if language.split("-")[0].split("_")[0] not in ("en", "english", "auto"):
            raise EngineError(
                self.name, "rejected", f"the embedded speech recognition is English only, got {language!r}"
            )
        pcm = request.audio.tobytes()
        text = ""
        replies = self._process.stream(lambda id: wire.Transcribe(id, pcm, request.partial))
        async for reply in replies:
            if isinstance(reply, wire.Words):
                text = reply.text
        return text

    async def close(self) -> None:
        """Leave the process; it ends with its last engine."""
        await self._process.leave()
