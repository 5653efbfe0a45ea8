"""The JSON document of a call, ``antiphon.call/1``: everything that ``--json`` prints."""

from __future__ import annotations

from statistics import median
from typing import Any

import msgspec

from antiphon.cli.call.model import Call, Turn
from antiphon.core.events import Event, Record, TurnMetrics

SCHEMA = "antiphon.call/1"

STAGES = ("end_of_turn", "stt", "llm", "tts", "voice_to_voice")
"""The latencies of a spoken turn, in the order in which they pass."""

_BULKY = frozenset({"config", "record"})


def event_document(event: Event, at: float) -> dict[str, Any]:
    """One event as plain data: ``at`` (seconds), ``type`` (the core's name for it) and its fields.

    The configuration and the final record, which repeat much, are left out.
    """
    return {"at": round(at, 4), "type": type(event).__name__, **_plain(msgspec.to_builtins(event))}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in _BULKY}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def document(call: Call) -> dict[str, Any]:
    """Tell a call as one JSON-ready document; times are in seconds since the session was opened.

    Keys: ``schema``, ``title``, ``engines``, ``seconds``, ``reason``, ``turns``, ``transcripts``, ``interruptions``,
    ``false_interruptions``, ``failures``, ``tools``, ``timeline``, ``latencies``,
    ``latency_medians``, ``usage``, ``events``. Latencies are those of answers that were heard.
    """
    record = call.record
    return {
        "schema": SCHEMA,
        "title": call.title,
        "engines": call.engines,
        "seconds": round(call.seconds, 3),
        "reason": record.reason if record else None,
        "turns": [_turn(turn) for turn in call.turns],
        "transcripts": [
            {"at": round(turn.start, 3), "who": turn.who, "text": turn.heard if turn.who == "agent" else turn.text}
            for turn in call.turns
        ],
        "interruptions": _marks(call, "interruption"),
        "false_interruptions": _marks(call, "false_interruption"),
        "failures": _marks(call, "failure"),
        "tools": [_rounded(msgspec.to_builtins(tool)) for tool in call.tools],
        "timeline": {
            **{who: round(seconds, 3) for who, seconds in call.shares().items()},
            "segments": [_rounded(msgspec.to_builtins(s)) for s in record.timeline] if record else [],
        },
        "latencies": [_rounded(msgspec.to_builtins(latency)) for latency in call.heard_latencies()],
        "latency_medians": latency_medians(call.heard_latencies()),
        "usage": _usage(record) if record else None,
        "events": call.events,
    }


def latency_medians(latencies: list[TurnMetrics]) -> dict[str, float | None]:
    """The median of each stage in seconds, over the turns that had it; None where none did."""
    medians: dict[str, float | None] = {}
    for stage in STAGES:
        values = [value for latency in latencies if (value := getattr(latency, stage)) is not None]
        medians[stage] = round(median(values), 4) if values else None
    return medians


def _turn(turn: Turn) -> dict[str, Any]:
    told: dict[str, Any] = {
        "who": turn.who,
        "id": turn.id,
        "start": round(turn.start, 3),
        "end": round(turn.end, 3),
        "text": turn.text,
        "outcome": turn.outcome,
        "words": [_rounded(msgspec.to_builtins(word)) for word in turn.words],
    }
    if turn.who == "agent":
        told["heard"] = turn.heard
        told["latency"] = _rounded(msgspec.to_builtins(turn.latency)) if turn.latency else None
    else:
        told["partials"] = [{"at": round(at, 3), "text": text} for at, text in turn.partials]
    return told


def _marks(call: Call, kind: str) -> list[dict[str, Any]]:
    return [{"at": round(mark.at, 3), "text": mark.text} for mark in call.marks if mark.kind == kind]


def _usage(record: Record) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(record.usage),
        "speculative": msgspec.to_builtins(record.speculative_usage),
        "stt_seconds": round(record.stt_seconds, 3),
        "tts_characters": record.tts_characters,
        "tts_seconds": round(record.tts_seconds, 3),
        "turns": record.turns,
        "responses": record.responses,
        "interruptions": record.interruptions,
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}
