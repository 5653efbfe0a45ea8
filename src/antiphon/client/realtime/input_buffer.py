"""The client's own copy of what it sent to the input audio buffer, addressed on the session's clock."""

from __future__ import annotations

from antiphon.client.realtime.items import BYTES_PER_SECOND


class InputAudioBuffer:
    """Audio that was appended, so that user items can carry it.

    The server names speech in milliseconds since the start of all audio written in the session; this buffer knows
    where its first byte stands on that clock, and forgets what is older than `max_seconds`.

    Args:
        audio_format: pcm16, g711_ulaw or g711_alaw: how many bytes a millisecond has.
        max_seconds: how much is kept.
    """

    def __init__(self, audio_format: str = "pcm16", max_seconds: float = 300.0) -> None:
        self.audio_format = audio_format
        self._max_seconds = max_seconds
        self._data = bytearray()
        self._start = 0  # bytes of the session before the first one kept

    def __len__(self) -> int:
        """Bytes kept."""
        return len(self._data)

    def append(self, data: bytes) -> None:
        """Add what was sent."""
        self._data += data
        limit = int(self._max_seconds * BYTES_PER_SECOND[self.audio_format])
        # Dropping in slabs of a quarter keeps appending cheap: each byte is moved once at most.
        if len(self._data) > limit + limit // 4:
            self._drop(len(self._data) - limit)

    def slice(self, start_ms: int, end_ms: int) -> bytes:
        """Give the audio between two times on the session's clock, as far as it is kept."""
        start, end = self._position(start_ms), self._position(end_ms)
        return bytes(self._data[start:end])

    def take(self) -> bytes:
        """Give everything kept and forget it; the clock goes on."""
        data = bytes(self._data)
        self._drop(len(data))
        return data

    def reset(self, audio_format: str | None = None) -> None:
        """Forget everything, the clock too: a new session."""
        self.audio_format = audio_format or self.audio_format
        self._data.clear()
        self._start = 0

    def _position(self, ms: int) -> int:
        per_second = BYTES_PER_SECOND[self.audio_format]
        sample = 2 if self.audio_format == "pcm16" else 1
        return max(0, ms * (per_second // sample) // 1000 * sample - self._start)

    def _drop(self, count: int) -> None:
        count -= count % 2
        del self._data[:count]
        self._start += count
