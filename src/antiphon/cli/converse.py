"""``antiphon converse``: a recording of a person, answered by the agent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from antiphon.cli.call.model import Call

Speech = Annotated[
    list[Path],
    typer.Argument(
        help="Recordings of a person speaking, of any format and rate. Several are played one after the other, each "
        "once the agent has answered the one before."
    ),
]
Wav = Annotated[Path | None, typer.Option("--out", help="Write both voices: left the user, right the agent as heard.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Draw the call: a .png, .svg or .pdf file.")]
Record = Annotated[Path | None, typer.Option("--record", help="Record the session's inputs for 'antiphon replay'.")]
Json = Annotated[bool, typer.Option("--json", help="Print the call as one JSON document (docs/converse.md).")]
Engine = Annotated[
    list[str] | None,
    typer.Option("--engine", help="Engine for all roles, or ROLE=NAME with stt, llm or tts; again for fallbacks."),
]
Script = Annotated[Path | None, typer.Option("--script", help="Use scripted engines that play this TOML file.")]
Config = Annotated[Path | None, typer.Option("--config", help="Settings file, instead of antiphon.toml.")]
Instructions = Annotated[str, typer.Option("--instructions", help="What the agent is told to be.")]
Voice = Annotated[str, typer.Option("--voice", help="The agent's voice, by the engine's name for it.")]
Greeting = Annotated[str, typer.Option("--greeting", help="What the agent says first.")]
Turns = Annotated[
    Literal["silence", "semantic"] | None,
    typer.Option("--turns", help="How a turn ends: by silence, or by silence weighed by the turn detector."),
]
Tools = Annotated[
    Path | None, typer.Option("--tools", help="Python file; the agent may call each function defined in it.")
]
Idle = Annotated[float, typer.Option("--idle", min=1.0, help="Longest wait for the agent to speak, in seconds.")]


def converse(
    speech: Speech,
    out: Wav = None,
    plot: Plot = None,
    record: Record = None,
    json: Json = False,
    fast: Annotated[bool, typer.Option("--fast", help="Run in virtual time: waits are skipped, work is not.")] = False,
    engine: Engine = None,
    script: Script = None,
    config: Config = None,
    instructions: Instructions = "",
    voice: Voice = "",
    greeting: Greeting = "",
    turns: Turns = None,
    tools: Tools = None,
    idle: Idle = 30.0,
) -> None:
    """Play a recording of a person to the agent, and show the conversation.

    The recording is heard in real time, 20 ms by 20 ms; after it the agent gets silence until it has finished. Shown
    are transcripts, the agent's words as they are heard, tool calls, interruptions, who had the floor, latencies by
    stage and what was consumed.

    With --json nothing is shown: one document of the schema antiphon.call/1 is printed in the end. Its keys: title,
    engines, seconds, reason, turns, transcripts, interruptions, false_interruptions, failures, tools, timeline,
    latencies, latency_medians, usage, events; all times in seconds since the session was opened.
    """
    from rich.console import Console

    from antiphon.audio.files import read_speech
    from antiphon.cli.call.drive import Driver
    from antiphon.cli.call.recorder import Recorder
    from antiphon.cli.call.run import CallPlan, Outputs, hold_call
    from antiphon.cli.call.setup import CallOptions
    from antiphon.runtime.clock import run_virtual
    from antiphon.runtime.session import Session

    recordings = [read_speech(path) for path in speech]
    console = Console()

    async def part(session: Session, recorder: Recorder) -> None:
        finished = await Driver(session, recorder.hear, idle).play(recordings)
        if not finished and not session.closed and not json:
            console.print(f"the agent said nothing for {idle:g} s: the call ends", style="yellow")

    plan = CallPlan(
        options=CallOptions(config, tuple(engine or ()), script, instructions, voice, greeting, turns),
        outputs=Outputs(out, plot, record, shown=not json),
        title=", ".join(path.name for path in speech),
        tools=tools,
    )
    call = (run_virtual if fast else asyncio.run)(hold_call(plan, part, console))
    if json:
        print_json(call)


def print_json(call: Call) -> None:
    """Print a call's document."""
    import msgspec

    from antiphon.cli.call.report import document

    typer.echo(msgspec.json.format(msgspec.json.encode(document(call)), indent=2).decode())
