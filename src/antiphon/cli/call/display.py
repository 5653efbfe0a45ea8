"""Shows a call while it happens: what was said and done scrolls by, what is being said now stays at the bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import groupby
from statistics import median
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from antiphon.cli.call.model import Call
from antiphon.cli.call.recorder import Recorder
from antiphon.cli.call.report import STAGES
from antiphon.core import events as ev
from antiphon.core.events import TurnMetrics
from antiphon.core.timeline import Timeline

_STYLES = {"user": "green", "agent": "blue", "silence": "bright_black"}
_NAMES = {"end_of_turn": "end of turn", "stt": "STT", "llm": "LLM", "tts": "TTS", "voice_to_voice": "voice to voice"}
_FRAME = 0.1
"""Wall seconds between two drawings of the live part."""
_CELL = 0.5
"""Seconds that a cell of the timeline stands for, in a call that fits the line."""


class Display:
    """The screen of a running call; a context manager. Without a terminal only finished lines are printed.

    Args:
        console: Where to.
        recorder: Where the words so far are taken from.
        timeline: Who had the floor, so far.
    """

    def __init__(self, console: Console, recorder: Recorder, timeline: Callable[[], Timeline]) -> None:
        self._console = console
        self._recorder = recorder
        self._timeline = timeline
        self._drawn = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def refresh(self) -> None:
        """Draw what is being said now; cheap when called often."""
        now = time.monotonic()
        if self._live is None or now - self._drawn < _FRAME:
            return
        self._drawn = now
        width = max(20, self._console.width - 9)
        rows = Table.grid(padding=(0, 1))
        rows.add_column(width=6)
        rows.add_column(no_wrap=True, overflow="ellipsis", width=width)
        rows.add_row(Text("user", "green"), Text(_tail(self._recorder.user_now, width), "green"))
        rows.add_row(Text("agent", "blue"), Text(_tail(self._recorder.agent_now, width), "blue"))
        at = self._recorder.now
        segments = self._timeline().segments(at)
        rows.add_row(Text(f"{at:5.1f}s", "dim"), timeline_strip(segments, at, width))
        rows.add_row("", shares_line(_shares(segments)))
        self._live.update(Group(Text(""), rows), refresh=True)

    def observe(self, event: ev.Event) -> None:
        """Print what an event means to a person; to be subscribed behind the recorder."""
        for line in self._lines(event):
            row = Table.grid(padding=(0, 1))
            row.add_column(width=7)
            row.add_column(width=6)
            row.add_column(overflow="fold")
            row.add_row(Text(f"{self._recorder.now:7.2f}", "dim"), *line)
            self._console.print(row)
        self.refresh()

    def _lines(self, event: ev.Event) -> Iterable[tuple[Text, Text]]:
        match event:
            case ev.PartialTranscript(_, text) if text and self._live is None:
                yield _line("user", "", f"{text} …", "dim green")
            case ev.TranscriptDone(text=text):
                yield _line("user", "", text or "(no words)", "green")
            case ev.TranscriptFailed(message=message):
                yield _line("user", "not understood", message, "red")
            case ev.TurnDropped(_, reason, text):
                yield _line("user", f"not a turn: {reason.replace('_', ' ')}", text, "yellow")
            case ev.PlayoutStopped(response_id) if heard := self._heard(response_id):
                yield _line("agent", "", heard, "blue")
            case ev.Interrupted(_, _, heard):
                yield _line(
                    "agent", "interrupted" if heard else "withdrawn unheard", f"{heard} …" if heard else "", "red"
                )
            case ev.FalseInterruption():
                yield _line("agent", "false interruption", "goes on", "yellow")
            case ev.TurnMetrics():
                yield _line("", "", _delays(event), "dim")
            case ev.ArgumentsDone(name=name, arguments=arguments):
                yield _line("tool", "", f"{name}({arguments})", "magenta")
            case ev.ToolFinished(output=output, failed=failed):
                yield _line("tool", "failed" if failed else "result", _clipped(output), "red" if failed else "magenta")
            case ev.Failure(stage, message):
                yield _line(stage, "failure", message, "red")
            case ev.Rejected(message=message):
                yield _line("", "rejected", message, "red")
            case ev.Ending(reason) | ev.Ended(ev.Record(reason=reason)):
                yield _line("", "", f"call ends: {reason}", "dim")

    def _heard(self, response_id: str) -> str:
        turn = next((t for t in self._recorder.call.turns if t.id == response_id), None)
        return turn.heard if turn and turn.outcome in ("in_progress", "completed") else ""


def _line(who: str, note: str, text: str, style: str) -> tuple[Text, Text]:
    words = Text(f"({note}) " if note else "", style)
    return Text(who, f"bold {style}"), words.append(text)


def _clipped(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _tail(text: str, width: int) -> str:
    """The end of a text, in one line."""
    text = " ".join(text.split())
    return text if len(text) <= width else "…" + text[-(width - 1) :]


def _delays(metrics: TurnMetrics) -> str:
    told = ((name, getattr(metrics, stage)) for stage, name in _NAMES.items())
    return " · ".join(f"{name} {seconds:.2f} s" for name, seconds in told if seconds is not None)


def _shares(segments: Iterable[ev.Segment]) -> dict[str, float]:
    shares = dict.fromkeys(_STYLES, 0.0)
    for segment in segments:
        shares[segment.who] += segment.end - segment.start
    return shares


def timeline_strip(segments: Iterable[ev.Segment], total: float, width: int) -> Text:
    """Who had the floor, as one line of at most `width` cells."""
    cell = max(_CELL, total / width) if total else _CELL
    segments = list(segments)
    middles = ((index + 0.5) * cell for index in range(min(width, round(total / cell))))
    floor = (next((s.who for s in segments if s.start <= at < s.end), "silence") for at in middles)
    strip = Text()
    for who, run in groupby(floor):
        strip.append(("━" if who == "silence" else "█") * len(list(run)), _STYLES[who])
    return strip


def shares_line(shares: dict[str, float]) -> Text:
    """Seconds by who had the floor, in the strip's colours."""
    return Text(" · ", "dim").join(Text(f"{who} {seconds:.1f} s", _STYLES[who]) for who, seconds in shares.items())


def summarise(console: Console, call: Call) -> None:
    """Print what remains of a call: timeline, latencies, usage."""
    record = call.record
    if record is None:
        return
    console.rule(f"{record.seconds:.1f} s, ended: {record.reason}", style="dim")
    console.print(timeline_strip(record.timeline, record.seconds, max(20, console.width - 2)))
    console.print(shares_line(call.shares()))
    if call.heard_latencies():
        console.print(_latency_table(call))
    usage = record.usage
    console.print(
        f"[bold]usage[/]  {record.turns} turns, {record.responses} responses, {record.interruptions} interruptions · "
        f"STT {record.stt_seconds:.1f} s · "
        f"LLM {usage.input_text_tokens} tokens in, {usage.output_text_tokens} out · "
        f"TTS {record.tts_characters} characters, {record.tts_seconds:.1f} s",
        highlight=False,
    )
    wasted = record.speculative_usage
    if wasted.input_text_tokens or wasted.output_text_tokens:
        console.print(
            f"       thrown away unheard: LLM {wasted.input_text_tokens} tokens in, {wasted.output_text_tokens} out",
            style="dim",
            highlight=False,
        )


def _latency_table(call: Call) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("latency, seconds")
    for stage in STAGES:
        table.add_column(_NAMES[stage], justify="right")
    answers = {turn.id: turn.heard or turn.text for turn in call.turns if turn.who == "agent"}
    latencies = call.heard_latencies()
    for metrics in latencies:
        answer = _clipped(answers.get(metrics.response_id, ""), 40)
        table.add_row(answer, *(_seconds(getattr(metrics, stage)) for stage in STAGES))
    if len(latencies) > 1:
        columns = ([v for m in latencies if (v := getattr(m, stage)) is not None] for stage in STAGES)
        table.add_row("median", *(_seconds(median(values) if values else None) for values in columns), style="bold")
    return table


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
