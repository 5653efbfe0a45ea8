"""Audio between the wire's formats and the session's rates."""

from __future__ import annotations

from collections.abc import Iterator

from antiphon.audio.formats import Format, FormatName
from antiphon.audio.pcm import PCM
from antiphon.audio.resample import Resampler, resample
from antiphon.core.items import INPUT_RATE, OUTPUT_RATE
from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.prompt_resampler import PromptResampler

__all__ = ["Ear", "Voice", "clip_samples", "encoded"]


def _check(data: bytes, name: FormatName, limit: int, param: str) -> None:
    if len(data) > limit:
        raise WireError("invalid_value", f"Expected at most {limit} bytes of audio, got {len(data)}", param)
    if name == "pcm16" and len(data) % 2:
        raise WireError(
            "invalid_value", f"Expected whole 16-bit samples, an even number of bytes, got {len(data)}", param
        )


class Ear:
    """The microphone's stream: any of the formats to 16 kHz samples.

    Args:
        name: The session's input format.
        limit: Most bytes in one piece.
    """

    __slots__ = ("_format", "_limit", "_resampler", "name")

    def __init__(self, name: FormatName, limit: int) -> None:
        self.name = name
        self._limit = limit
        self._format = Format(name)
        self._resampler = PromptResampler(self._format.rate, INPUT_RATE)

    def push(self, data: bytes) -> PCM:
        """Decode one append; the last milliseconds come with the next one, or with :meth:`flush`.

        Raises:
            WireError: There is too much of it, or half a sample.
        """
        _check(data, self.name, self._limit, "audio")
        return self._resampler.push(self._format.decode(data))

    def flush(self) -> PCM:
        """What the resampler still holds, so that a commit has every sample; the stream goes on afresh."""
        return self._resampler.flush()


class Voice:
    """One item's speech: 24 kHz samples to the response's format.

    Args:
        name: The format.
        limit: Most bytes in one delta, an even number.
    """

    __slots__ = ("_format", "_limit", "_resampler")

    def __init__(self, name: FormatName, limit: int) -> None:
        self._format = Format(name)
        self._limit = limit
        self._resampler = Resampler(OUTPUT_RATE, self._format.rate)

    def push(self, pcm: PCM) -> Iterator[bytes]:
        """Encode more of it, in pieces of whole samples no larger than the limit."""
        return self._pieces(self._resampler.push(pcm))

    def flush(self) -> Iterator[bytes]:
        """The last milliseconds."""
        return self._pieces(self._resampler.flush())

    def _pieces(self, pcm: PCM) -> Iterator[bytes]:
        data = self._format.encode(pcm) if len(pcm) else b""
        for start in range(0, len(data), self._limit):
            yield data[start : start + self._limit]


def clip_samples(data: bytes, name: FormatName, limit: int, param: str) -> PCM:
    """Decode audio that came inside an item, to 16 kHz.

    Raises:
        WireError: There is none, too much of it, or half a sample; `param` says where.
    """
    if not data:
        raise WireError("invalid_value", "Expected audio, got none", param)
    _check(data, name, limit, param)
    format = Format(name)
    return resample(format.decode(data), format.rate, INPUT_RATE)


def encoded(pcm: PCM, rate: int, name: FormatName) -> bytes:
    """Encode a whole clip of `rate` samples a second."""
    format = Format(name)
    return format.encode(resample(pcm, rate, format.rate))
