"""HTTP to addresses that users name."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpcore2
import httpx2
import pytest

from antiphon.runtime.guarded_http import GuardedBackend, GuardedTransport, guarded_client


@contextlib.asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server on a loopback port that sends these bytes, one a connection; gives the port and the requests' heads."""
    heads: list[bytes] = []
    queue = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(queue.pop(0))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heads


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Recorder(httpcore2.AsyncMockBackend):
    """Answers every connection with 200, and remembers where it was to."""

    def __init__(self, failing: int = 0) -> None:
        super().__init__([answer("200 OK")])
        self.to: list[tuple[str, int]] = []
        self.failing = failing

    async def connect_tcp(self, host: str, port: int, *more: Any, **options: Any) -> httpcore2.AsyncNetworkStream:
        self.to.append((host, port))
        if len(self.to) <= self.failing:
            raise httpcore2.ConnectError("nobody there")
        return await super().connect_tcp(host, port, *more, **options)


def name(monkeypatch: pytest.MonkeyPatch, **hosts: list[list[str]]) -> None:
    """Let names (with _ for .) have these addresses, one list a look-up."""

    async def look_up(host: str, port: int, **_: object) -> Iterable[Any]:
        found = hosts[host.replace(".", "_")].pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up, raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0"])
async def test_our_own_host_is_not_reached(host: str) -> None:
    async with answering(answer("200 OK")) as (port, heads), guarded_client() as http:
        with pytest.raises(httpx2.ConnectError, match="private address"):
            await http.get(f"http://{host}:{port}/")
    assert heads == []


async def test_allowed_it_is_reached() -> None:
    async with answering(answer("200 OK", body=b"hi")) as (port, heads), guarded_client(allow_private=True) as http:
        assert (await http.get(f"http://127.1:{port}/x?y=1", headers={"a": "b"})).text == "hi"
    assert heads[0].startswith(b"GET /x?y=1 HTTP/1.1\r\n")
    assert b"a: b\r\n" in heads[0]


async def test_connects_to_the_address_that_was_checked_and_names_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    # The second look-up would lead inwards: there must be none between check and connection.
    name(monkeypatch, rebind_example=[["8.8.8.8"], ["127.0.0.1"]])
    backend = Recorder()
    transport = GuardedTransport(GuardedBackend(inner=backend))
    async with httpx2.AsyncClient(transport=transport) as http:
        response = await http.get("http://rebind.example:81/")
        assert response.status_code == 200
        assert response.request.headers["host"] == "rebind.example:81"
        assert backend.to == [("8.8.8.8", 81)]
        with pytest.raises(httpx2.ConnectError, match="private address"):
            await http.get("http://rebind.example:81/")
    assert backend.to == [("8.8.8.8", 81)]


async def test_tls_names_the_host_not_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    name(monkeypatch, safe_example=[["8.8.8.8"]])
    names: list[str | None] = []

    async def start_tls(self: Any, ssl_context: Any, server_hostname: str | None = None, timeout: Any = None) -> Any:
        names.append(server_hostname)
        return self

    monkeypatch.setattr(httpcore2.AsyncMockStream, "start_tls", start_tls)
    async with httpx2.AsyncClient(transport=GuardedTransport(GuardedBackend(inner=Recorder()))) as http:
        assert (await http.get("https://safe.example/")).status_code == 200
    assert names == ["safe.example"]


async def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    name(monkeypatch, two_example=[["8.8.8.8", "1.1.1.1"]])
    backend = Recorder(failing=1)
    async with httpx2.AsyncClient(transport=GuardedTransport(GuardedBackend(inner=backend))) as http:
        assert (await http.get("http://two.example/")).status_code == 200
    assert backend.to == [("8.8.8.8", 80), ("1.1.1.1", 80)]


async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    name(monkeypatch, two_example=[["8.8.8.8", "1.1.1.1"]])
    async with httpx2.AsyncClient(transport=GuardedTransport(GuardedBackend(inner=Recorder(failing=2)))) as http:
        with pytest.raises(httpx2.ConnectError, match="nobody there"):
            await http.get("http://two.example/")


async def test_a_redirect_inwards_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    name(monkeypatch, out_example=[["8.8.8.8"]], in_example=[["192.168.0.1"]])
    backend = Recorder()
    backend._buffer = [answer("302 Found", "Location: http://in.example/secret")]
    transport = GuardedTransport(GuardedBackend(inner=backend))
    async with httpx2.AsyncClient(transport=transport, follow_redirects=True) as http:
        with pytest.raises(httpx2.ConnectError, match=r"'in\.example' is on a private address"):
            await http.get("http://out.example/")
    assert backend.to == [("8.8.8.8", 80)]


async def test_other_schemes_and_sockets_are_refused() -> None:
    async with guarded_client() as http:
        with pytest.raises(httpx2.UnsupportedProtocol):
            await http.get("ftp://8.8.8.8/")
    with pytest.raises(httpcore2.ConnectError, match="socket"):
        await GuardedBackend().connect_unix_socket("/run/docker.sock")


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with answering(answer("200 OK")) as (port, _), guarded_client(allow_private=True) as http:
        assert (await http.get(f"http://127.0.0.1:{port}/")).status_code == 200


async def test_answers_are_bounded_but_for_event_streams() -> None:
    body = b"x" * 2000
    stream = "Content-Type: text/event-stream"
    async with answering(answer("200 OK", body=body), answer("200 OK", stream, body=body)) as (port, _):
        transport = GuardedTransport(GuardedBackend(allow_private=True), most_bytes=1000)
        async with httpx2.AsyncClient(transport=transport) as http:
            with pytest.raises(httpx2.ReadError, match="at most 1000 bytes"):
                await http.get(f"http://127.0.0.1:{port}/")
            assert (await http.get(f"http://127.0.0.1:{port}/")).content == body


async def test_a_broken_answer_is_the_clients_own_error() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    async with answering(b"nonsense\r\n\r\n", cut) as (port, _), guarded_client(allow_private=True) as http:
        for _ in range(2):
            with pytest.raises(httpx2.RemoteProtocolError):
                await http.get(f"http://127.0.0.1:{port}/")
