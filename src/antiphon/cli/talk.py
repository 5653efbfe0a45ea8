"""``antiphon talk``: a conversation by microphone and loudspeaker."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from antiphon.cli.converse import (
    Config,
    Engine,
    Greeting,
    Instructions,
    Json,
    Plot,
    Record,
    Script,
    Tools,
    Turns,
    Voice,
    Wav,
    print_json,
)

Device = Annotated[str | None, typer.Option(help="Name or number of the device; the system's default otherwise.")]


def talk(
    out: Wav = None,
    plot: Plot = None,
    record: Record = None,
    json: Json = False,
    engine: Engine = None,
    script: Script = None,
    config: Config = None,
    instructions: Instructions = "",
    voice: Voice = "",
    greeting: Greeting = "",
    turns: Turns = None,
    tools: Tools = None,
    microphone: Device = None,
    loudspeaker: Device = None,
) -> None:
    """Talk to the agent by microphone and loudspeaker until Ctrl-C.

    Wear headphones: nothing here cancels echo, so through open loudspeakers the agent hears and interrupts itself. The
    options are those of 'converse'.
    """
    from rich.console import Console

    from antiphon.audio.pcm import PCM
    from antiphon.cli.call.model import Call
    from antiphon.cli.call.recorder import Recorder
    from antiphon.cli.call.run import CallPlan, Outputs, hold_call
    from antiphon.cli.call.setup import CallOptions
    from antiphon.cli.call.soundcard import SoundCard, import_sounddevice
    from antiphon.core.events import Ended
    from antiphon.runtime.session import Session

    import_sounddevice()  # before anything slow
    console = Console()

    async def call() -> Call:
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, over.set)
        listening: list[tuple[Session, Recorder]] = []

        def heard(pcm: PCM) -> None:
            for session, recorder in listening:
                recorder.hear(pcm)
                session.hear(pcm)

        async def part(session: Session, recorder: Recorder) -> None:
            session.subscribe(lambda event: over.set() if isinstance(event, Ended) else None)
            if not json:
                console.print("speak; Ctrl-C ends the call", style="dim")
            listening.append((session, recorder))
            await over.wait()
            listening.clear()

        card = SoundCard(heard, microphone, loudspeaker)
        plan = CallPlan(
            options=CallOptions(config, tuple(engine or ()), script, instructions, voice, greeting, turns),
            outputs=Outputs(out, plot, record, shown=not json),
            title="talk",
            tools=tools,
            speaker=card.outlet,
        )
        with card:
            return await hold_call(plan, part, console)

    finished = asyncio.run(call())
    if json:
        print_json(finished)
