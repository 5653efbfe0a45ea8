"""Opening the WebSocket: address, dialect, authentication, and failures as our own errors."""

from __future__ import annotations

import ipaddress
import json
import logging
import random
import ssl as ssl_module
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from antiphon.client.realtime.errors import (
    BAD_KEY_STATUSES,
    BadKeyError,
    ConnectError,
    RealtimeError,
    RealtimeTimeoutError,
)
from antiphon.client.realtime.session import Dialect

logger = logging.getLogger("antiphon.client.realtime")

DEFAULT_URL = "wss://api.openai.com/v1/realtime"
DEFAULT_MODELS: dict[Dialect, str] = {"ga": "gpt-realtime", "beta": "gpt-4o-realtime-preview-2024-10-01"}
KEY_PREFIX = "openai-insecure-api-key."
BETA_SUBPROTOCOL = "openai-beta.realtime-v1"
MAX_MESSAGE_BYTES = 64 * 2**20
RETRIABLE_CLOSES = frozenset({1001, 1005, 1006, 1011, 1012, 1013, 1015})
RETRIABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})

Auth = Literal["header", "subprotocol"]


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How to come back after the connection was lost.

    Attributes:
        attempts: tries in a row; a non-error event from the server starts the count anew.
        first_delay: seconds before the first try.
        factor: each further delay is so many times longer.
        max_delay: longest delay in seconds.
        jitter: share of the delay that is random, 0 to 1, so that many clients do not come back at once.
        replay: send the cached conversation to the new session; without it, the cache is cleared.
    """

    attempts: int = 5
    first_delay: float = 0.5
    factor: float = 2.0
    max_delay: float = 8.0
    jitter: float = 0.25
    replay: bool = False

    def delay(self, attempt: int) -> float:
        """Give the seconds to wait before try number `attempt` (from 1)."""
        delay = min(self.max_delay, self.first_delay * self.factor ** (attempt - 1))
        return delay * (1 - self.jitter * random.random())


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Where and how to connect.

    Attributes:
        url: ws, wss, http or https address; a relay's, a server's or OpenAI's own.
        api_key: None where the server or the relay wants none.
        dialect: `ga` or `beta`.
        auth: key in the Authorization header, or in a subprotocol as browsers must.
        headers: further headers.
        ssl: context for wss, for a certificate of one's own.
        open_timeout: seconds for the connection to open.
        ping_interval: seconds between keep-alive pings; None for none.
    """

    url: str = DEFAULT_URL
    api_key: str | None = None
    dialect: Dialect = "ga"
    auth: Auth = "header"
    headers: Mapping[str, str] | None = None
    ssl: ssl_module.SSLContext | None = None
    open_timeout: float = 10.0
    ping_interval: float | None = 20.0


def realtime_url(url: str, model: str | None, query: Mapping[str, str] | None = None) -> str:
    """Give the address with scheme ws or wss and with `model`, unless the address or `query` says what to join.

    Raises:
        ConnectError: not an address of a known scheme.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ConnectError(url, "expected an address like wss://host/v1/realtime")
    fields = dict(parse_qsl(parts.query, keep_blank_values=True)) | dict(query or {})
    # A session is named by exactly one of these.
    if model is not None and not fields.keys() & {"model", "call_id", "intent"}:
        fields["model"] = model
    return urlunsplit(SplitResult(scheme, parts.netloc, parts.path or "/", urlencode(fields), ""))


async def open_connection(options: ConnectionOptions, url: str) -> ClientConnection:
    """Open the WebSocket to `url` (of `realtime_url`).

    Raises:
        BadKeyError: the upgrade was refused because of the key.
        ConnectError: no connection, or the upgrade was refused.
        RealtimeTimeoutError: it took longer than `open_timeout`.
    """
    headers = dict(options.headers or {})
    subprotocols: list[Subprotocol] = []
    if options.auth == "subprotocol":
        subprotocols = [Subprotocol("realtime")]
        if options.api_key:
            subprotocols.append(Subprotocol(KEY_PREFIX + options.api_key))
        if options.dialect == "beta":
            subprotocols.append(Subprotocol(BETA_SUBPROTOCOL))
    else:
        if options.api_key:
            headers["Authorization"] = f"Bearer {options.api_key}"
        if options.dialect == "beta":
            headers["OpenAI-Beta"] = "realtime=v1"
    parts = urlsplit(url)
    local = is_loopback(parts.hostname)
    if options.api_key and parts.scheme == "ws" and not local:
        logger.warning("the API key goes unencrypted to %s: use wss outside this machine", parts.hostname)
    try:
        return await open_socket(
            url,
            subprotocols=subprotocols or None,
            additional_headers=headers,
            compression=None,  # base64 of speech hardly shrinks, and deflate costs time on every frame
            proxy=None if local else True,
            ssl=options.ssl if parts.scheme == "wss" else None,
            open_timeout=options.open_timeout,
            ping_interval=options.ping_interval,
            close_timeout=5,
            max_size=MAX_MESSAGE_BYTES,
        )
    except InvalidStatus as error:
        raise _refused(url, error) from error
    except TimeoutError as error:
        raise RealtimeTimeoutError(f"the connection to {url}", options.open_timeout) from error
    except (OSError, InvalidURI, InvalidHandshake, EOFError) as error:
        raise ConnectError(url, str(error) or type(error).__name__) from error


def may_retry(error: RealtimeError) -> bool:
    """Whether another try of connecting may succeed after this failure."""
    if isinstance(error, ConnectError):
        return error.status is None or error.status in RETRIABLE_STATUSES
    return isinstance(error, RealtimeTimeoutError)


def is_loopback(host: str | None) -> bool:
    """Whether this host name or address is of this machine."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refused(url: str, error: InvalidStatus) -> RealtimeError:
    status = error.response.status_code
    try:
        body = json.loads(error.response.body or b"")
        details = body["error"] if isinstance(body["error"], dict) else {"message": str(body["error"])}
    except (ValueError, KeyError, TypeError):
        details = {}
    if status in BAD_KEY_STATUSES:
        return BadKeyError({"message": f"Incorrect API key provided (HTTP {status})"} | details)
    return ConnectError(url, details.get("message") or f"the server answered HTTP {status}", status)
