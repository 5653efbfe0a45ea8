"""Which addresses a request may go to that is made for a user: never into our own network.

A name is resolved once, every address it has is checked, and the caller connects to the very addresses that were
checked, so a name that changes between the two gains nothing. Nothing is decided by the look of a host: ``0x7f.1``,
``2130706433`` and ``localhost.`` are whatever the resolver, which the connection would use too, makes of them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

__all__ = ["AddressError", "check_url", "is_public", "resolve"]

_REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT; a cloud's metadata is there too
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host, whatever network one is in
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressError(OSError):
    """A host that may not be connected to, or has no address; the message says which."""


def is_public(address: str | IPv4Address | IPv6Address) -> bool:
    """Whether an address is an ordinary one of the public Internet.

    Args:
        address: In canonical form, as a resolver gives it; an IPv6 zone (``%eth0``) may follow.

    Returns:
        False for private, loopback, link-local, multicast, reserved and documentation addresses, for those of cloud
        metadata services, and for IPv6 addresses that hold such an IPv4 address (mapped, NAT64) or any (6to4, Teredo).

    Raises:
        ValueError: It is no IP address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0]) if isinstance(address, str) else address
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _REFUSED_V4)
    if ip.ipv4_mapped is not None:
        return is_public(ip.ipv4_mapped)
    if ip in _NAT64:  # how a network without IPv4 reaches the IPv4 Internet
        return is_public(IPv4Address(int(ip) & 0xFFFF_FFFF))
    return ip in _GLOBAL_UNICAST and not any(ip in network for network in _REFUSED_V6)


def check_url(url: str) -> None:
    """Refuse what can be seen of a URL to be none to request: no look-up is made.

    Raises:
        ValueError: It is not an absolute ``http`` or ``https`` URL with a host, or it has a password in it.
    """
    if url != url.strip() or any(c < " " or c == "\x7f" for c in url):
        raise ValueError("expected a URL without spaces around it or control characters in it")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"expected an http or https URL, got the scheme {parts.scheme!r}")
    if not parts.hostname:
        raise ValueError("expected a URL with a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("expected a URL without a user name or password in it")
    _ = parts.port  # raises where it is no port


async def resolve(host: str, port: int, *, allow_private: bool = False) -> tuple[str, ...]:
    """Look a host up.

    Args:
        host: A name, or an address in whatever form.
        port: 1 to 65535.
        allow_private: Let addresses pass that are not public.

    Returns:
        Its addresses, the resolver's favourite first; connect to these, not to the name.

    Raises:
        AddressError: It has none, or one of them is not public: a name that also points inwards is not to be trusted.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as problem:
        raise AddressError(f"{host!r} has no address: {problem.strerror or problem}") from problem
    except UnicodeError as problem:  # what no name can be, such as a label of 64 letters
        raise AddressError(f"{host!r} is no host name: {problem}") from problem
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise AddressError(f"{host!r} has no address")
    if not allow_private and not all(map(is_public, addresses)):
        raise AddressError(f"{host!r} is on a private address, which this server does not connect to")
    return addresses
