"""Structured logs, for people or as JSON, without secrets and without what was said.

Modules log through the standard library: ``log.info("session %s ended", id, extra={"seconds": 12.5})``;
what is in ``extra`` becomes fields. Every entry is cleaned before it is written: credentials are blanked
wherever they stand, and so are fields that would hold a person's words, voice or network address.
(Standard library only: a logging package would cost start-up time and memory in every process.)
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping
from typing import Any, TextIO

from antiphon.server.settings import LogSettings

__all__ = ["CleanFormatter", "configure_logging", "redact"]

_HIDDEN = "[redacted]"

_HIDDEN_FIELDS = frozenset(
    # secrets
    {"authorization", "api_key", "apikey", "x_api_key", "x-api-key", "cookie", "password", "secret", "token"}
    # what people said, and who they are
    | {"transcript", "text", "audio", "delta", "arguments", "output", "instructions", "prompt", "client", "ip"}
)
_CREDENTIALS = re.compile(
    r"\b(?:ak|ek|sk|pk)[_-][A-Za-z0-9_-]{6,}"  # service keys, client secrets, upstream keys
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"  # JSON web tokens
    r"|(?<=[Bb]earer )[^\s\"',]+"
    r"|(?<=://)[^\s/@]+(?=@)"  # user and password in a URL
)
_NOT_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

# Their lower lines are noise, or quote requests, which hold prompts and keys.
_QUIET = ("aiosqlite", "alembic", "httpcore", "httpx", "openai", "uvicorn")


def redact(value: Any, name: str = "") -> Any:
    """Blank credentials and personal data.

    Args:
        value: What is to be logged; containers are cleaned throughout.
        name: The field it stands in.

    Returns:
        A value that JSON can hold; bytes become their count.
    """
    if name.lower() in _HIDDEN_FIELDS:
        return _HIDDEN
    if isinstance(value, str):
        return _CREDENTIALS.sub(_HIDDEN, value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if isinstance(value, Mapping):
        return {str(key): redact(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    return _CREDENTIALS.sub(_HIDDEN, repr(value))


class CleanFormatter(logging.Formatter):
    """Writes an entry as a line for people, or as one JSON object, after :func:`redact`.

    Args:
        json_lines: Whether to write JSON.
    """

    def __init__(self, *, json_lines: bool) -> None:
        super().__init__()
        self._json_lines = json_lines

    def format(self, record: logging.LogRecord) -> str:
        """Write one entry."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": redact(record.getMessage()),
        }
        fields = {name: redact(value, name) for name, value in vars(record).items() if name not in _NOT_FIELDS}
        trace = redact(self.formatException(record.exc_info)) if record.exc_info else None
        if self._json_lines:
            if trace is not None:
                fields["exception"] = trace
            return json.dumps(fields | entry, ensure_ascii=False)
        pairs = "".join(f" {name}={value}" for name, value in fields.items())
        line = f"{entry['time']} {entry['level']:<7} {entry['event']}{pairs} [{record.name}]"
        return line if trace is None else f"{line}\n{trace}"


def configure_logging(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every log of this process through one format.

    Args:
        settings: Least level and format.
        stream: Where to write; standard error when omitted.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(CleanFormatter(json_lines=settings.format == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
