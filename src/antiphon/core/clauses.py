"""Cutting the agent's text into clauses, so that the first audio comes early and each synthesis sounds whole."""

from __future__ import annotations

import re

FIRST_CLAUSE = 24
"""Characters after which the very first clause may end at a comma: a short wait beats a perfect melody."""
LONGEST = 220
"""Characters after which a clause ends at the next comma, or at a space."""

_SENTENCE = re.compile(r"(?<=[.!?…:;])[\"')\]]*\s+|\n+|(?<=[\u3002\uff01\uff1f])")
_COMMA = re.compile(r"(?<=[,\u2013\u2014])\s+|\s+(?=[\u2013\u2014-]\s)")
_ABBREVIATION = re.compile(r"(?:^|\s)(?:Mr|Mrs|Ms|Dr|St|Prof|vs|e\.g|i\.e|etc|No|[A-Z])\.$")


def cut(text: str, *, first: bool, final: bool = False) -> tuple[tuple[str, ...], str]:
    """Split ``text`` into complete clauses and the rest that still grows.

    The clauses and the rest, joined, are ``text`` again. ``first`` allows an early cut for the first clause of an
    answer; ``final`` says that no more text comes, so nothing is left over.
    """
    clauses: list[str] = []
    while text:
        end = _boundary(text, first=first and not clauses)
        if end is None:
            break
        clauses.append(text[:end])
        text = text[end:]
    if final and text.strip():
        clauses.append(text)
        text = ""
    return tuple(clauses), text


def _boundary(text: str, *, first: bool) -> int | None:
    for match in _SENTENCE.finditer(text):
        if match.end() and text[: match.end()].strip() and not _ABBREVIATION.search(text[: match.start()]):
            return match.end() if match.end() <= LONGEST else _soft(text)
    if first and len(text) > FIRST_CLAUSE:
        for match in _COMMA.finditer(text):
            if match.start() >= FIRST_CLAUSE:
                return match.end()
    return _soft(text) if len(text) > LONGEST else None


def _soft(text: str) -> int:
    """Where to end an overlong clause: after the last comma, or space, within bounds."""
    commas = [m.end() for m in _COMMA.finditer(text, 0, LONGEST)]
    if commas and commas[-1] > FIRST_CLAUSE:
        return commas[-1]
    space = text.rfind(" ", FIRST_CLAUSE, LONGEST)
    return space + 1 if space > 0 else LONGEST
