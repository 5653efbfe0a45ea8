"""The session object: what may be written to it, what it becomes, how it shows (sections 4.1 to 4.5)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.mapping import config_of
from antiphon.protocols.openai.session_object import (
    SessionObject,
    beta_view,
    ga_view,
    merge_beta,
    merge_beta_transcription,
    merge_ga,
)
from antiphon.protocols.openai.settings import RealtimeSettings, StoredPrompt

SETTINGS = RealtimeSettings()
FRESH = SessionObject.default(SETTINGS)


def ga(session: SessionObject = FRESH, **fields: Any) -> SessionObject:
    return merge_ga(session, msgspec.json.encode({"type": session.type, **fields}), SETTINGS)


def beta(session: SessionObject = FRESH, **fields: Any) -> SessionObject:
    return merge_beta(session, msgspec.json.encode(fields), SETTINGS)


def heard(session: SessionObject = FRESH, **fields: Any) -> SessionObject:
    return ga(session, audio={"input": fields})


def said(session: SessionObject = FRESH, **fields: Any) -> SessionObject:
    return ga(session, audio={"output": fields})


def test_defaults_show_every_field() -> None:
    assert ga_view(FRESH, SETTINGS) == {
        "type": "realtime",
        "object": "realtime.session",
        "id": "",
        "expires_at": 0,
        "model": "antiphon",
        "instructions": SETTINGS.instructions,
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
        },
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_output_tokens": "inf",
        "truncation": "auto",
        "tracing": None,
        "prompt": None,
        "include": None,
    }


def test_beta_shows_flat() -> None:
    shown = beta_view(FRESH, SETTINGS)
    assert (shown["modalities"], shown["temperature"], shown["voice"]) == (["text", "audio"], 0.8, "alloy")
    assert (shown["input_audio_format"], shown["max_response_output_tokens"]) == ("pcm16", "inf")
    assert "type" not in shown


def test_only_present_keys_change() -> None:
    first = ga(instructions="A", audio={"output": {"voice": "verse"}})
    second = ga(first, audio={"output": {"speed": 1.25}, "input": {"noise_reduction": {"type": "near_field"}}})
    assert (second.instructions, second.voice, second.speed) == ("A", "verse", 1.25)
    assert second.turn_detection == FRESH.turn_detection
    assert ga(second) == second


def test_null_clears_and_empty_clears() -> None:
    full = ga(
        instructions="A",
        tools=[{"type": "function", "name": "f"}],
        max_output_tokens=10,
        audio={"input": {"transcription": {"model": "w"}}, "output": {"voice": "verse"}},
    )
    cleared = ga(
        full,
        instructions=None,
        tools=[],
        max_output_tokens=None,
        audio={"input": {"transcription": None, "turn_detection": None}, "output": {"voice": None}},
    )
    assert cleared.instructions is None
    assert (cleared.tools, cleared.max_output_tokens) == ((), None)
    assert (cleared.transcription, cleared.turn_detection, cleared.voice) == (None, None, "alloy")
    assert ga(full, instructions="").instructions == ""


def test_turn_detection_is_replaced_whole_and_filled() -> None:
    first = heard(turn_detection={"type": "server_vad", "threshold": 0.9, "idle_timeout_ms": 5000})
    second = heard(first, turn_detection={"type": "server_vad"})
    assert second.turn_detection == FRESH.turn_detection
    semantic = heard(turn_detection={"type": "semantic_vad", "interrupt_response": False})
    assert ga_view(semantic, SETTINGS)["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": False,
    }
    assert heard(turn_detection={"type": "none"}).turn_detection is None


def test_transcription_is_replaced_whole_and_named() -> None:
    first = heard(transcription={"model": "whisper-1", "language": "de"})
    second = heard(first, transcription={"prompt": "names"})
    shown = ga_view(second, SETTINGS)["audio"]["input"]["transcription"]
    assert shown == {"model": SETTINGS.transcription_model, "prompt": "names"}


def test_model_is_fixed_at_the_start() -> None:
    assert ga(model="other").model == "antiphon"
    body = msgspec.json.encode({"type": "realtime", "model": "other"})
    assert merge_ga(FRESH, body, SETTINGS, start=True).model == "other"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"output_modalities": ["text", "audio"]}, "invalid_value", "session.output_modalities"),
        ({"output_modalities": []}, "invalid_value", "session.output_modalities"),
        ({"output_modalities": ["video"]}, "invalid_value", "session.output_modalities[...]"),
        ({"audio": {"output": {"speed": 1.6}}}, "decimal_above_max_value", "session.audio.output.speed"),
        ({"audio": {"output": {"speed": 0.2}}}, "decimal_below_min_value", "session.audio.output.speed"),
        ({"audio": {"output": {"voice": " "}}}, "invalid_value", "session.audio.output.voice"),
        ({"audio": {"output": {"voice": 5}}}, "invalid_type", "session.audio.output.voice"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        ({"audio": {"input": {"format": {"type": "audio/mp3"}}}}, "invalid_value", "session.audio.input.format.type"),
        (
            {"audio": {"input": {"turn_detection": {"type": "magic"}}}},
            "invalid_value",
            "session.audio.input.turn_detection.type",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 4999}}}},
            "integer_below_min_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        ({"max_output_tokens": 4097}, "integer_above_max_value", "session.max_output_tokens"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"tool_choice": {"type": "function"}}, "missing_required_parameter", "session.tool_choice.name"),
        (
            {"truncation": {"type": "retention_ratio"}},
            "missing_required_parameter",
            "session.truncation.retention_ratio",
        ),
        ({"type": "transcription"}, "invalid_value", "session.type"),
    ],
)
def test_refusals(fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(WireError) as error:
        ga(**fields)
    assert (error.value.code, error.value.param) == (code, param.replace("[...]", "[0]"))


def test_type_is_required_in_ga() -> None:
    with pytest.raises(WireError) as error:
        merge_ga(FRESH, b"{}", SETTINGS)
    assert error.value.param == "session.type"


def test_transcription_update_on_a_realtime_session_and_back() -> None:
    with pytest.raises(WireError, match="Passing a transcription session update event to a realtime session"):
        merge_beta_transcription(FRESH, b"{}", SETTINGS)
    with pytest.raises(WireError, match="to a transcription session is not allowed"):
        beta(SessionObject.default(SETTINGS, "transcription"))


def test_the_reference_clients_whole_session_is_taken() -> None:
    session = beta(
        modalities=["text", "audio"],
        instructions="",
        voice="verse",
        input_audio_format="pcm16",
        output_audio_format="g711_alaw",
        input_audio_transcription=None,
        turn_detection=None,
        tools=[{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object", "strict": True}}],
        tool_choice="auto",
        temperature=0.8,
        max_response_output_tokens=4096,
    )
    config = config_of(session, SETTINGS)
    assert (config.instructions, config.voice, config.temperature) == ("", "verse", 0.8)
    assert (config.turn.mode, config.max_output_tokens) == ("manual", 4096)
    assert session.output_format == "g711_alaw"


def test_config_of_the_turn() -> None:
    vad = {"type": "server_vad", "threshold": 0.7, "prefix_padding_ms": 100, "silence_duration_ms": 150}
    turn = config_of(heard(turn_detection={**vad, "idle_timeout_ms": 6000, "create_response": False}), SETTINGS).turn
    assert (turn.mode, turn.threshold, turn.prefix, turn.silence, turn.idle) == ("silence", 0.7, 0.1, 0.15, 6.0)
    assert (turn.create_response, turn.interrupt_response) == (False, True)
    assert (turn.start, turn.confirm, turn.merge, turn.keep_empty) == (0.06, 0.0, False, True)
    assert turn.speculate <= turn.silence
    waits = {
        eagerness: config_of(heard(turn_detection={"type": "semantic_vad", "eagerness": eagerness}), SETTINGS).turn
        for eagerness in ("low", "medium", "auto", "high")
    }
    assert {e: t.wait_incomplete for e, t in waits.items()} == {"low": 8.0, "medium": 4.0, "auto": 4.0, "high": 2.0}
    assert all(t.mode == "semantic" for t in waits.values())


def test_fields_of_the_other_kind_of_turn_detection_do_not_count() -> None:
    strange = {"type": "semantic_vad", "idle_timeout_ms": 6000, "silence_duration_ms": 9000, "threshold": 1.0}
    plain = config_of(heard(turn_detection={"type": "semantic_vad"}), SETTINGS).turn
    assert config_of(heard(turn_detection=strange), SETTINGS).turn == plain
    assert plain.idle is None


def test_tracing_once_on_stays_as_it_is() -> None:
    session = ga(tracing="auto")
    for other in ({"workflow_name": "w"}, None, "auto"):
        data = msgspec.json.encode({"type": "realtime", "tracing": other})
        assert merge_ga(session, data, SETTINGS).tracing == "auto"


def test_config_of_the_rest() -> None:
    session = ga(
        tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        tool_choice={"type": "function", "name": "f"},
        truncation={"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 1000}},
        audio={"input": {"transcription": {"model": "w", "language": "de", "prompt": "p", "keywords": ["k"]}}},
    )
    config = config_of(session, SETTINGS)
    assert [(t.name, t.parameters, t.run) for t in config.tools] == [("f", '{"type":"object"}', "client")]
    assert (config.tool_choice, config.language, config.transcription_prompt) == ("f", "de", "p, k")
    assert (config.context_tokens, config.retention, config.lock_voice) == (1000, 0.5, True)
    assert config_of(ga(truncation="disabled"), SETTINGS).context_tokens is None
    assert not config_of(SessionObject.default(SETTINGS, "transcription"), SETTINGS).respond


def test_tools_of_the_same_name_are_refused() -> None:
    with pytest.raises(WireError, match="twice"):
        config_of(ga(tools=[{"type": "function", "name": "f"}] * 2), SETTINGS)


def test_stored_prompt_fills_its_variables() -> None:
    prompt = StoredPrompt("pmpt_1", "2", "Greet {{ name }} in {{city}}.", voice="verse")
    session = ga(prompt={"id": "pmpt_1", "variables": {"name": "Ada", "city": {"type": "input_text", "text": "Rome"}}})
    config = config_of(session, SETTINGS, prompt)
    assert (config.instructions, config.voice) == ("Greet Ada in Rome.", "verse")
    with pytest.raises(WireError) as error:
        config_of(ga(prompt={"id": "pmpt_1"}), SETTINGS, prompt)
    assert error.value.param == "prompt.variables.name"


def test_credentials_of_mcp_servers_are_not_shown() -> None:
    tool = {
        "type": "mcp",
        "server_label": "s",
        "server_url": "https://x",
        "authorization": "secret",
        "headers": {"a": "b"},
    }
    shown = ga_view(ga(tools=[tool]), SETTINGS)["tools"][0]
    assert shown == {"type": "mcp", "server_label": "s", "server_url": "https://x"}


patches = st.fixed_dictionaries(
    {},
    optional={
        "instructions": st.text(max_size=5) | st.none(),
        "output_modalities": st.sampled_from([["text"], ["audio"]]),
        "max_output_tokens": st.integers(1, 4096) | st.just("inf"),
        "tools": st.lists(st.sampled_from("abc").map(lambda n: {"type": "function", "name": n}), max_size=2),
        "audio": st.fixed_dictionaries(
            {},
            optional={
                "output": st.fixed_dictionaries({}, optional={"speed": st.floats(0.25, 1.5), "voice": st.just("v")}),
                "input": st.fixed_dictionaries(
                    {},
                    optional={
                        "turn_detection": st.sampled_from([None, {"type": "server_vad"}, {"type": "semantic_vad"}]),
                        "format": st.sampled_from([{"type": "audio/pcmu"}, {"type": "audio/pcm", "rate": 24000}]),
                    },
                ),
            },
        ),
    },
)


@given(patches)
def test_what_is_shown_written_back_changes_nothing(patch: dict[str, Any]) -> None:
    merged = ga(**patch)
    shown = ga_view(merged, SETTINGS)
    again = merge_ga(merged, msgspec.json.encode(shown), SETTINGS)
    assert ga_view(again, SETTINGS) == shown


@given(patches, patches)
def test_the_last_word_counts(first: dict[str, Any], second: dict[str, Any]) -> None:
    once = ga(**second)
    both = ga(ga(**first), **second)
    for name in second.keys() - {"audio"}:
        field = {"output_modalities": "modality"}.get(name, name)
        assert getattr(both, field) == getattr(once, field)
