"""The log of events: repeats collapsed, saved and loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from realtime_script import Wire, b64

from antiphon.client.realtime.client import RealtimeEvent
from antiphon.client.realtime.errors import RealtimeError
from antiphon.client.realtime.event_log import EventLog, delays, event_level, load_events, summary


def entry(kind: str, source: str = "server", second: int = 0, **fields: Any) -> RealtimeEvent:
    return RealtimeEvent(f"2030-01-01T00:00:{second:02d}.000Z", source, {"type": kind, **fields})


def test_repeats_of_type_and_source_are_one_row() -> None:
    log = EventLog()
    kinds = [("a", "server"), ("a", "server"), ("a", "client"), ("b", "client"), ("b", "client"), ("a", "server")]
    new = [log.append(entry(kind, source, n)) for n, (kind, source) in enumerate(kinds)]
    assert new == [True, False, True, True, False, True]
    assert [(row.type, row.first.source, row.count) for row in log.rows] == [
        ("a", "server", 2),
        ("a", "client", 1),
        ("b", "client", 2),
        ("a", "server", 1),
    ]
    assert log.rows[0].last.time.endswith("01.000Z")
    assert len(log.events) == 6
    log.clear()
    assert (log.events, log.rows) == ([], [])


def test_saved_logs_load_as_they_were(tmp_path: Path) -> None:
    log = EventLog()
    for event in Wire().audio_turn("é"):
        log.append(RealtimeEvent("2030-01-01T00:00:00.000Z", "server", event))
    path = tmp_path / "log.jsonl"
    assert log.save(path) == len(log.events)
    assert load_events(path) == log.events
    assert all(set(json.loads(line)) == {"time", "source", "event"} for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        "{}",
        '{"time": "yesterday", "source": "client", "event": {}}',
        '{"time": "2030-01-01T00:00:00Z", "source": "nobody", "event": {}}',
        '{"time": "2030-01-01T00:00:00Z", "source": "client", "event": "x"}',
        '{"time": 3, "source": "client", "event": {}}',
    ],
)
def test_a_line_that_is_not_of_a_log_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"time": "2030-01-01T00:00:00Z", "source": "client", "event": {}}\n\n' + line + "\n")
    with pytest.raises(RealtimeError, match=r"log\.jsonl:3: expected"):
        load_events(path)


def test_delays_are_the_times_between() -> None:
    assert delays([entry("a", second=1), entry("a", second=4), entry("a", second=2)]) == [0, 3, 0]
    assert delays([]) == []


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"type": "error", "error": {"message": "No\n such  item"}}, "No such item"),
        ({"type": "x", "delta": "word"}, "word"),
        ({"type": "x", "item": {"id": "item_1"}}, "item_1"),
        ({"type": "response.done", "response": {"id": "r", "status": "cancelled"}}, "cancelled"),
        ({"type": "x", "transcript": "a" * 100}, "a" * 59 + "…"),
        ({"type": "response.audio.delta", "delta": b64(bytes(10))}, "10 bytes"),
        ({"type": "response.audio.delta", "item_id": "item_1", "delta": b64(bytes(10))}, "item_1"),
        ({"type": "input_audio_buffer.append", "audio": b64(bytes(4))}, "4 bytes"),
        ({"type": "input_audio_buffer.append", "audio": "***"}, ""),
        ({"type": "x"}, ""),
    ],
)
def test_summaries(event: dict[str, Any], words: str) -> None:
    assert summary(event) == words


def test_levels_of_both_voices() -> None:
    loud = b64(b"\x00\x80" * 10)
    assert event_level({"type": "input_audio_buffer.append", "audio": loud}) == pytest.approx(0, abs=0.01)
    assert event_level({"type": "response.output_audio.delta", "delta": loud}) == pytest.approx(0, abs=0.01)
    assert event_level({"type": "response.output_text.delta", "delta": loud}) is None
    assert event_level({"type": "input_audio_buffer.append", "audio": None}) is None
