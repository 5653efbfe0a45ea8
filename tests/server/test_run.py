from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI

from antiphon.errors import ConfigError, PortInUseError, StoreError
from antiphon.server import run
from antiphon.server.app import create_app
from antiphon.server.settings import DataSettings, ServerSettings, Settings


@dataclass
class Running:
    """A server on a real socket, in this event loop."""

    app: FastAPI
    url: str
    announced: str
    task: asyncio.Task[None]

    def signal(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


@asynccontextmanager
async def running(settings: Settings, ws_protocol: type[asyncio.Protocol] | None = None) -> AsyncIterator[Running]:
    app = create_app(settings)
    announced = asyncio.get_running_loop().create_future()
    sock = run.bind(settings.server)
    port = sock.getsockname()[1]
    task = asyncio.create_task(run._serve(settings, app, sock, ws_protocol, announced.set_result))
    try:
        await asyncio.wait({announced, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        scheme = "https" if settings.server.tls else "http"
        yield Running(app, f"{scheme}://127.0.0.1:{port}", announced.result(), task)
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await task
    finally:
        task.cancel()
        await asyncio.wait({task})
        sock.close()


@dataclass
class Sessions:
    """A session manager whose sessions end when the test says so."""

    count: int = 1
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    timeouts: list[float] = field(default_factory=list)
    cut_off: bool = False

    async def drain(self, timeout: float) -> None:
        self.timeouts.append(timeout)
        self.draining.set()
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            self.cut_off = True
            raise
        self.count = 0


async def test_it_announces_addresses_and_the_first_key_once(settings: Settings) -> None:
    async with running(settings) as server, httpx.AsyncClient() as client:
        assert (await client.get(f"{server.url}/healthz")).status_code == 200
        assert server.url in server.announced
        assert server.url.replace("http", "ws") in server.announced
        key = server.app.state.first_key
        assert key in server.announced
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    async with running(settings) as again:
        assert "ak_" not in again.announced


async def test_during_a_drain_health_answers_and_readiness_says_no(settings: Settings) -> None:
    async with running(settings) as server, httpx.AsyncClient(base_url=server.url) as client:
        sessions = server.app.state.sessions = Sessions()
        server.signal()
        await sessions.draining.wait()
        assert (await client.get("/healthz")).status_code == 200
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["draining"]) == (503, True)
        assert not server.task.done()
        sessions.ended.set()
        await server.task
        assert sessions.timeouts == [settings.server.drain_seconds]
        assert not sessions.cut_off


async def test_a_second_signal_cuts_the_drain_short(settings: Settings) -> None:
    async with running(settings) as server:
        sessions = server.app.state.sessions = Sessions()
        server.signal()
        await sessions.draining.wait()
        server.signal()
        await server.task
        assert sessions.cut_off


async def test_a_drain_that_never_ends_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_CLOSING_SECONDS", 0)
    settings = Settings(server=ServerSettings(port=0, drain_seconds=0), data=DataSettings(data_dir=tmp_path))
    async with running(settings) as server:
        sessions = server.app.state.sessions = Sessions()
        server.signal()
        await server.task
        assert sessions.cut_off


async def test_a_failing_drain_is_not_hidden(settings: Settings) -> None:
    class Broken(Sessions):
        async def drain(self, timeout: float) -> None:
            raise RuntimeError("drain broke")

    with pytest.raises(RuntimeError, match="drain broke"):
        async with running(settings) as server:
            server.app.state.sessions = Broken()


async def test_a_websocket_request_goes_to_the_protocol_class(settings: Settings) -> None:
    made: list[dict[str, Any]] = []

    class Upgraded(asyncio.Protocol):
        def __init__(self, **given: Any) -> None:
            made.append(given)

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"taken over: " + data.split(b"\r\n")[0] + b"\n")
            self.transport.close()

        def shutdown(self) -> None:
            raise AssertionError("the connection is closed already")

    async with running(settings, Upgraded) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        writer.write(
            b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert await reader.readline() == b"taken over: GET /v1/realtime HTTP/1.1\n"
        writer.close()
        await writer.wait_closed()
        assert made[0]["config"].app is server.app
        assert {"config", "server_state", "app_state"} <= set(made[0])


def test_a_port_in_use_is_named_with_the_ways_to_change_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} on 127\.0\.0\.1 .*--port.*antiphon\.toml") as caught:
            run.bind(ServerSettings(port=port))
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "message"),
    [("no.such.host.invalid", "there is no host"), ("192.0.2.1", "cannot listen on 192.0.2.1")],
)
def test_hosts_that_are_not_ours(host: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run.bind(ServerSettings(host=host, port=0))


def test_localhost_means_ipv4() -> None:
    with contextlib.closing(run.bind(ServerSettings(host="localhost", port=0))) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"
        assert run._authority(sock).startswith("127.0.0.1:")


async def test_a_database_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "antiphon.db").write_bytes(b"not a database at all" * 100)
    settings = Settings(server=ServerSettings(port=0), data=DataSettings(data_dir=tmp_path))
    with pytest.raises(StoreError, match="file is not a database"):
        async with running(settings):
            raise AssertionError("it must not start")


def _certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "antiphon test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


async def test_tls_is_spoken_with_the_given_certificate(tmp_path: Path) -> None:
    cert, key = _certificate(tmp_path)
    settings = Settings(server=ServerSettings(port=0, tls_cert=cert, tls_key=key), data=DataSettings(data_dir=tmp_path))
    context = ssl.create_default_context(cafile=str(cert))
    async with running(settings) as server, httpx.AsyncClient(verify=context) as client:
        assert (await client.get(f"{server.url}/healthz")).json()["status"] == "ok"
        assert "wss://127.0.0.1" in server.announced


def test_tls_files_are_checked_before_anything_starts(tmp_path: Path) -> None:
    cert, key = _certificate(tmp_path)
    with pytest.raises(ConfigError, match=r"server\.tls_key': there is no file"):
        run._check_tls(ServerSettings(tls_cert=cert, tls_key=tmp_path / "missing.pem"))
    with pytest.raises(ConfigError, match="expected a PEM certificate and its key"):
        run._check_tls(ServerSettings(tls_cert=key, tls_key=cert))
    run._check_tls(ServerSettings(tls_cert=cert, tls_key=key))
