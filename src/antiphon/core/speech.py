"""What of the agent's words was heard, given how much of its audio was; and which words only say "go on"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from antiphon.core.inputs import Word

_TOKEN = re.compile(r"\S+\s*")
_HUM = re.compile(r"(?:m+|h?m+|uh|-)+")
_CLEAN = re.compile(r"[^\w'-]+")


@dataclass(frozen=True, slots=True)
class Clause:
    """A synthesis job within an item: its text, and where its audio lies in the item's (samples at 24 kHz)."""

    job: str
    text: str
    start: int
    samples: int = 0
    words: tuple[Word, ...] = ()
    done: bool = False

    def heard(self, samples: int) -> str:
        """The words that end within the first ``samples`` of this clause's audio."""
        if samples <= 0:
            return ""
        if self.done and samples >= self.samples:
            return self.text
        pieces = _TOKEN.findall(self.text)
        return "".join(p for p, end in zip(pieces, self._ends(pieces), strict=True) if end <= samples)

    def _ends(self, pieces: list[str]) -> list[float]:
        """Where each word ends: as the TTS told, the rest in proportion to its letters."""
        ends: list[float] = [w.end for w in self.words[: len(pieces)]]
        rest = pieces[len(ends) :]
        if self.words and not self.done:
            return [*ends, *(inf for _ in rest)]  # a voice that tells words has told those that ended
        position = ends[-1] if ends else 0.0
        letters = sum(map(len, rest))
        # An unfinished synthesis has an unknown length: 15 characters a second is how fast voices read.
        rate = max(0.0, self.samples - position) / max(1, letters) if self.done else 24_000 / 15
        for piece in rest:
            ends.append(position + len(piece.rstrip()) * rate)
            position += len(piece) * rate
        return ends


def heard_text(clauses: Iterable[Clause], samples: int) -> str:
    """The words of ``clauses`` heard when the first ``samples`` of the item's audio were."""
    return "".join(c.heard(samples - c.start) for c in clauses).strip()


def grown(clause: Clause, samples: int, words: tuple[Word, ...]) -> Clause:
    """The clause with ``samples`` more of audio."""
    return replace(clause, samples=clause.samples + samples, words=clause.words + words)


def normalised(text: str) -> list[str]:
    """Words in lower case without punctuation."""
    return [w for w in (_CLEAN.sub("", t).lower() for t in text.split()) if w.strip("-'_")]


def only_backchannel(text: str, backchannels: frozenset[str]) -> bool:
    """Whether an utterance says nothing but "go on" ("uh-huh", "yeah, right", a hum); silence says nothing at all."""
    words = normalised(text)
    return bool(words) and len(words) <= 4 and all(w in backchannels or _HUM.fullmatch(w) for w in words)


def promise(text: str, unfinished: frozenset[str]) -> Literal["over", "more", "unknown"]:
    """What the words say of the end of a turn: a question is over, "I would like to" has more to come."""
    words = normalised(text)
    if not words:
        return "unknown"
    if (
        words[-1] in unfinished
        or " ".join(words[-3:]) in unfinished
        or text.rstrip().endswith((",", "...", "\u2026", "-"))
    ):
        return "more"
    return "over" if text.rstrip().endswith("?") else "unknown"
