"""``antiphon relay``: let browsers talk to a Realtime API without its key."""

from __future__ import annotations

from typing import Annotated

import typer


def relay(
    upstream: Annotated[str, typer.Option(help="Address of the Realtime API (wss, ws, https or http).")],
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8081,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    path: Annotated[str, typer.Option(help="The path that is served.")] = "/",
    api_key: Annotated[
        str | None,
        typer.Option(
            help="The key. Better by the environment, where other users do not see it.",
            envvar=["ANTIPHON_API_KEY", "OPENAI_API_KEY"],
            show_envvar=True,
            show_default=False,
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Web origin that may connect, e.g. https://app.example; may be repeated; * for all. "
            "Without this option: pages of this machine.",
            show_default=False,
        ),
    ] = None,
    allow_missing_origin: Annotated[
        bool | None,
        typer.Option(
            "--allow-missing-origin/--require-origin",
            help="Serve clients that send no Origin (no browser). Default: only when listening on this machine.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Instead of the model the browser asks for.", show_default=False)
    ] = None,
    max_connections: Annotated[int, typer.Option(help="Connections at a time.", min=1)] = 100,
) -> None:
    """Relay browsers to a Realtime API: they connect without the key, the relay holds it."""
    import asyncio
    import contextlib
    import logging

    from antiphon.client.realtime.connection import realtime_url
    from antiphon.client.realtime.errors import ConnectError
    from antiphon.client.realtime.relay import Relay, RelayOptions

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        realtime_url(upstream, None)
    except ConnectError as error:
        raise typer.BadParameter(str(error), param_hint="--upstream") from error
    options = RelayOptions(
        upstream=upstream,
        api_key=api_key,
        host=host,
        port=port,
        path=path,
        origins=origin,
        allow_missing_origin=allow_missing_origin,
        model=model,
        max_connections=max_connections,
    )

    async def run() -> None:
        async with Relay(options) as running:
            typer.echo(f"Relay for {upstream} at ws://{host}:{running.port}{path}")
            typer.get_text_stream("stdout").flush()
            await asyncio.get_running_loop().create_future()

    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(run())
        except OSError as error:
            typer.echo(f"cannot listen on {host}:{port}: {error.strerror or error}", err=True)
            raise typer.Exit(1) from error
