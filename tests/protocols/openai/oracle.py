"""The public SDK's own event types, as judges of every event that is sent."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import openai.types.beta.realtime as beta
import openai.types.realtime as ga
from pydantic import BaseModel, TypeAdapter

__all__ = ["check"]


def _members(union: Any) -> list[type[BaseModel]]:
    while hasattr(union, "__metadata__"):
        union = union.__origin__
    found: list[type[BaseModel]] = []
    for member in typing.get_args(union):
        found += [member] if isinstance(member, type) else _members(member)
    return found


def _by_type(union: Any, *more: type[BaseModel]) -> dict[str, TypeAdapter[Any]]:
    table: dict[str, TypeAdapter[Any]] = {}
    for member in [*_members(union), *more]:
        for name in typing.get_args(member.model_fields["type"].annotation):
            table[name] = TypeAdapter(member)
    return table


GA = _by_type(ga.RealtimeServerEvent)
BETA = _by_type(beta.RealtimeServerEvent)


def check(data: bytes, *, beta: bool) -> None:
    """Fail when an event is none that the SDK knows in this dialect, or not of its shape.

    Raises:
        AssertionError: The type is unknown.
        pydantic.ValidationError: A field is missing or wrong, strictly.
    """
    event = msgspec.json.decode(data)
    table = BETA if beta else GA
    assert event["event_id"].startswith("event_")
    _no_forbidden_null(event)
    if beta and event["type"].startswith("transcription_session."):
        return  # the SDK's type of it demands a client secret, which only the REST answer has
    assert event["type"] in table, f"unknown event {event['type']}"
    table[event["type"]].validate_json(data, strict=True)


_NULLABLE = frozenset(
    [
        "previous_item_id", "transcript", "tracing", "prompt", "include", "transcription", "noise_reduction",
        "turn_detection", "idle_timeout_ms", "status_details", "conversation_id", "usage", "code", "param", "event_id",
        "input_audio_transcription", "input_audio_noise_reduction",
    ]
)  # fmt: skip
"""Where the contract allows null (rule 7)."""


def _no_forbidden_null(value: Any, path: str = "") -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if inner is None:
                assert key in _NULLABLE, f"null at {path}.{key}"
                if key == "transcript":
                    assert value["type"] == "input_audio"
            _no_forbidden_null(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            _no_forbidden_null(inner, f"{path}[{n}]")
