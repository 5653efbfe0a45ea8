"""Voice activity for all sessions of a process: one model, one tick, one batch.

Audio only marks its session as due; the next tick takes one frame of every due session into one model call. A session
that sent a burst waits its turn frame by frame, so it neither starves the others nor loses the order of its own.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from antiphon.audio.ring import Ring
from antiphon.core.vad import voiced
from antiphon.engines.ports import Vad, VadState

__all__ = ["NEVER", "GateSink", "VadBatcher", "VoiceGate"]

_log = logging.getLogger(__name__)

INTERVAL = 0.004
"""Seconds from the first due frame to its batch: frames of that time share it. Measured at 50 sessions, 12 ms cost
every reply 5 ms more and saved no CPU time."""
BATCH = 32
"""Frames per model call."""
TAIL = 4 * 512
"""Samples (16 kHz) in which a voice's end is looked for: Silero's probability outlasts it by up to three frames."""
BLOCK = 128
FADED = 0.03
"""Of the tail's loudest block: 30 dB below it the voice is over."""
ROUNDS = 4
"""Model calls before the loop gets a turn."""
NEVER = sys.maxsize
"""A deadline that no sample reaches."""


class GateSink(Protocol):
    """Who is told of edges: the session. Called in audio order; samples are 16 kHz."""

    def voice_on(self, sample: int) -> None:
        """The first voiced frame begins at ``sample``."""

    def voice_off(self, sample: int) -> None:
        """The voice ended at ``sample``, which lies in or at the end of the last voiced frames."""

    def audio_reached(self, sample: int) -> None:
        """All whole frames before ``sample`` were looked at, and the gate's deadline lies there or before."""

    def vad_failed(self, problem: Exception) -> None:
        """The model raised; the frame counts as silence."""


class VoiceGate:
    """One session's ear: where the VAD is in its audio, and whether it hears a voice there.

    Attributes:
        position: the sample up to which the VAD has looked.
        deadline: the sample at which the sink wants ``audio_reached``; ``NEVER`` for none.
        voiced: whether the last frame counted as voice.
    """

    __slots__ = ("closed", "deadline", "position", "queued", "ring", "since", "sink", "state", "threshold", "voiced")

    def __init__(self, ring: Ring, sink: GateSink, threshold: float) -> None:
        self.ring = ring
        self.sink = sink
        self.threshold = threshold
        self.position = ring.end
        self.since = ring.end
        self.deadline = NEVER
        self.voiced = False
        self.queued = False
        self.closed = False
        self.state = VadState()

    def skip(self, sample: int) -> None:
        """Leave out the audio before ``sample``."""
        self.position = max(self.position, sample)

    def reset(self, sample: int) -> None:
        """Begin anew at ``sample``, in silence."""
        self.skip(sample)
        self.voiced = False
        self.state = VadState()

    def look_ahead(self) -> None:
        """Tell of a deadline in a frame of which only a part came: waiting for the rest would cost up to 32 ms, and
        what it holds is told all the same."""
        if not self.closed and self.position < self.ring.end >= self.deadline:
            self.sink.audio_reached(self.ring.end)

    def close(self) -> None:
        """Tell nothing any more."""
        self.closed = True


class VadBatcher:
    """Runs the model over every gate's due frames.

    Attributes:
        frames: frames looked at so far.
        batches: model calls so far.
    """

    def __init__(self, vad: Vad, *, interval: float = INTERVAL) -> None:
        self.frame = vad.frame
        self.frames = 0
        self.batches = 0
        self._vad = vad
        self._interval = interval
        self._due: deque[VoiceGate] = deque()
        self._timer: asyncio.Handle | None = None
        self._input = np.empty((BATCH, vad.frame), np.float32)

    def due(self, gate: VoiceGate) -> None:
        """``gate``, not yet queued, holds a whole frame that was not looked at."""
        gate.queued = True
        self._due.append(gate)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)

    def close(self) -> None:
        """Stop; what is due is forgotten."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due.clear()

    def _tick(self) -> None:
        due = self._due
        for _ in range(ROUNDS):
            batch = [gate for gate in (due.popleft() for _ in range(min(BATCH, len(due)))) if self._ready(gate)]
            if not batch:
                break
            self._run(batch)
        self._timer = asyncio.get_running_loop().call_soon(self._tick) if due else None

    def _ready(self, gate: VoiceGate) -> bool:
        """Whether the gate still has a frame: it may have been closed, or its audio skipped, while it was queued."""
        if not gate.closed and gate.ring.end - gate.position >= self.frame:
            return True
        gate.queued = False
        return False

    def _run(self, batch: Sequence[VoiceGate]) -> None:
        size = self.frame
        frames = self._input[: len(batch)]
        for row, gate in zip(frames, batch, strict=True):
            row[:] = gate.ring.read(gate.position, gate.position + size)
        frames *= np.float32(1 / 32768)
        self.frames += len(batch)
        self.batches += 1
        try:
            probabilities = self._vad.probabilities(frames, [gate.state for gate in batch]).tolist()
        except Exception as problem:
            _log.exception("the VAD failed on a batch of %d frames", len(batch))
            probabilities = [0.0] * len(batch)
            for gate in batch:
                gate.sink.vad_failed(problem)
        for gate, probability in zip(batch, probabilities, strict=True):
            if gate.closed:
                continue
            self._frame(gate, probability)
            # What the sink did may have closed the gate, or skipped audio.
            if not gate.closed and gate.ring.end - gate.position >= size:
                self._due.append(gate)
            else:
                gate.queued = False
                gate.look_ahead()

    def _frame(self, gate: VoiceGate, probability: float) -> None:
        start = gate.position
        end = gate.position = start + self.frame
        was = gate.voiced
        gate.voiced = now = voiced(was, probability, gate.threshold)
        if now != was:
            if now:
                gate.since = start
                gate.sink.voice_on(start)
            else:
                gate.sink.voice_off(max(gate.since, _voice_end(gate.ring, start)))
        if end >= gate.deadline:
            gate.sink.audio_reached(end)


def _voice_end(ring: Ring, end: int) -> int:
    """Where the voice that the model lost at ``end`` fell silent."""
    tail = ring.read(max(ring.start, end - TAIL), end)
    tail = tail[len(tail) % BLOCK :]
    if not len(tail):
        return end
    peaks = np.abs(tail.astype(np.int32)).reshape(-1, BLOCK).max(axis=1)
    loud = np.flatnonzero(peaks > FADED * peaks.max())
    return end - len(tail) + (int(loud[-1]) + 1) * BLOCK if len(loud) else end
