"""``antiphon bench``: how well it takes turns. (How fast it is, ``make bench`` tells.)"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from antiphon.cli.options import ConfigOption

app = typer.Typer(
    help="Measure turn taking on spoken dialogues.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

_AIMS = {"pause": "0", "turn": "1", "interruption": "1", "backchannel": "0", "noise": "0"}
"""Take-over rates that are aimed at; talking to somebody else cannot be told apart by one microphone."""


@app.callback()
def _group() -> None:
    """Keep ``turns`` a command of its own, though it is the only one."""


@app.command()
def turns(
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="pause, turn, interruption, backchannel, noise or aside; again for more."),
    ] = None,
    dialogues: Annotated[int, typer.Option("--dialogues", min=1, help="Dialogues a task.")] = 30,
    seed: Annotated[int, typer.Option("--seed", help="What the dialogues are drawn from.")] = 1,
    turns: Annotated[
        Literal["silence", "semantic"],
        typer.Option("--turns", help="How a turn ends: by silence, or by silence weighed by the turn detector."),
    ] = "semantic",
    engine: Annotated[
        list[str] | None,
        typer.Option("--engine", help="ROLE=NAME; STT is local, LLM and voice are scripted unless this says so."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all figures here, as JSON, dialogue by dialogue.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON document.")] = False,
    config: ConfigOption = None,
) -> None:
    """Hold synthetic dialogues in virtual time and report who took the floor, when.

    The user is spoken by Piper and espeak-ng. Tasks are those of Full-Duplex-Bench v1, and two more: keeping quiet in a
    pause within a turn, taking a turn that is over, giving way to an interruption and answering it, going on through
    backchannels, coughs and noises, and through words meant for somebody else.

    With --json one document is printed: turns, seed, tasks (by task: dialogues, take_over_rate, latency, stop_latency,
    soften_latency, held, unheard_words), end_of_turn (the turn detector alone: false_cut_offs_at_300_ms, missed_ends,
    latency_at_5_percent, silence_at_5_percent), dialogues. All times are in seconds.
    """
    import msgspec
    from rich.console import Console

    from antiphon.cli.turn_bench.material import TASKS, Task
    from antiphon.cli.turn_bench.run import Plan, measure
    from antiphon.errors import UsageError

    known: dict[str, Task] = {name: name for name in TASKS}
    unknown = [name for name in task or () if name not in known]
    if unknown:
        raise UsageError(f"--task: expected one of {', '.join(TASKS)}, got {unknown[0]!r}")
    plan = Plan(
        tasks=tuple(known[name] for name in task) if task else TASKS,
        count=dialogues,
        seed=seed,
        turns=turns,
        engines=("stt=local", "llm=scripted", "tts=scripted") if not engine else tuple(engine),
        config=config,
    )
    console = Console(stderr=True)
    with console.status("starting") as status:
        figures = measure(plan, lambda text: status.update(text))
    document = msgspec.json.format(msgspec.json.encode(figures), indent=1)
    if out is not None:
        try:
            out.write_bytes(document)
        except OSError as error:
            raise UsageError(f"{out}: cannot be written: {error.strerror or error}") from error
    if json:
        typer.echo(document.decode())
    else:
        _print(figures)


def _print(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    columns = ("n", "took", "aim", "answer", "p95", "stop", "p95", "duck", "held", "unheard")
    table.add_column("task")
    for column in columns:
        table.add_column(column, justify="right")
    for task, one in figures["tasks"].items():
        table.add_row(
            task,
            str(one["dialogues"]),
            f"{one['take_over_rate']:.0%}",
            f"{float(_AIMS[task]):.0%}" if task in _AIMS else "",
            *_both(one["latency"]),
            *_both(one["stop_latency"]),
            _both(one["soften_latency"])[0],
            _both(one["held"])[0],
            str(one["unheard_words"]),
        )
    console.print(table)
    console.print(
        "took: dialogues in which the agent took (or, spoken over, gave up) the floor. Seconds, medians but for p95: "
        "from the user's last sound to the answer; from the first to the end of the agent's voice, and to its being "
        "ducked; longest silence before it went on. unheard: words in the history that were never heard.",
        style="dim",
    )
    end = figures["end_of_turn"]
    console.print(
        f"Turn detector alone: {end['false_cut_offs_at_300_ms']:.0%} of pauses cut off at 300 ms, "
        f"{end['missed_ends']:.0%} of ends not seen; at 5 % cut-offs it waits {end['latency_at_5_percent']:.2f} s "
        f"on average, plain silence {end['silence_at_5_percent']:.2f} s.",
        highlight=False,
    )


def _both(found: dict[str, float] | None) -> tuple[str, str]:
    return ("-", "-") if found is None else (f"{found['median']:.2f}", f"{found['p95']:.2f}")
