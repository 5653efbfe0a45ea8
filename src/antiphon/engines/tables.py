"""Option tables, as a settings file gives them, made into checked structs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from antiphon.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)


def from_table(
    table: Mapping[str, Any],
    kind: type[S],
    source: str,
    *,
    keys: Iterable[str] = (),
    error: type[ConfigError] = ConfigError,
    lax: bool = False,
) -> S:
    """Make ``table`` a ``kind``, which should forbid unknown fields.

    Args:
        table: keys to values; values with ``get_secret_value`` (Pydantic's secrets) are unwrapped.
        kind: what it describes.
        source: where it comes from, for the message.
        keys: known keys of nested tables, to suggest; those of ``kind`` are known anyway.
        error: what to raise.
        lax: take numbers and truth values written as text, as environment variables give them.

    Raises:
        ConfigError: names the place in the table, and the nearest known key for an unknown one.
    """
    try:
        return msgspec.convert({key: _plain(value) for key, value in table.items()}, kind, strict=not lax)
    except msgspec.ValidationError as problem:
        known = {*keys, *kind.__struct_encode_fields__}
        message = f"{source}: {problem}"
        unknown = re.search(r"unknown field `([^`]*)`", message)
        if unknown is not None:
            message += did_you_mean(unknown[1], known)
        raise error(message) from problem


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion in brackets to put behind a message, or nothing."""
    near = difflib.get_close_matches(word, sorted(set(known)), n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _plain(value: Any) -> Any:
    reveal = getattr(value, "get_secret_value", None)
    return value if reveal is None else reveal()
