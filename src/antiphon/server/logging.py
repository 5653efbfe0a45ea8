"""Structured logs, for people or as JSON, without secrets and without what was said.

Modules log through :mod:`logging` or structlog; both come out in one format. Every entry passes
:func:`redact`, which blanks credentials wherever they stand and the fields that would hold a person's
words, voice or network address.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from antiphon.server.settings import LogSettings

__all__ = ["configure_logging", "redact"]

_HIDDEN = "[redacted]"

_SECRET_FIELDS = frozenset(
    {"authorization", "api_key", "apikey", "x_api_key", "x-api-key", "cookie", "password", "secret", "token"}
)
_PERSONAL_FIELDS = frozenset(
    {"transcript", "text", "audio", "delta", "arguments", "output", "instructions", "prompt", "client", "ip"}
)
_CREDENTIALS = re.compile(
    r"\b(?:ak|ek|sk|pk)[_-][A-Za-z0-9_-]{6,}"  # service keys, client secrets, upstream keys
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"  # JSON web tokens
    r"|(?<=[Bb]earer )[^\s\"',]+"
    r"|(?<=://)[^\s/@]+(?=@)"  # user and password in a URL
)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _CREDENTIALS.sub(_HIDDEN, value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if isinstance(value, Mapping):
        return {key: _field(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _CREDENTIALS.sub(_HIDDEN, repr(value))


def _field(name: object, value: Any) -> Any:
    lowered = str(name).lower()
    if lowered in _SECRET_FIELDS or lowered in _PERSONAL_FIELDS:
        return _HIDDEN
    return _clean(value)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank credentials and personal data in a log entry: a structlog processor."""
    return {name: _field(name, value) for name, value in event.items() if not name.startswith("_")} | {
        name: value for name, value in event.items() if name.startswith("_")
    }


def configure_logging(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every log of this process, structlog's and the standard library's, through one format.

    Args:
        settings: Least level and format.
        stream: Where to write; standard error when omitted.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=(stream or sys.stderr).isatty())
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                redact,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # Their lower lines are noise, or quote requests, which hold prompts and keys.
    for name in ("httpx", "httpcore", "openai", "aiosqlite", "alembic", "uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
