from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.platform.tokens import new_token
from antiphon.server.logging import configure_logging, redact
from antiphon.server.settings import LogSettings

SECRETS = [
    new_token("ak_"),
    new_token("ek_"),
    "sk-proj-abcdefghijkl",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_entry_holds_time_level_event_and_fields(stream: io.StringIO) -> None:
    configure_logging(LogSettings(format="json"), stream)
    logging.getLogger("antiphon.test").info("session %s ended", "sess_1", extra={"seconds": 1.5})
    entry = json.loads(stream.getvalue())
    assert entry["event"] == "session sess_1 ended"
    assert (entry["level"], entry["logger"], entry["seconds"]) == ("info", "antiphon.test", 1.5)
    assert entry["time"].endswith("Z")
    assert stream.getvalue().count("\n") == 1


def test_a_console_entry_is_one_line(stream: io.StringIO) -> None:
    configure_logging(LogSettings(), stream)
    logging.getLogger("antiphon.test").warning("slow", extra={"ms": 7})
    assert stream.getvalue().rstrip().endswith("warning slow ms=7 [antiphon.test]")


def test_levels_are_kept(stream: io.StringIO) -> None:
    configure_logging(LogSettings(level="warning"), stream)
    logging.getLogger("antiphon.test").info("unheard")
    assert stream.getvalue() == ""


def test_other_libraries_keep_their_requests_to_themselves(stream: io.StringIO) -> None:
    configure_logging(LogSettings(level="debug"), stream)
    logging.getLogger("openai").debug("Request options: %s", {"messages": ["my secret"]})
    logging.getLogger("httpx").info("HTTP Request: POST ...")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", ["json", "console"])
def test_credentials_are_blanked_wherever_they_stand(stream: io.StringIO, secret: str, form: Any) -> None:
    configure_logging(LogSettings(format=form), stream)
    log = logging.getLogger("antiphon.test")
    log.error("refused %s", secret, extra={"header": f"Bearer {secret}", "nested": {"deep": [secret]}})
    try:
        raise ValueError(f"no good: {secret}")
    except ValueError:
        log.exception("failed")
    assert secret not in stream.getvalue()
    assert stream.getvalue().count("[redacted]") >= 4
    assert "ValueError" in stream.getvalue()


@given(st.text(min_size=1), st.sampled_from(["transcript", "text", "audio", "instructions", "api_key", "ip"]))
def test_what_was_said_is_never_logged(said: str, field: str) -> None:
    assert redact({"item": {field: said}}) == {"item": {field: "[redacted]"}}
    assert redact(said, field.upper()) == "[redacted]"


@given(st.binary())
def test_bytes_are_counted_not_shown(data: bytes) -> None:
    assert redact({"chunk": data}) == {"chunk": f"[{len(data)} bytes]"}


def test_a_password_in_a_url_is_blanked() -> None:
    assert redact("postgresql://me:hunter2@host/db") == "postgresql://[redacted]@host/db"


def test_objects_are_shown_by_their_cleaned_repr() -> None:
    assert redact([ValueError("with ak_" + "x" * 43), 1, None, True]) == [
        "ValueError('with [redacted]')",
        1,
        None,
        True,
    ]
