"""``antiphon inspect``: try a Realtime server in the terminal and see every event."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class DialectName(StrEnum):
    """Which events to speak."""

    ga = "ga"
    beta = "beta"


def inspect(
    url: Annotated[str, typer.Option(help="Address of the server, or of a relay.")] = "ws://127.0.0.1:7880/v1/realtime",
    api_key: Annotated[
        str | None,
        typer.Option(help="The key.", envvar=["ANTIPHON_API_KEY", "OPENAI_API_KEY"], show_default=False),
    ] = None,
    dialect: Annotated[DialectName, typer.Option(help="Today's events, or those of the beta.")] = DialectName.ga,
    model: Annotated[str | None, typer.Option(help="What to talk to.", show_default=False)] = None,
    instructions: Annotated[str, typer.Option(help="Instructions for the agent.", show_default=False)] = "",
    vad: Annotated[bool, typer.Option("--vad", help="Let the server find the turns.")] = False,
    wav: Annotated[Path | None, typer.Option(help="WAV file to stream at once.", show_default=False)] = None,
    microphone: Annotated[bool, typer.Option("--microphone", help="Begin with the microphone on.")] = False,
    log: Annotated[
        Path | None, typer.Option(help="File for the log, JSON lines, written at the end.", show_default=False)
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Show a saved log instead of connecting.", show_default=False)
    ] = None,
    speed: Annotated[float, typer.Option(help="Of a replay or a WAV: 1 is real time, 0 at once.", min=0)] = 1.0,
) -> None:
    """Connect to a Realtime server and see every event, both voices' levels and the conversation.

    Type to talk; /wav streams a file, /mic the microphone (needs antiphon[talk]), Ctrl-S saves the log.
    """
    try:
        from antiphon.client.realtime.inspector import Inspector, InspectorOptions
    except ImportError as error:
        typer.echo(f"the inspector needs the package textual: install antiphon[inspect] ({error})", err=True)
        raise typer.Exit(1) from error
    from antiphon.client.realtime import DEFAULT_VAD, RealtimeClient

    for path in (wav, replay):
        if path is not None and not path.is_file():
            raise typer.BadParameter(f"there is no file {path}")
    client = None
    if replay is None:
        client = RealtimeClient(url=url, api_key=api_key, dialect=dialect.value, model=model)
        client.update_session(instructions=instructions, turn_detection=DEFAULT_VAD if vad else None)
    Inspector(client, InspectorOptions(log, replay, speed, wav, microphone)).run()
