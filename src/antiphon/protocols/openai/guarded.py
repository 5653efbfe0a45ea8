"""HTTP to addresses that a client named, but never into our own network.

The name is resolved here, every address checked, and the connection made to the very address that was checked, so that
a name that changes between the two gains nothing. Redirects are not followed by the client; MCP's stay on their origin.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import httpx2

__all__ = ["GuardedTransport", "guarded_client"]


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Connects to global addresses only.

    Args:
        inner: Makes the connections.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport | None = None) -> None:
        self._inner = inner or httpx2.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to the checked address of its host.

        Raises:
            httpx2.ConnectError: The host has no address, or one that is not global.
        """
        url = request.url
        address = await _checked(url.host, url.port or (443 if url.scheme == "https" else 80))
        pinned = httpx2.Request(
            request.method,
            url.copy_with(host=address),
            headers=request.headers,  # the Host header is the name's, as it was
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": url.host},
        )
        return await self._inner.handle_async_request(pinned)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _checked(host: str, port: int) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as problem:
        raise httpx2.ConnectError(f"{host!r} has no address: {problem.strerror}") from problem
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        ip = ipaddress.ip_address(address.partition("%")[0])
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        if not (mapped or ip).is_global or ip.is_multicast:
            raise httpx2.ConnectError(f"{host!r} is on a private address, which this server does not connect to")
    return addresses[0]


def guarded_client(headers: dict[str, str], *, allow_private: bool = False) -> httpx2.AsyncClient:
    """A client for MCP's transport.

    Args:
        headers: Sent with each request.
        allow_private: Connect anywhere.
    """
    timeout = httpx2.Timeout(30.0, read=300.0)
    if allow_private:
        return httpx2.AsyncClient(headers=headers, timeout=timeout, trust_env=False)
    return httpx2.AsyncClient(headers=headers, timeout=timeout, transport=GuardedTransport())
