"""An HTTP client for addresses that users name: only to public ones, only to those that were checked, and bounded.

Connections are made by a backend of the connection pool, so that redirects, reconnections and every other way to a
new connection pass the guard too; host header, TLS name and certificate check stay those of the URL.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import httpcore2
import httpx2

from antiphon.runtime.addresses import AddressError, resolve

__all__ = ["MOST_BYTES", "GuardedBackend", "GuardedTransport", "guarded_client"]

MOST_BYTES = 8 * 1024 * 1024
"""The longest answer that is read; event streams, which their readers bound by the event, may be longer."""
GOODBYE_SECONDS = 2.0
"""How long a DELETE may take: it says goodbye, and who leaves does not wait."""


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens TCP connections to checked addresses.

    Args:
        allow_private: Connect anywhere.
        inner: Makes the connections, to an address.
    """

    def __init__(self, *, allow_private: bool = False, inner: httpcore2.AsyncNetworkBackend | None = None) -> None:
        self._allow_private = allow_private
        self._inner = inner or httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a host that answers.

        Raises:
            httpcore2.ConnectError: The host is refused, or none of its addresses answers.
        """
        try:
            addresses = await resolve(host, port, allow_private=self._allow_private)
        except AddressError as problem:
            raise httpcore2.ConnectError(str(problem)) from problem
        failed: Exception = httpcore2.ConnectError("no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as problem:
                failed = problem
        raise failed

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: nothing a user names is a socket of ours."""
        raise httpcore2.ConnectError("expected a host, got the path of a socket")

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts."""
        await self._inner.sleep(seconds)


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Requests over guarded connections, without proxies.

    Args:
        backend: Opens them.
        most_bytes: The longest answer that is read.
        verify: Checks certificates; the system's and the package's authorities by default.
    """

    def __init__(
        self, backend: GuardedBackend, *, most_bytes: int = MOST_BYTES, verify: ssl.SSLContext | None = None
    ) -> None:
        self._most_bytes = most_bytes
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=verify or httpx2.create_ssl_context(trust_env=False),
            max_connections=16,
            max_keepalive_connections=4,
            keepalive_expiry=30.0,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request.

        Raises:
            httpx2.ConnectError: The host is refused or does not answer.
            httpx2.TransportError: The exchange failed in another way.
        """
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        extensions = dict(request.extensions)
        if request.method == "DELETE":
            extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), GOODBYE_SECONDS)
        asked = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=extensions,
        )
        try:
            answer = await self._pool.handle_async_request(asked)
        except Exception as problem:
            raise _translated(problem) from problem
        headers = httpx2.Headers(answer.headers)
        endless = headers.get("content-type", "").lower().startswith("text/event-stream")
        return httpx2.Response(
            answer.status,
            headers=headers,
            stream=_Body(answer, None if endless else self._most_bytes),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: httpcore2.Response, most: int | None) -> None:
        self._answer = answer
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        try:
            async for chunk in self._answer.aiter_stream():
                read += len(chunk)
                if self._most is not None and read > self._most:
                    raise httpx2.ReadError(f"expected an answer of at most {self._most} bytes")
                yield chunk
        except httpx2.HTTPError:
            raise
        except Exception as problem:
            raise _translated(problem) from problem

    async def aclose(self) -> None:
        await self._answer.aclose()


def _translated(problem: Exception) -> Exception:
    """The pool's exception as the client's own; both name theirs alike."""
    for kind in type(problem).__mro__:
        found = getattr(httpx2, kind.__name__, None) if kind.__module__.startswith("httpcore2") else None
        if isinstance(found, type) and issubclass(found, httpx2.HTTPError):
            return found(str(problem))
    return problem


def guarded_client(headers: Mapping[str, str] | None = None, *, allow_private: bool = False) -> httpx2.AsyncClient:
    """A client whose requests cannot reach private addresses, redirected or not.

    Args:
        headers: Sent with each request.
        allow_private: Let them.
    """
    return httpx2.AsyncClient(
        headers=dict(headers or {}),
        timeout=httpx2.Timeout(10.0, read=300.0),
        transport=GuardedTransport(GuardedBackend(allow_private=allow_private)),
        trust_env=False,
    )
