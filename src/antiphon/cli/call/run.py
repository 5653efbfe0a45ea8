"""Holds one call: opens a session, lets something play into it, shows it, and returns what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from antiphon.audio.files import write_wav
from antiphon.audio.resample import resample
from antiphon.cli.call.display import Display, summarise
from antiphon.cli.call.model import Call
from antiphon.cli.call.recorder import Recorder
from antiphon.cli.call.setup import CallOptions, engine_names, open_engines, read_settings, session_config
from antiphon.cli.call.tools import ToolFunction, load_tools
from antiphon.core.inputs import CreateResponse
from antiphon.core.items import INPUT_RATE, OUTPUT_RATE
from antiphon.errors import UsageError
from antiphon.runtime.manager import Limits, SessionManager
from antiphon.runtime.playout import Speaker
from antiphon.runtime.recording import Recording
from antiphon.runtime.session import Session

Part = Callable[[Session, Recorder], Awaitable[None]]
"""What plays the user's part: feeds the session and returns when the call should end."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is made of a call. ``shown`` says whether it is shown live."""

    wav: Path | None = None
    picture: Path | None = None
    recording: Path | None = None
    shown: bool = True

    def check(self) -> None:
        """Find out before the call whether its files can be written after it.

        Raises:
            UsageError: A directory is missing, or a picture cannot be drawn.
        """
        if self.picture is not None:
            from antiphon.cli.call.picture import check  # imports matplotlib

            check(self.picture)
        for path in (self.wav, self.picture, self.recording):
            if path is not None and not path.resolve().parent.is_dir():
                raise UsageError(f"{path}: cannot be written: there is no directory {path.resolve().parent}")


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What a call is held with.

    ``title`` names it; ``tools`` is a Python file of tools; ``speaker`` plays the agent to a person.
    """

    options: CallOptions
    outputs: Outputs
    title: str
    tools: Path | None = None
    speaker: Speaker | None = None


async def hold_call(plan: CallPlan, part: Part, console: Console) -> Call:
    """Run one call, from the opening to the files made of it.

    Raises:
        AntiphonError: Settings, engines, the script, the tools or an output file are not as they should be.
    """
    plan.outputs.check()
    settings = read_settings(plan.options)
    config = session_config(plan.options, settings)
    functions: dict[str, ToolFunction] = {}
    if plan.tools:
        offered, functions = load_tools(plan.tools)
        config = replace(config, tools=offered)
    if plan.outputs.shown:
        console.print("starting the engines", style="dim")
    async with open_engines(settings) as engines:
        recorder = Recorder(asyncio.get_running_loop().time, plan.speaker)
        recorder.call.title = plan.title
        recorder.call.engines = engine_names(settings, plan.options.voice)
        manager = SessionManager(engines, Limits(sessions=1))
        try:
            session = manager.open(
                config,
                recorder.observe,
                tools=functions,
                speaker=recorder,
                record=plan.outputs.recording is not None,
            )
            recorder.attach(session)
            await _converse(plan, part, session, recorder, console)
        finally:
            await manager.close()
    call = recorder.finish()
    if plan.outputs.shown:
        summarise(console, call)
    _write(call, plan.outputs, session.recording, console)
    return call


async def _converse(plan: CallPlan, part: Part, session: Session, recorder: Recorder, console: Console) -> None:
    with ExitStack() as stack:
        if plan.outputs.shown:
            display = stack.enter_context(Display(console, recorder, lambda: session.state.timeline))
            session.subscribe(display.observe)
            recorder.on_sound = display.refresh
        session.start()
        if plan.options.greeting:
            session.do(CreateResponse, say=plan.options.greeting)
        await part(session, recorder)
        await session.close()


def _write(call: Call, outputs: Outputs, recording: Recording | None, console: Console) -> None:
    made: list[Path] = []
    if outputs.wav is not None:
        write_wav(outputs.wav, [resample(call.user, INPUT_RATE, OUTPUT_RATE), call.agent], OUTPUT_RATE)
        made.append(outputs.wav)
    if outputs.picture is not None:
        from antiphon.cli.call.picture import draw  # matplotlib takes half a second

        draw(call, outputs.picture)
        made.append(outputs.picture)
    if outputs.recording is not None and recording is not None:
        try:
            recording.write(outputs.recording)
        except OSError as error:
            raise UsageError(f"{outputs.recording}: cannot be written: {error.strerror or error}") from error
        made.append(outputs.recording)
    if made and outputs.shown:
        console.print(f"[bold]wrote[/]  {', '.join(map(str, made))}", highlight=False)
