"""Bytes to typed structures, with errors that name the field, what was expected and what came."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from antiphon.protocols.openai.errors import WireError

__all__ = ["decode", "refusal"]

T = TypeVar("T")

_PATH = re.compile(r"^(?P<what>.*?) - at `(?:key` in `)?\$(?P<path>[^`]*)`$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")
_BOUND = re.compile(r"^Expected `(?P<kind>int|float|str|array|object)`(?P<length> of length)? (?P<op>>=|<=|>|<) ")
_NUMBERS = {"int": "integer", "float": "decimal"}
_LENGTHS = {"str": "string", "array": "array", "object": "object"}


def decode(decoder: msgspec.json.Decoder[T], data: bytes | bytearray | memoryview | msgspec.Raw, param: str = "") -> T:
    """Decode JSON, or say precisely why not.

    Args:
        decoder: A decoder made once for the type that is expected.
        data: UTF-8 JSON text.
        param: Dotted path of the value within the client's event, empty for the event itself.

    Raises:
        WireError: The text is not JSON, or not of the expected shape.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise refusal(error, param) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError("invalid_json", f"expected one JSON object as UTF-8 text: {error}", param or None) from None
    except RecursionError:
        raise WireError("invalid_json", "the JSON is nested too deeply", param or None) from None


def refusal(error: msgspec.ValidationError, param: str = "") -> WireError:
    """Turn msgspec's refusal into the contract's code, message and dotted path."""
    text = str(error)
    match = _PATH.match(text)
    what, path = (match["what"], match["path"].lstrip(".")) if match else (text, "")
    where = ".".join(part for part in (param, path) if part)
    missing = _MISSING.search(what)
    if missing:
        where = ".".join(part for part in (where, missing["field"]) if part)
        if where == "type":
            return WireError("invalid_event", "missing 'type': every client event names its type", "type")
        return WireError("missing_required_parameter", f"missing required parameter '{where}'", where)
    if where == "type":
        return WireError("invalid_event", f"{what}: expected a client event type", "type")
    return WireError(_code(what), f"{what}, in '{where}'" if where else what, where or None)


def _code(what: str) -> str:
    bound = _BOUND.match(what)
    if bound:
        side = "below_min" if bound["op"].startswith(">") else "above_max"
        if bound["length"]:
            return f"{_LENGTHS[bound['kind']]}_{side}_length"
        return f"{_NUMBERS[bound['kind']]}_{side}_value"
    return "invalid_type" if what.startswith("Expected") else "invalid_value"


def event_id_of(data: bytes) -> str | None:
    """The client's ``event_id`` in an event that could not be decoded, as far as it can be read."""
    try:
        found: Any = msgspec.json.decode(data, type=_Id).event_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found[:512] if isinstance(found, str) else None


class _Id(msgspec.Struct):
    event_id: Any = None
