"""A growing, forgetting audio buffer whose addresses never change.

Samples are numbered from the first ever appended. They are kept in blocks that are written once and dropped whole, so
appending never moves what is there, and what was read stays valid for as long as its reader keeps it.
"""

from __future__ import annotations

import numpy as np

from antiphon.audio.pcm import PCM, empty

BLOCK = 16_384
"""Samples per block (1.024 s at 16 kHz): a multiple of the VAD's 512, so that no frame straddles two blocks."""


class Ring:
    """Samples ``start`` to ``end`` (exclusive) of an endless stream.

    Not thread-safe. Memory is bounded by what is kept plus one block.
    """

    __slots__ = ("_base", "_blocks", "_end", "_start")

    def __init__(self) -> None:
        self._blocks: list[PCM] = []
        self._base = 0  # address of the first sample of the first block; a multiple of BLOCK
        self._start = 0
        self._end = 0

    @property
    def start(self) -> int:
        """Address of the oldest sample kept; equals `end` when nothing is."""
        return self._start

    @property
    def end(self) -> int:
        """Address that the next sample gets: how many were ever appended."""
        return self._end

    def __len__(self) -> int:
        """How many samples are kept."""
        return self._end - self._start

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the samples take."""
        return len(self._blocks) * BLOCK * 2

    def append(self, pcm: PCM) -> int:
        """Add samples (any number) at the end.

        Returns:
            The address of the first of them: `end` as it was before.
        """
        first, done, total = self._end, 0, len(pcm)
        while done < total:
            index, offset = divmod(self._end - self._base, BLOCK)
            if index == len(self._blocks):
                self._blocks.append(np.empty(BLOCK, np.int16))
            count = min(BLOCK - offset, total - done)
            self._blocks[index][offset : offset + count] = pcm[done : done + count]
            done += count
            self._end += count
        return first

    def read(self, start: int, end: int) -> PCM:
        """Return the samples of ``start`` to ``end`` that are kept.

        Clamped: what was released, or has not come yet, is left out; the result may be empty.

        Returns:
            A read-only array; a view without copying where the span lies within one block.
        """
        start, end = max(start, self._start), min(end, self._end)
        if start >= end:
            return empty()
        first, offset = divmod(start - self._base, BLOCK)
        last = (end - 1 - self._base) // BLOCK
        if first == last:
            out = self._blocks[first][offset : offset + end - start]
        else:
            out = np.concatenate(self._blocks[first : last + 1])[offset : offset + end - start]
        out.flags.writeable = False
        return out

    def release(self, before: int) -> None:
        """Forget the samples before address `before`: all when it lies beyond `end`, none when below `start`."""
        self._start = max(self._start, min(before, self._end))
        unused = (self._start - self._base) // BLOCK
        if unused:
            del self._blocks[:unused]
            self._base += unused * BLOCK
