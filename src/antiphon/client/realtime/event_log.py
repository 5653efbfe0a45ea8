"""A log of events both ways: what the inspector shows, saves and replays."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from antiphon.client.realtime.audio import level_dbfs
from antiphon.client.realtime.client import RealtimeEvent
from antiphon.client.realtime.errors import RealtimeError

AUDIO_DELTAS = ("response.output_audio.delta", "response.audio.delta")
SUMMARY_CHARACTERS = 60


@dataclass(slots=True)
class LogRow:
    """One or more events in a row of the same type and source.

    Attributes:
        first, last: the first and the last of them.
        count: how many.
    """

    first: RealtimeEvent
    last: RealtimeEvent
    count: int = 1

    @property
    def type(self) -> str:
        """The events' type."""
        return str(self.first.event.get("type"))


class EventLog:
    """Keeps every event, and rows in which repeats are collapsed.

    Attributes:
        events: all events in order.
        rows: the same with consecutive equals as one row.
    """

    def __init__(self) -> None:
        self.events: list[RealtimeEvent] = []
        self.rows: list[LogRow] = []

    def append(self, event: RealtimeEvent) -> bool:
        """Add an event. Returns whether it began a new row."""
        self.events.append(event)
        row = self.rows[-1] if self.rows else None
        if row is not None and row.first.source == event.source and row.type == str(event.event.get("type")):
            row.last = event
            row.count += 1
            return False
        self.rows.append(LogRow(event, event))
        return True

    def clear(self) -> None:
        """Forget everything."""
        self.events.clear()
        self.rows.clear()

    def save(self, path: Path) -> int:
        """Write one JSON object a line: time, source, event. Returns how many."""
        with path.open("w", encoding="utf-8") as file:
            for entry in self.events:
                file.write(json.dumps({"time": entry.time, "source": entry.source, "event": entry.event}) + "\n")
        return len(self.events)


def load_events(path: Path) -> list[RealtimeEvent]:
    """Read a log that `EventLog.save` wrote.

    Raises:
        RealtimeError: a line that is not of such a log; the message names it.
        OSError: the file cannot be read.
    """
    events = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            time, source, event = entry["time"], entry["source"], entry["event"]
            datetime.fromisoformat(time)
            if source not in ("client", "server") or not isinstance(event, dict):
                raise ValueError("source or event")
        except (ValueError, KeyError, TypeError) as error:
            raise RealtimeError(
                f'{path}:{number}: expected {{"time": ..., "source": "client" or "server", "event": {{...}}}} ({error})'
            ) from error
        events.append(RealtimeEvent(time, source, event))
    return events


def delays(events: Iterable[RealtimeEvent]) -> list[float]:
    """Give for each event the seconds since the one before it; 0 for the first, never less than 0."""
    times = [datetime.fromisoformat(event.time).timestamp() for event in events]
    return [max(0.0, later - earlier) for earlier, later in zip(times[:1] + times, times, strict=False)]


def summary(event: Mapping[str, Any]) -> str:
    """Give in a few words what an event says beyond its type."""
    for part in (event, event.get("error"), event.get("response"), event.get("item"), event.get("session")):
        if not isinstance(part, Mapping):
            continue
        for key in ("message", "transcript", "delta", "text", "arguments", "status", "name", "id", "item_id"):
            value = part.get(key)
            if isinstance(value, str) and value and not (key == "delta" and event.get("type") in AUDIO_DELTAS):
                flat = " ".join(value.split())
                return flat if len(flat) <= SUMMARY_CHARACTERS else flat[: SUMMARY_CHARACTERS - 1] + "…"
    audio = event_audio(event)
    return f"{len(audio)} bytes" if audio else ""


def event_audio(event: Mapping[str, Any]) -> bytes:
    """Give the audio an event carries, in the session's format; empty when it carries none."""
    kind = event.get("type")
    text = event.get("audio") if kind == "input_audio_buffer.append" else event.get("delta")
    if kind != "input_audio_buffer.append" and kind not in AUDIO_DELTAS:
        return b""
    try:
        return base64.b64decode(text if isinstance(text, str) else "")
    except (binascii.Error, ValueError):
        return b""


def event_level(event: Mapping[str, Any]) -> float | None:
    """Give the level of the PCM an event carries in dB of full scale; None when it carries none."""
    audio = event_audio(event)
    return level_dbfs(audio) if audio else None
