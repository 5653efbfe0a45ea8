"""The three encodings that realtime clients choose between."""

from __future__ import annotations

from typing import Final, Literal, get_args

from antiphon.audio import g711, pcm
from antiphon.audio.pcm import PCM, AudioDataError

FormatName = Literal["pcm16", "g711_ulaw", "g711_alaw"]

DEFAULT_RATES: Final[dict[FormatName, int]] = {"pcm16": 24_000, "g711_ulaw": g711.RATE, "g711_alaw": g711.RATE}


class Format:
    """How one direction of one stream is encoded.

    A chunk may end in the middle of a sample: the half is kept for the next chunk, so chunk borders never matter. Use
    one object a stream and direction.

    Args:
        name: ``pcm16`` (little-endian, mono), ``g711_ulaw`` or ``g711_alaw``.
        rate: Samples per second; the format's usual one (24000 and 8000) when omitted.

    Raises:
        AudioDataError: the name is unknown.
    """

    __slots__ = ("_half", "name", "rate")

    def __init__(self, name: FormatName, rate: int | None = None) -> None:
        if name not in DEFAULT_RATES:
            raise AudioDataError(f"the audio format is one of {', '.join(get_args(FormatName))}, got {name!r}")
        self.name: FormatName = name
        self.rate = DEFAULT_RATES[name] if rate is None else rate
        self._half = b""

    def __repr__(self) -> str:
        return f"Format({self.name!r}, {self.rate})"

    @property
    def sample_bytes(self) -> int:
        """Bytes per sample: 2 for pcm16, 1 for G.711."""
        return 2 if self.name == "pcm16" else 1

    def decode(self, data: bytes | bytearray | memoryview) -> PCM:
        """Return the samples that are complete with `data`."""
        match self.name:
            case "g711_ulaw":
                return g711.ulaw_decode(data)
            case "g711_alaw":
                return g711.alaw_decode(data)
        if self._half:
            data = self._half + bytes(data)
            self._half = b""
        if len(data) % 2:
            data = memoryview(data)
            self._half = bytes(data[-1:])
            data = data[:-1]
        return pcm.from_bytes(data)

    def encode(self, samples: PCM) -> bytes:
        """Return the bytes of `samples`."""
        match self.name:
            case "g711_ulaw":
                return g711.ulaw_encode(samples)
            case "g711_alaw":
                return g711.alaw_encode(samples)
        return pcm.to_bytes(samples)

    def reset(self) -> None:
        """Forget half a sample that was left over, as when the client cleared its stream."""
        self._half = b""
