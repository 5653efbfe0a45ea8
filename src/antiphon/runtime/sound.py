"""The audio a session holds, by the addresses the core gives it: what the user said, and what the agent says."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque

import numpy as np

from antiphon.audio.pcm import empty
from antiphon.audio.ring import Ring
from antiphon.core.items import INPUT_RATE, LIVE, OUTPUT_RATE, AudioRef
from antiphon.engines.ports import PCM

__all__ = ["CLIP_SECONDS", "LONGEST_TURN", "Heard", "Spoken"]

CLIP_SECONDS = 600
"""Audio that a client put into items, kept at most; the oldest clips go first."""
LONGEST_TURN = 900
"""Seconds of live audio kept at most, even for a turn that never ends."""


class Heard:
    """The user's audio: the live stream, and clips that a client sent with items. 16 kHz."""

    __slots__ = ("_clip_count", "_clip_samples", "_clips", "_retain", "live")

    def __init__(self, retain_seconds: float) -> None:
        self.live = Ring()
        self._retain = round(retain_seconds * INPUT_RATE)
        self._clips: dict[str, PCM] = {}
        self._clip_samples = 0
        self._clip_count = 0

    def clip(self, pcm: PCM) -> AudioRef:
        """Keep ``pcm`` and say where."""
        self._clip_count += 1
        name = f"clip_{self._clip_count}"
        self._clips[name] = pcm
        self._clip_samples += len(pcm)
        while self._clip_samples > CLIP_SECONDS * INPUT_RATE and len(self._clips) > 1:
            oldest = next(iter(self._clips))
            self._clip_samples -= len(self._clips.pop(oldest))
        return AudioRef(name, 0, len(pcm))

    def read(self, ref: AudioRef) -> PCM:
        """What is kept of a live span or clip; empty when nothing is."""
        if ref.clip == LIVE:
            return self.live.read(ref.start, ref.end)
        return self._clips.get(ref.clip, empty())[max(0, ref.start) : max(0, ref.end)]

    def joined(self, refs: tuple[AudioRef, ...]) -> PCM:
        """Spans one after the other."""
        if len(refs) == 1:
            return self.read(refs[0])
        return np.concatenate([self.read(ref) for ref in refs]) if refs else empty()

    def knows(self, ref: AudioRef) -> bool:
        """Whether ``ref`` is of the user's audio (still kept, for clips)."""
        return ref.clip == LIVE or ref.clip in self._clips

    def release(self, needed: int) -> None:
        """Forget live audio before ``needed``, but for the time that it is retained."""
        self.live.release(max(needed - self._retain, self.live.end - LONGEST_TURN * INPUT_RATE))

    def clear(self) -> None:
        """Forget everything."""
        self.live.release(self.live.end)
        self._clips.clear()
        self._clip_samples = 0


class _Job:
    """One synthesis: its chunks and where each begins."""

    __slots__ = ("chunks", "done", "played", "samples", "starts")

    def __init__(self) -> None:
        self.chunks: list[PCM] = []
        self.starts: list[int] = []
        self.samples = 0
        self.played = 0
        self.done = False

    def add(self, pcm: PCM) -> None:
        self.chunks.append(pcm)
        self.starts.append(self.samples)
        self.samples += len(pcm)

    def read(self, start: int, end: int) -> PCM:
        start, end = max(start, 0), min(end, self.samples)
        if start >= end:
            return empty()
        first = bisect_right(self.starts, start) - 1
        chunk, base = self.chunks[first], self.starts[first]
        if end <= base + len(chunk):
            return chunk[start - base : end - base]
        last = bisect_left(self.starts, end)
        return np.concatenate(self.chunks[first:last])[start - base : end - base]


class Spoken:
    """The agent's audio, 24 kHz: of synthesis jobs until it was played, and of items for a while after.

    A job's audio is forgotten once its synthesis has ended and all of it was played, or when it is cancelled.
    """

    __slots__ = ("_item_samples", "_items", "_jobs", "_retain")

    def __init__(self, retain_seconds: float) -> None:
        self._jobs: dict[str, _Job] = {}
        self._items: deque[tuple[str, int, PCM]] = deque()
        self._item_samples = 0
        self._retain = round(retain_seconds * OUTPUT_RATE)

    def add(self, job: str, pcm: PCM) -> None:
        """More audio of ``job``."""
        self._jobs.setdefault(job, _Job()).add(pcm)

    def read(self, job: str, start: int, end: int) -> PCM:
        """What is kept of samples ``start`` to ``end`` of ``job``."""
        found = self._jobs.get(job)
        return found.read(start, end) if found is not None else empty()

    def play(self, job: str, start: int, end: int, item_id: str, item_start: int) -> PCM:
        """The samples, which are also ``item_start`` and on of the item's audio from now on."""
        pcm = self.read(job, start, end)
        found = self._jobs.get(job)
        if found is not None:
            found.played = max(found.played, min(end, found.samples))
        if self._retain and len(pcm):
            self._items.append((item_id, item_start, pcm))
            self._item_samples += len(pcm)
            while self._item_samples > self._retain and len(self._items) > 1:
                self._item_samples -= len(self._items.popleft()[2])
        return pcm

    def ended(self, job: str) -> None:
        """The synthesis of ``job`` is complete."""
        found = self._jobs.get(job)
        if found is not None:
            found.done = True

    def forget(self, job: str) -> None:
        """Drop ``job``."""
        self._jobs.pop(job, None)

    def tidy(self, *, held: bool) -> None:
        """Drop jobs that were played to their end, and, unless an answer is ``held`` back, those nobody will play."""
        for name in [n for n, j in self._jobs.items() if j.done and (not held or j.played >= j.samples)]:
            del self._jobs[name]

    def item(self, ref: AudioRef) -> PCM:
        """What is kept of an item's audio, in ``ref``'s span."""
        pieces = []
        for item_id, start, pcm in self._items:
            if item_id == ref.clip and start < ref.end and start + len(pcm) > ref.start:
                pieces.append(pcm[max(0, ref.start - start) : ref.end - start])
        if not pieces:
            return empty()
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    @property
    def jobs(self) -> int:
        """How many jobs' audio is kept."""
        return len(self._jobs)

    def clear(self) -> None:
        """Forget everything."""
        self._jobs.clear()
        self._items.clear()
        self._item_samples = 0
