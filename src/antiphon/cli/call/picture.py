"""Draws a call like a score: rows of time, the user's voice above the agent's, words where they were spoken."""

from __future__ import annotations

import math
from os import PathLike, fspath
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from antiphon.audio.pcm import PCM
from antiphon.cli.call.model import Call, Turn, Word
from antiphon.core.items import INPUT_RATE, OUTPUT_RATE
from antiphon.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

USER, AGENT = "#0f766e", "#4338ca"
INK, FAINT, RED, AMBER = "#1f2937", "#9ca3af", "#dc2626", "#d97706"
_TINTS = {USER: "#d5f0ec", AGENT: "#e2e4fb"}

ROW_SECONDS = 8.0
"""Seconds of a row: as many as leave room for the words of someone who talks fast."""
_MOST_ROWS = 40
_WIDTH, _ROW_HEIGHT, _HEAD = 14.0, 2.15, 1.0
_LANES = {"user": 1.0, "agent": -1.0}
_SIZE = 8.5
_SPACE = 0.06
"""Inches between two words, at least."""


def check(path: str | PathLike[str]) -> None:
    """Find out whether a picture can be drawn, before there is a call to draw.

    Raises:
        UsageError: matplotlib is not installed, or the file's ending is none of its kinds.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ModuleNotFoundError as error:
        raise UsageError("--plot needs matplotlib: install it with pip install 'antiphon[plot]'") from error
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if Path(path).suffix.removeprefix(".").lower() not in kinds:
        raise UsageError(f"{fspath(path)}: expected a picture's ending, one of {', '.join(sorted(kinds))}")


_NUDGE = 0.015
"""Share of a row by which a word may be late before it goes to the second line."""


def draw(call: Call, path: str | PathLike[str]) -> None:
    """Write the picture of a call; the file's ending says as what (png, svg, pdf).

    Raises:
        UsageError: The file cannot be written, or what `check` says.
    """
    check(path)
    import matplotlib
    from matplotlib.figure import Figure

    total = max(call.seconds, 0.5)
    rows = min(_MOST_ROWS, max(1, round(total / ROW_SECONDS)))
    span = total / rows
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": _SIZE, "svg.fonttype": "none"}):
        figure = Figure(figsize=(_WIDTH, _HEAD + rows * _ROW_HEIGHT), facecolor="white")
        figure.subplots_adjust(
            left=0.055,
            right=0.985,
            top=1 - _HEAD / figure.get_figheight(),
            bottom=0.25 / figure.get_figheight(),
            hspace=0,
        )
        axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
        _head(figure, call)
        levels = _envelope(call.user, INPUT_RATE), _envelope(call.agent, OUTPUT_RATE)
        for index, axis in enumerate(axes):
            _row(axis, call, levels, index * span, span, total)
        try:
            figure.savefig(path, dpi=150)
        except OSError as error:
            raise UsageError(f"{fspath(path)}: cannot be written: {error.strerror or error}") from error


def _head(figure: Figure, call: Call) -> None:
    height = figure.get_figheight()
    shares = call.shares()
    title = Path(call.title).name or "a call"
    figure.text(0.055, 1 - 0.34 / height, title, fontsize=13, fontweight="bold", color=INK, va="center")
    facts = [f"{call.seconds:.1f} s", *(f"{who} {seconds:.1f} s" for who, seconds in shares.items())]
    delays = [m.voice_to_voice for m in call.heard_latencies() if m.voice_to_voice is not None]
    if delays:
        facts.append(f"voice to voice {median(delays):.2f} s (median)")
    if cuts := sum(mark.kind == "interruption" and bool(mark.text) for mark in call.marks):
        facts.append(f"{cuts} interruption{'s' if cuts > 1 else ''}")
    figure.text(0.055, 1 - 0.62 / height, "  ·  ".join(facts), fontsize=9.5, color="#4b5563", va="center")
    engines = "  ·  ".join(f"{role.upper()} {name}" for role, name in call.engines.items())
    figure.text(0.985, 1 - 0.34 / height, engines, fontsize=8.5, color=FAINT, ha="right", va="center")
    legend = "━ lowered voice   ◆ tool   ↔ voice to voice"
    figure.text(0.985, 1 - 0.62 / height, legend, fontsize=8, color=FAINT, ha="right", va="center")


def _row(axis: Axes, call: Call, levels: tuple[Any, Any], start: float, span: float, total: float) -> None:
    end = start + span
    axis.set_xlim(start, end)
    axis.set_ylim(-2.55, 2.55)
    axis.set_yticks([])
    axis.set_xticks([])
    for side in ("top", "left", "right", "bottom"):
        axis.spines[side].set_visible(False)
    axis.hlines(0, start, min(end, total), color="#d1d5db", lw=0.8, zorder=1)
    for second in range(math.ceil(start), math.floor(min(end, total)) + 1):
        axis.vlines(second, -0.06, 0.06, color=FAINT, lw=0.8, zorder=1)
        axis.text(second, -0.1, f"{second}", fontsize=6.5, color=FAINT, ha="center", va="top", zorder=1)
    for name, color in (("user", USER), ("agent", AGENT)):
        axis.text(-0.008, (_LANES[name] + 2.55) / 5.1, name, color=color, fontsize=9, fontweight="bold", ha="right",
                  va="center", transform=axis.transAxes)  # fmt: skip
    for turn in call.turns:
        if turn.end > max(start, turn.start) and turn.start < end:
            _turn(axis, turn, start, end)
    _wave(axis, levels[0], _LANES["user"], USER, start, end)
    _wave(axis, levels[1], _LANES["agent"], AGENT, start, end)
    _ducks(axis, call, start, end)
    _gaps(axis, call, start, end)
    _tools(axis, call, start, end)
    for mark in call.marks:
        if start <= mark.at < end and (mark.kind != "interruption" or mark.text):
            _mark(axis, mark.at, mark.kind, end)
    for who in ("user", "agent"):
        words = [w for turn in call.turns if turn.who == who for w in turn.words if start <= w.start < end]
        _words(axis, words, who, start, end)


def _turn(axis: Axes, turn: Turn, start: float, end: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    color = USER if turn.who == "user" else AGENT
    low, high = max(start, turn.start), min(end, turn.end)
    lane = _LANES[turn.who]
    dropped = turn.outcome.startswith("dropped")
    tint = "#f3f4f6" if dropped else _TINTS[color]
    round_corners = "round,pad=0,rounding_size=0.06"
    aspect = 5.1 / (end - start) * 4
    axis.add_patch(
        FancyBboxPatch((low, lane - 0.78), max(high - low, 0.02), 1.56, boxstyle=round_corners, mutation_aspect=aspect,
                       zorder=0, facecolor=tint, edgecolor="none")
    )  # fmt: skip
    if dropped and turn.start >= start:
        reason = turn.outcome.removeprefix("dropped: ").replace("_", " ")
        axis.text(low + 0.05, lane + 0.62, reason, fontsize=6.5, style="italic", color="#6b7280", va="center", zorder=4)


def _wave(axis: Axes, levels: NDArray[np.float32], lane: float, color: str, start: float, end: float) -> None:
    first, last = round(start * _PER_SECOND), round(end * _PER_SECOND)
    piece = levels[first:last]
    at = (np.arange(len(piece)) + first + 0.5) / _PER_SECOND
    axis.fill_between(at, lane - piece * 0.7, lane + piece * 0.7, color=color, lw=0.25, zorder=2)


_PER_SECOND = 100


def _envelope(pcm: PCM, rate: int) -> NDArray[np.float32]:
    """Peaks of 10 ms, 0 to 1, the loudest of the call at 1; the root lets quiet speech be seen."""
    size = rate // _PER_SECOND
    blocks = pcm[: len(pcm) // size * size].reshape(-1, size).astype(np.float32)
    peaks: NDArray[np.float32] = np.abs(blocks).max(axis=1, initial=0.0)
    loudest = float(peaks.max(initial=0.0))
    if loudest:
        peaks = np.where(peaks > loudest * 0.004, np.sqrt(peaks / loudest), 0.0).astype(np.float32)
    return peaks


def _words(axis: Axes, words: list[Word], who: str, start: float, end: float) -> None:
    """Set the words beyond their lane, where they begin; one that would touch the last goes to the second line."""
    sign = 1 if who == "user" else -1
    color = USER if who == "user" else AGENT
    seconds_an_inch = (end - start) / (_WIDTH * 0.93)
    free = [start, start]
    for word in words:
        width = (_inches(word.text) + _SPACE) * seconds_an_inch
        wished = min(word.start, end - width)
        line = 0 if free[0] - wished <= _NUDGE * (end - start) or free[1] >= free[0] else 1
        at = max(wished, free[line])
        free[line] = at + width
        y = _LANES[who] + sign * (1.0 + 0.34 * line)
        axis.text(at, y, word.text, color=color, ha="left", va="center", zorder=4)


def _inches(word: str) -> float:
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), word, size=_SIZE).get_extents().width) / 72


def _ducks(axis: Axes, call: Call, start: float, end: float) -> None:
    for low, high in call.ducked:
        if high > start and low < end:
            axis.hlines(_LANES["agent"] + 0.78, max(start, low), min(end, high), color=AMBER, lw=2.2, zorder=3)


def _gaps(axis: Axes, call: Call, start: float, end: float) -> None:
    """Mark the wait between the user's last word and the agent's first sound."""
    for turn in call.turns:
        delay = turn.latency.voice_to_voice if turn.latency else None
        if delay is None or not turn.heard:
            continue
        low, high = turn.start - delay, turn.start
        if high <= start or low >= end:
            continue
        arrow = {"arrowstyle": "<->", "color": INK, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", (min(high, end), 0.3), (max(low, start), 0.3), arrowprops=arrow)
        middle = (max(low, start) + min(high, end)) / 2
        if start <= (low + high) / 2 < end:
            axis.text(middle, 0.45, f"{delay:.2f} s", fontsize=7, color=INK, ha="center", va="bottom", zorder=5)


def _tools(axis: Axes, call: Call, start: float, end: float) -> None:
    for tool in call.tools:
        if start <= tool.start < end:
            text = f"{tool.name}{'' if not tool.failed else ' failed'}"
            axis.plot([tool.start], [-0.42], marker="D", ms=4, color=AMBER, zorder=5)
            axis.text(tool.start + 0.07, -0.44, text, fontsize=7, color=AMBER, va="center", zorder=5)


def _mark(axis: Axes, at: float, kind: str, end: float) -> None:
    color = AMBER if kind == "false_interruption" else RED
    axis.vlines(at, -1.8, 1.8, color=color, lw=1.3, ls="-" if kind == "interruption" else (0, (3, 2)), zorder=5)
    label = {"interruption": "interrupted", "false_interruption": "goes on", "failure": "failure"}[kind]
    side = "left" if end - at > 0.7 else "right"
    room = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
    offset = 0.04 if side == "left" else -0.04
    axis.text(at + offset, 0.16, label, fontsize=7, color=color, va="bottom", ha=side, zorder=6, bbox=room)
