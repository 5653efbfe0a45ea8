"""``antiphon serve``: run the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.options import ConfigOption


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", show_default=False)] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate chain.", show_default=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key.", show_default=False)] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the database.", show_default=False)] = None,
    allow_anonymous: Annotated[
        bool | None,
        typer.Option("--allow-anonymous", help="Serve callers without a key.", show_default=False),
    ] = None,
    stt: Annotated[str | None, typer.Option(help="Speech-to-text engines, by comma.", show_default=False)] = None,
    llm: Annotated[str | None, typer.Option(help="Language models, by comma.", show_default=False)] = None,
    tts: Annotated[str | None, typer.Option(help="Text-to-speech engines, by comma.", show_default=False)] = None,
    script: Annotated[str | None, typer.Option(help="Script of the scripted engines.", show_default=False)] = None,
    log_level: Annotated[str | None, typer.Option(help="Least level logged.", show_default=False)] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.", show_default=False)] = None,
) -> None:
    """Run the server. Flags win over ANTIPHON_... variables, and these over the settings file."""
    from antiphon.server.settings_sources import load_settings

    settings = load_settings(
        config,
        {
            "server": {
                "host": host,
                "port": port,
                "tls_cert": tls_cert,
                "tls_key": tls_key,
                "allow_anonymous": allow_anonymous,
            },
            "data": {"data_dir": data_dir},
            "engines": {
                "stt": stt,
                "llm": llm,
                "tts": tts,
                "scripted": None if script is None else {"file": script},
            },
            "log": {"level": log_level, "format": log_format},
        },
    )
    from antiphon.server.logging import configure_logging

    configure_logging(settings.log)

    from antiphon.server.compose import compose
    from antiphon.server.run import serve as run

    made = compose(settings)
    run(settings, made.app, ws_protocol=made.ws_protocol, announce=_announce)


def _announce(text: str) -> None:
    # Flushed: whoever starts the server through a pipe waits for these lines.
    typer.echo(text)
    typer.get_text_stream("stdout").flush()
