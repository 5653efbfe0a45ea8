"""One vocabulary, two shapes."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.client.realtime.session import audio_format, default_session, turn_detection_type, wire_session


def test_the_beta_default_is_the_reference_clients() -> None:
    assert default_session("beta") == {
        "modalities": ["text", "audio"],
        "instructions": "",
        "voice": "verse",
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_transcription": None,
        "turn_detection": None,
        "tools": [],
        "tool_choice": "auto",
        "temperature": 0.8,
        "max_response_output_tokens": 4096,
    }
    assert wire_session(default_session("beta"), "beta") == default_session("beta")


def test_the_ga_default_says_the_same_in_gas_places() -> None:
    pcm = {"type": "audio/pcm", "rate": 24000}
    assert wire_session(default_session("ga"), "ga") == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "",
        "audio": {
            "input": {"format": pcm, "transcription": None, "turn_detection": None},
            "output": {"format": pcm},
        },
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": 4096,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"modalities": ["text"]}, {"output_modalities": ["text"]}),
        ({"modalities": ["audio", "text"]}, {"output_modalities": ["audio"]}),
        ({"modalities": ["text"], "output_modalities": ["audio"]}, {"output_modalities": ["audio"]}),
        ({"max_response_output_tokens": "inf"}, {"max_output_tokens": "inf"}),
        ({"max_response_output_tokens": 1, "max_output_tokens": 2}, {"max_output_tokens": 2}),
        ({"temperature": 0.9}, {}),
        ({"voice": "alloy", "speed": 1.2}, {"audio": {"output": {"voice": "alloy", "speed": 1.2}}}),
        ({"input_audio_format": "g711_ulaw"}, {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}),
        ({"output_audio_format": "g711_alaw"}, {"audio": {"output": {"format": {"type": "audio/pcma"}}}}),
        (
            {"input_audio_noise_reduction": {"type": "near_field"}},
            {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
        ),
        ({"turn_detection": {"type": "none"}}, {"audio": {"input": {"turn_detection": None}}}),
        (
            {"voice": "alloy", "audio": {"output": {"speed": 2}, "input": {"turn_detection": {"type": "server_vad"}}}},
            {"audio": {"output": {"voice": "alloy", "speed": 2}, "input": {"turn_detection": {"type": "server_vad"}}}},
        ),
        ({"include": ["x"], "tracing": "auto"}, {"include": ["x"], "tracing": "auto"}),
    ],
)
def test_ga_places(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert wire_session(fields, "ga") == {"type": "realtime", **expected}


def test_none_of_turn_detection_is_null_in_beta_too() -> None:
    assert wire_session({"turn_detection": {"type": "none"}}, "beta") == {"turn_detection": None}


def test_the_given_fields_are_not_changed() -> None:
    fields = {"audio": {"input": {}}, "turn_detection": {"type": "server_vad"}, "tools": [{"name": "a"}]}
    session = wire_session(fields, "ga")
    session["tools"][0]["name"] = "changed"
    session["audio"]["input"]["turn_detection"]["type"] = "changed"
    assert fields == {"audio": {"input": {}}, "turn_detection": {"type": "server_vad"}, "tools": [{"name": "a"}]}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, None),
        ({"turn_detection": None}, None),
        ({"turn_detection": {"type": "none"}}, None),
        ({"turn_detection": {"type": "server_vad"}}, "server_vad"),
        ({"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}, "semantic_vad"),
        ({"turn_detection": {"type": "server_vad"}, "audio": {"input": {"turn_detection": None}}}, None),
    ],
)
def test_turn_detection_type(fields: dict[str, Any], kind: str | None) -> None:
    assert turn_detection_type(fields) == kind


def test_formats_of_either_shape() -> None:
    assert audio_format({"input_audio_format": "g711_ulaw"}, "input") == "g711_ulaw"
    assert audio_format({"audio": {"output": {"format": {"type": "audio/pcma"}}}}, "output") == "g711_alaw"
    assert audio_format({"audio": {"output": {"format": {"type": "audio/opus"}}}}, "output") == "pcm16"
    assert audio_format({"output_audio_format": 7}, "output") == "pcm16"
    assert audio_format({}, "input") == "pcm16"
