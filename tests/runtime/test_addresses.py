"""The guard against requests into our own network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.runtime.addresses import AddressError, check_url, is_public, resolve

PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1",
    "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1",
    "64:ff9b::169.254.169.254", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
    "168.63.129.15", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "198.17.255.255", "198.20.0.0",
    "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::200e", "2001:4860:4860::8888", "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
@example(ipaddress.ip_address("::ffff:192.168.1.1"))
def test_never_more_lenient_than_the_standard_library(address: Any) -> None:
    plain = getattr(address, "ipv4_mapped", None) or address
    if is_public(address) and plain not in ipaddress.ip_network("64:ff9b::/96"):
        assert plain.is_global
        assert not plain.is_multicast
        assert not plain.is_reserved or plain.version == 6


@given(st.ip_addresses(v=4))
def test_an_address_hidden_in_another_is_judged_as_itself(inner: ipaddress.IPv4Address) -> None:
    public = is_public(inner)
    assert is_public(f"::ffff:{inner}") is public
    assert is_public(f"64:ff9b::{inner}") is public
    assert not is_public(ipaddress.IPv6Address((0x2002 << 112) | (int(inner) << 80)))
    assert not is_public(f"::{inner}")


@given(
    st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="127.0.0.0/8") | st.ip_addresses(network="fc00::/7")
)
def test_our_own_networks_are_never_public(address: Any) -> None:
    assert not is_public(address)
    assert not is_public(str(address))


def test_what_is_no_address() -> None:
    with pytest.raises(ValueError):
        is_public("example.com")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "LOCALHOST", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1",
        "127.1", "127.0.1", "0", "0.0.0.0", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "169.254.169.254",
        "0xa9fea9fe", "10.1", "fe80::1",
    ],
)  # fmt: skip
async def test_every_way_to_write_our_own_host_is_refused(host: str) -> None:
    with pytest.raises(AddressError, match=r"private address|no address"):
        await resolve(host, 80)


@pytest.mark.parametrize(
    "host", ["127.0.0.1.", "localhost.", "①②⑦.⓪.⓪.①", "127。0。0。1", "a" * 64 + ".example", "..", ""]
)
async def test_odd_hosts_never_get_through(host: str) -> None:
    with pytest.raises(AddressError):
        await resolve(host, 80)


async def test_allowed_addresses_pass() -> None:
    assert "127.0.0.1" in await resolve("127.1", 80, allow_private=True)
    assert await resolve("8.8.8.8", 53) == ("8.8.8.8",)


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def look_up(host: str, port: int, **_: object) -> Iterable[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up, raising=False)


async def test_one_private_address_spoils_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "8.8.8.8", "10.0.0.1")
    with pytest.raises(AddressError, match="'two\\.example' is on a private address"):
        await resolve("two.example", 443)


async def test_all_public_addresses_are_given_once_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "8.8.8.8", "1.1.1.1", "8.8.8.8")
    assert await resolve("two.example", 443) == ("8.8.8.8", "1.1.1.1")


async def test_a_name_without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch)
    with pytest.raises(AddressError, match="no address"):
        await resolve("none.example", 443)


@pytest.mark.parametrize("url", ["http://example.com", "https://example.com:8443/mcp?x=1", "HTTPS://[2606:4700::1]/"])
def test_urls_to_request(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "scheme"),
        ("gopher://example.com/", "scheme"),
        ("ws://example.com/", "scheme"),
        ("example.com/mcp", "scheme"),
        ("", "scheme"),
        ("http:///mcp", "host"),
        ("http://", "host"),
        ("http://user@example.com/", "user name"),
        ("http://u:p@example.com/", "user name"),
        (" http://example.com/", "spaces"),
        ("http://exa\nmple.com/", "control"),
        ("http://example.com:99999/", "[Pp]ort"),
        ("http://example.com:http/", "[Pp]ort"),
        ("http://[::1", "IPv6"),
    ],
)
def test_urls_not_to_request(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_url(url)
