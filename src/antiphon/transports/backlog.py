"""Frames on their way out: joined per loop iteration, bounded when the reader is slow."""

from __future__ import annotations

from collections import deque
from typing import Protocol

__all__ = ["Backlog", "Writer"]

_BATCH = 64 * 1024
"""Bytes handed to the transport at once: its default high-water mark, so that a pause is noticed in time."""


class Writer(Protocol):
    """The part of an asyncio transport that a backlog needs."""

    def write(self, data: bytes) -> None: ...


class Backlog:
    """Outgoing frames in order, of which audio may be dropped (oldest first) and control may not (invariant 6).

    Attributes:
        control: Bytes of control frames waiting.
        audio: Bytes of audio frames waiting.
        dropped: Audio frames dropped so far.
        paused: Whether the transport asked to stop (its buffer is full).
    """

    __slots__ = ("_audio_limit", "_frames", "audio", "control", "dropped", "paused")

    def __init__(self, audio_limit: int) -> None:
        """Start empty.

        Args:
            audio_limit: Bytes of audio kept while the transport is paused, at least one frame's.
        """
        self._frames: deque[tuple[bytes, bool]] = deque()
        self._audio_limit = audio_limit
        self.control = 0
        self.audio = 0
        self.dropped = 0
        self.paused = False

    def __bool__(self) -> bool:
        return bool(self._frames)

    def push(self, frame: bytes, audio: bool = False) -> None:
        """Queue a frame; old audio gives way when there is more of it than the limit."""
        self._frames.append((frame, audio))
        if not audio:
            self.control += len(frame)
            return
        self.audio += len(frame)
        if self.paused and self.audio > self._audio_limit:
            self._drop()

    def flush(self, writer: Writer) -> None:
        """Write what is queued, until nothing is left or the transport pauses us from within ``write``."""
        frames = self._frames
        while frames and not self.paused:
            if len(frames) == 1:
                frame, audio = frames.popleft()
                self._count(frame, audio)
                writer.write(frame)
                return
            batch: list[bytes] = []
            size = 0
            while frames and size < _BATCH:
                frame, audio = frames.popleft()
                self._count(frame, audio)
                batch.append(frame)
                size += len(frame)
            writer.write(b"".join(batch))
        if self.audio > self._audio_limit:
            self._drop()

    def clear(self) -> None:
        """Forget everything: the connection is over."""
        self._frames.clear()
        self.control = self.audio = 0

    def _count(self, frame: bytes, audio: bool) -> None:
        if audio:
            self.audio -= len(frame)
        else:
            self.control -= len(frame)

    def _drop(self) -> None:
        """Rebuild without the oldest audio, down to three quarters of the limit, so that the cost is amortised."""
        goal = self._audio_limit * 3 // 4
        kept: deque[tuple[bytes, bool]] = deque()
        for frame, audio in self._frames:
            if audio and self.audio > goal:
                self.audio -= len(frame)
                self.dropped += 1
            else:
                kept.append((frame, audio))
        self._frames = kept
