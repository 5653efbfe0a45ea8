"""Runs the application: the socket, TLS, signals, the drain."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Generator

import uvicorn
from fastapi import FastAPI

from antiphon import __version__
from antiphon.errors import ConfigError, PortInUseError
from antiphon.server.settings import ServerSettings, Settings

__all__ = ["bind", "serve"]

_log = logging.getLogger(__name__)

_BACKLOG = 2048
_CLOSING_SECONDS = 3.0
"""How long connections get to close after the drain, and how long a drain may overrun its bound."""


def bind(settings: ServerSettings) -> socket.socket:
    """Bind the address to listen on, before anything slow starts.

    Raises:
        PortInUseError: Somebody else listens there.
        ConfigError: The host is unknown or not this machine's, or the port needs rights we do not have.
    """
    host, port = settings.host, settings.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(f"setting 'server.host': there is no host {host!r} ({error.strerror})") from error
    # IPv4 first: for "localhost" that is what most clients try.
    family, kind, proto, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)  # now, so that a port taken by a listener shows here
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(host, port) from error
        if error.errno == errno.EACCES:
            raise ConfigError(
                f"setting 'server.port': listening on port {port} needs more rights; expected 1024 or above"
            ) from error
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return sock


def _check_tls(settings: ServerSettings) -> None:
    if settings.tls_cert is None or settings.tls_key is None:
        return
    for name, path in (("tls_cert", settings.tls_cert), ("tls_key", settings.tls_key)):
        if not path.is_file():
            raise ConfigError(f"setting 'server.{name}': there is no file {path}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"settings 'server.tls_cert' and 'server.tls_key': expected a PEM certificate and its key, "
            f"got {settings.tls_cert} and {settings.tls_key} ({error})"
        ) from error


class _Server(uvicorn.Server):
    """Uvicorn's server, told to announce itself, and to drain before it shuts down."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: Settings, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = settings.server.drain_seconds
        self._announce = announce
        self._hurry = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Ours are installed before the application starts, and do not kill the process again at the end.
        yield

    def stop(self) -> None:
        """Answer a signal: the first starts the drain, the second cuts it short."""
        if self.should_exit:
            self._hurry.set()
            self.force_exit = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.draining = True
        try:
            await self._drain()
        finally:
            await super().shutdown(sockets)

    async def _drain(self) -> None:
        """Let sessions finish: the listener stays open meanwhile, so that health checks see the drain."""
        sessions = self._app.state.sessions
        if sessions is None or self._hurry.is_set():
            return
        _log.info("draining: %d sessions may run on for %g s", sessions.count, self._drain_seconds)
        drain = asyncio.ensure_future(sessions.drain(self._drain_seconds))
        hurry = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait(
                {drain, hurry},
                timeout=self._drain_seconds + _CLOSING_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            hurry.cancel()
        if drain.done():
            drain.result()
            return
        _log.warning("the drain was cut short: %d sessions are cut off", sessions.count)
        drain.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await drain


def _authority(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _announcement(app: FastAPI, sock: socket.socket, settings: Settings) -> str:
    """What is printed once the server listens: its addresses, and the first key where one was made."""
    tls = settings.server.tls
    authority = _authority(sock)
    http, ws = ("https", "wss") if tls else ("http", "ws")
    lines = [
        f"Antiphon {__version__} listens.",
        f"  {http}://{authority}   REST; also /healthz, /readyz, /metrics",
        f"  {ws}://{authority}/v1/realtime   OpenAI Realtime",
    ]
    if app.state.first_key is not None:
        lines += [
            "",
            "This is your first service key. It is shown this once and stored only as a hash:",
            f"  {app.state.first_key}",
            "Use it wherever a client asks for an OpenAI key, for example:",
            f'  OpenAI(base_url="{http}://{authority}/v1", api_key="{app.state.first_key[:6]}...")',
            "'antiphon keys create' makes another, 'antiphon keys revoke' ends one.",
        ]
    elif settings.server.allow_anonymous:
        lines.append("  Callers need no key (server.allow_anonymous).")
    return "\n".join(lines)


def serve(
    settings: Settings,
    app: FastAPI,
    *,
    ws_protocol: type[asyncio.Protocol] | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Run the application until it is told to stop.

    SIGTERM and SIGINT drain it: new sessions are refused, running ones have ``server.drain_seconds`` to
    finish; a second signal ends them at once.

    Args:
        settings: All settings.
        app: What :func:`antiphon.server.app.create_app` made.
        ws_protocol: The asyncio protocol that uvicorn hands a connection to when it asks for a WebSocket;
            without one such a request is an ordinary GET.
        announce: Told, once the server listens, what a person should read.

    Raises:
        PortInUseError: The port is taken.
        ConfigError: Host, port or TLS files cannot be used.
        StoreError: The database cannot be opened.
    """
    _check_tls(settings.server)
    sock = bind(settings.server)
    with contextlib.closing(sock), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, app, sock, ws_protocol, announce))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:  # not made for Windows
        return None
    return uvloop.new_event_loop


async def _serve(
    settings: Settings,
    app: FastAPI,
    sock: socket.socket,
    ws_protocol: type[asyncio.Protocol] | None,
    announce: Callable[[str], None],
) -> None:
    config = uvicorn.Config(
        app,
        http="httptools",
        ws=ws_protocol or "none",
        ws_max_size=settings.limits.max_message_bytes,
        lifespan="off",  # entered below: an expected failure at start then reaches the caller as it is
        interface="asgi3",
        log_config=None,
        access_log=False,  # it would hold network addresses; /metrics counts requests
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=int(_CLOSING_SECONDS),
        ssl_certfile=settings.server.tls_cert,
        ssl_keyfile=settings.server.tls_key,
    )
    server = _Server(config, app, settings, lambda: announce(_announcement(app, sock, settings)))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    try:
        async with app.router.lifespan_context(app):
            await server.serve(sockets=[sock])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
