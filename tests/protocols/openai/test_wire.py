"""Client events as they come: every kind, every way to get one wrong, and rubbish."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.wire import CLIENT_EVENTS, decode_event

MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
GOOD: dict[str, dict[str, Any]] = {
    "session.update": {"session": {"type": "realtime"}},
    "transcription_session.update": {"session": {}},
    "input_audio_buffer.append": {"audio": "AAAA"},
    "input_audio_buffer.commit": {},
    "input_audio_buffer.clear": {},
    "output_audio_buffer.clear": {},
    "conversation.item.create": {"item": MESSAGE, "previous_item_id": None},
    "conversation.item.retrieve": {"item_id": "item_1"},
    "conversation.item.truncate": {"item_id": "item_1", "content_index": 0, "audio_end_ms": 10},
    "conversation.item.delete": {"item_id": "item_1"},
    "response.create": {"response": {"metadata": {"a": "b"}, "tool_choice": "auto", "input": [MESSAGE]}},
    "response.cancel": {"response_id": "resp_1"},
}


def encode(type: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"type": type, **fields})


def refused(data: bytes) -> WireError:
    with pytest.raises(WireError) as error:
        decode_event(data)
    return error.value


def test_every_event_of_the_contract_is_known() -> None:
    assert {e.__struct_config__.tag for e in CLIENT_EVENTS} == set(GOOD)


@pytest.mark.parametrize("type", GOOD)
def test_decodes_with_unknown_fields_and_keeps_the_event_id(type: str) -> None:
    event = decode_event(encode(type, event_id="evt_1", somewhat="new", **GOOD[type]))
    assert event.event_id == "evt_1"
    assert event.__struct_config__.tag == type


def test_append_is_bytes() -> None:
    audio = bytes(range(256)) * 4
    event = decode_event(encode("input_audio_buffer.append", audio=base64.b64encode(audio).decode()))
    assert asdict(event) == {"event_id": None, "audio": audio}


BAD: list[tuple[bytes, str, str | None]] = [
    (b"", "invalid_json", None),
    (b"{", "invalid_json", None),
    (b"hello", "invalid_json", None),
    (b'{"type":"\xff"}', "invalid_json", None),
    (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "invalid_json", None),
    (b"[]", "invalid_type", None),
    (b"null", "invalid_type", None),
    (b"{}", "invalid_event", "type"),
    (b'{"type":"no.such.event"}', "invalid_event", "type"),
    (b'{"type":7}', "invalid_event", "type"),
    (b'{"type":"session.update"}', "missing_required_parameter", "session"),
    (encode("input_audio_buffer.append"), "missing_required_parameter", "audio"),
    (encode("input_audio_buffer.append", audio="!!"), "invalid_value", "audio"),
    (encode("input_audio_buffer.append", audio=[1]), "invalid_type", "audio"),
    (encode("conversation.item.create", item={"type": "x"}), "invalid_value", "item.type"),
    (encode("conversation.item.create", item={"type": "message"}), "missing_required_parameter", "item.role"),
    (
        encode("conversation.item.create", item={**MESSAGE, "content": [{"type": "input_text", "text": 1}]}),
        "invalid_type",
        "item.content[0].text",
    ),
    (encode("conversation.item.create", item={**MESSAGE, "id": "x" * 65}), "string_above_max_length", "item.id"),
    (
        encode("response.create", response={"metadata": {str(n): "" for n in range(17)}}),
        "object_above_max_length",
        "response.metadata",
    ),
    (
        encode("response.create", response={"max_output_tokens": 0}),
        "integer_below_min_value",
        "response.max_output_tokens",
    ),
    (encode("response.create", response={"conversation": "mine"}), "invalid_value", "response.conversation"),
    (encode("response.cancel", event_id="x" * 513), "string_above_max_length", "event_id"),
]


@pytest.mark.parametrize(("data", "code", "param"), BAD, ids=[f"{n}-{b[1]}" for n, b in enumerate(BAD)])
def test_refusals_name_code_and_field(data: bytes, code: str, param: str | None) -> None:
    error = refused(data)
    assert (error.code, error.param) == (code, param)
    assert error.message


def test_refusals_echo_the_event_id_wherever_it_can_be_read() -> None:
    assert refused(encode("no.such", event_id="mine")).event_id == "mine"
    assert refused(b'{"event_id":"mine","type":"response.cancel","response_id":7}').event_id == "mine"
    assert refused(b'{"event_id":"mine",').event_id is None
    assert refused(encode("no.such", event_id=7)).event_id is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        decode_event(data)
    except WireError as error:
        assert error.code


@settings(max_examples=500)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_events_with_any_field_replaced_are_decoded_or_refused(type: str, data: st.DataObject) -> None:
    event: dict[str, Any] = {"type": type, "event_id": "mine", **GOOD[type]}
    spoilt = _spoilt(event, data)
    try:
        decode_event(msgspec.json.encode(spoilt))
    except WireError as error:
        assert error.code
        if isinstance(spoilt, dict) and spoilt.get("event_id") == "mine":
            assert error.event_id == "mine"


def _spoilt(value: Any, data: st.DataObject) -> Any:
    """The value with something in it replaced by anything."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: _spoilt(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        return [_spoilt(value[0], data), *value[1:]]
    return data.draw(json_values)
