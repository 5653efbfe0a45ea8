"""``antiphon replay``: run a recorded session's inputs through the core again, and compare what it decides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antiphon.errors import AntiphonError
from antiphon.runtime.recording import Difference, Recording
from antiphon.runtime.recording import replay as run_again


class ReplayDiffersError(AntiphonError):
    """A recorded session's inputs have other effects today."""


def replay(
    file: Annotated[Path, typer.Argument(help="A recording, made by 'antiphon converse --record FILE'.")],
) -> None:
    """Re-run a recorded session's inputs and compare every effect.

    Exits with 0 when all effects are the same bit for bit, with 1 when they are not: then the first difference is told.
    """
    recording = Recording.read(file)
    difference = run_again(recording)
    count = len(recording.steps)
    if difference is not None:
        raise ReplayDiffersError(_told(file, difference, count))
    seconds = recording.steps[-1].input.at - recording.at if recording.steps else 0.0
    typer.echo(f"{file}: {count} inputs over {seconds:.1f} s, every effect the same")


def _told(file: Path, difference: Difference, count: int) -> str:
    if difference.input is None:
        return f"{file}: opening the session already has other effects: got {_names(difference.got)}"
    # Line 1 of the file is the opening, so input n stands on line n + 1.
    number = difference.index + 1
    kind = type(difference.input).__name__
    expected = ", ".join(difference.expected) or "none"
    same = " (the same names: their contents differ)" if list(difference.expected) == _list(difference.got) else ""
    return (
        f"{file}, line {number + 1}: input {number} of {count}, {kind} at {difference.input.at:.3f} s, "
        f"has other effects than recorded{same}\n  expected {expected}\n  got      {_names(difference.got)}"
    )


def _names(done: tuple[object, ...]) -> str:
    return ", ".join(_list(done)) or "none"


def _list(done: tuple[object, ...]) -> list[str]:
    """Effects by name; of an event that is told, the event's."""
    return [type(getattr(effect, "event", effect)).__name__ for effect in done]
