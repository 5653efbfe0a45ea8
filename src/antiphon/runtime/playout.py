"""The agent's voice where we own the playout: paced, ducked, paused, faded; and how much of it was heard.

One tick of 20 ms serves all talking sessions and stops when none talks. Speakers get whole frames; silence between
answers is theirs to make.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from antiphon.audio.pcm import ramp
from antiphon.core.items import OUTPUT_RATE
from antiphon.engines.ports import PCM

__all__ = ["DUCKED", "FRAME", "FRAME_SECONDS", "NullSpeaker", "Pacer", "Playout", "Speaker"]

FRAME = 480
"""Samples (24 kHz) per frame."""
FRAME_SECONDS = FRAME / OUTPUT_RATE
FADE = 120
"""Samples of the fade that keeps a cut from clicking: 5 ms."""
DUCKED = 10 ** (-15 / 20)
"""Gain of a ducked voice: -15 dB."""
RAMP_FRAMES = 2
"""Frames that a change of level takes: 40 ms."""
CATCH_UP = 5
"""Frames handed over in one tick at most, after the loop was held up; more than that is skipped in time."""


class Speaker(Protocol):
    """Where frames go: a WebRTC track, a room, a sound card, a test."""

    latency: float
    """Seconds from :meth:`play` to the person's ear, beyond the frame's own time; 0 when unknown."""

    def play(self, frame: PCM, at: float) -> None:
        """Take 480 samples (24 kHz) that are due at ``at`` (the loop's time). Must not block."""


class NullSpeaker:
    """Plays to nobody, in real time."""

    latency = 0.0

    def play(self, frame: PCM, at: float) -> None:
        """Forget the frame."""


class Pacer:
    """One absolute schedule for every talking playout.

    Attributes:
        late: frames that were skipped in time because the loop was held up for longer than can be made good.
    """

    def __init__(self) -> None:
        self.late = 0
        self._talking: dict[Playout, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0
        self._in_tick = False

    def start(self, playout: Playout) -> None:
        """Hand out frames of ``playout`` until it says it has none."""
        self._talking[playout] = None
        if self._timer is None and not self._in_tick:
            loop = asyncio.get_running_loop()
            # The first frame leaves at once: nobody waits for a tick to begin.
            self._next = loop.time()
            self._timer = loop.call_at(self._next, self._tick)

    def stop(self, playout: Playout) -> None:
        """Leave ``playout`` alone, known or not."""
        self._talking.pop(playout, None)
        if not self._talking:
            self.close()

    def close(self) -> None:
        """Leave everyone alone."""
        self._talking.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def ticking(self) -> bool:
        """Whether anybody talks."""
        return self._timer is not None

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._in_tick = True
        for _ in range(CATCH_UP):
            at, self._next = self._next, self._next + FRAME_SECONDS
            for playout in tuple(self._talking):
                if playout in self._talking and not playout.frame(at):
                    self._talking.pop(playout, None)
            if self._next > now:
                break
        else:
            missed = math.ceil((now - self._next) / FRAME_SECONDS)
            self.late += missed
            self._next += missed * FRAME_SECONDS
        self._in_tick = False
        self._timer = loop.call_at(self._next, self._tick) if self._talking else None


class Playout:
    """One session's voice.

    The stream is addressed in samples since the session began. What a flush drops was never part of it: the next
    sample queued gets the address after the last one heard, as the core counts too.
    """

    __slots__ = (
        "_drained",
        "_faded",
        "_gain",
        "_handed",
        "_log",
        "_offset",
        "_pacer",
        "_paused",
        "_queue",
        "_queued",
        "_speaker",
        "_tail",
        "_target",
        "_waiting",
    )

    def __init__(self, pacer: Pacer, speaker: Speaker, drained: Callable[[], None]) -> None:
        self._pacer = pacer
        self._speaker = speaker
        self._drained = drained
        self._queue: deque[PCM] = deque()
        self._offset = 0  # into the queue's first array
        self._queued = 0  # samples not yet handed out
        self._handed = 0  # where the stream is
        self._log: deque[tuple[float, int]] = deque()  # (when heard, stream position) of frames still under way
        self._gain = self._target = 1.0
        self._paused = False
        self._faded = False  # the voice was faded out and comes back with a fade
        self._tail: PCM | None = None  # the fade-out of what was just paused or flushed
        self._waiting = False  # everything was handed out, not all of it heard

    @property
    def queued(self) -> int:
        """Samples waiting to be handed to the speaker."""
        return self._queued

    def heard(self, now: float) -> int:
        """Stream samples that the person has heard by ``now`` (the loop's time)."""
        if not self._speaker.latency:
            return self._handed
        log = self._log
        while len(log) > 1 and log[1][0] <= now:
            log.popleft()
        return log[0][1] if log else self._handed

    def append(self, pcm: PCM) -> None:
        """Queue samples (24 kHz) behind what is queued."""
        if not len(pcm):
            return
        self._queue.append(pcm)
        self._queued += len(pcm)
        self._waiting = False
        if not self._paused:
            self._pacer.start(self)

    def duck(self) -> None:
        """Lower the voice by 15 dB within 40 ms."""
        self._target = DUCKED

    def pause(self) -> None:
        """Fall silent within a frame, and stay at the sample reached."""
        if not self._paused:
            self._paused = True
            self._fade_out()

    def resume(self) -> None:
        """Full level again; a paused voice goes on at the sample where it stopped."""
        self._target = 1.0
        if self._paused:
            self._paused = False
            self._gain = 1.0
            if self._tail is not None:
                self._tail, self._faded = None, False
            if self._queued or self._waiting:
                self._pacer.start(self)

    def flush(self, now: float) -> None:
        """Fade out and forget what is queued; what was handed out but not heard by ``now`` counts as never said."""
        self._handed = self.heard(now)
        self._log.clear()
        if not self._paused:
            self._fade_out()
        self._queue.clear()
        self._offset = self._queued = 0
        self._paused = self._waiting = self._faded = False
        self._gain = self._target = 1.0

    def close(self) -> None:
        """No frame any more."""
        self._pacer.stop(self)
        self._queue.clear()
        self._queued = 0
        self._waiting = False
        self._tail = None

    def frame(self, at: float) -> bool:
        """Hand out the frame due at ``at``; whether another will follow. The pacer's call."""
        if self._tail is not None:
            self._speaker.play(self._tail, at)
            self._tail = None
            return not self._paused and bool(self._queued)
        if self._paused:
            return False
        if not self._queued:
            return self._run_dry(at)
        pcm = self._take()
        count = len(pcm)
        if self._speaker.latency:
            self._note(at, count)
        self._handed += count
        if self._faded:
            self._faded = False
            pcm = np.concatenate((ramp(pcm[:FADE], 0.0, 1.0), pcm[FADE:]))
        pcm = self._levelled(pcm)
        if count < FRAME:
            pcm = np.concatenate((pcm, np.zeros(FRAME - count, np.int16)))
        self._speaker.play(pcm, at)
        self._waiting = not self._queued
        return True

    def _run_dry(self, at: float) -> bool:
        """Nothing is queued: once the last frame was heard, say so."""
        if not self._waiting:
            return False
        if self.heard(at) < self._handed:
            return True
        self._waiting = False
        # A voice that ended in a duck begins the next answer at full level, as the core takes it.
        self._gain = self._target = 1.0
        self._drained()
        return bool(self._queued) and not self._paused

    def _take(self) -> PCM:
        """The next frame's samples: a view where one array has them all."""
        first, offset = self._queue[0], self._offset
        left = len(first) - offset
        if left > FRAME:
            self._offset = offset + FRAME
            self._queued -= FRAME
            return first[offset : offset + FRAME]
        pieces = [first[offset:]]
        self._queue.popleft()
        self._offset = 0
        while left < FRAME and self._queue:
            first = self._queue[0]
            need = FRAME - left
            pieces.append(first[:need])
            left += len(pieces[-1])
            if len(first) > need:
                self._offset = need
            else:
                self._queue.popleft()
        self._queued -= left
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _levelled(self, pcm: PCM) -> PCM:
        start, target = self._gain, self._target
        if start == target == 1.0:
            return pcm
        step = (1.0 - DUCKED) / RAMP_FRAMES
        end = max(target, start - step) if target < start else min(target, start + step)
        self._gain = end
        return ramp(pcm, start, end)

    def _note(self, at: float, count: int) -> None:
        """A frame is heard when it has been played, the speaker's latency later."""
        if not self._log:
            self._log.append((at, self._handed))
        self._log.append((at + FRAME_SECONDS + self._speaker.latency, self._handed + count))

    def _fade_out(self) -> None:
        """Let the next 5 ms die away in a frame that does not count: they are said again, or never."""
        if not self._queued:
            return
        head = self._queue[0][self._offset : self._offset + FADE]
        tail = np.zeros(FRAME, np.int16)
        tail[: len(head)] = ramp(head, self._gain, 0.0)
        self._tail = tail
        self._faded = True
        self._pacer.start(self)
