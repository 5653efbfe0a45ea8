"""``antiphon prompts``: keep instructions on the server, for sessions that name them by id and version."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from antiphon.cli.options import DEFAULT_PROJECT, ConfigOption, with_store
from antiphon.errors import InputFileError, UsageError

if TYPE_CHECKING:
    from antiphon.platform.prompts import Prompts

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Keep prompts that sessions name by id and version.",
)

ProjectOption = Annotated[str, typer.Option("--project", help="Identifier of the project that the prompt belongs to.")]
VersionOption = Annotated[str | None, typer.Option("--version", help="Which version.")]
_SHOWN = 60


def _with_prompts(config: ConfigOption, work: Callable[[Prompts], Awaitable[T]]) -> T:
    from antiphon.platform.prompts import Prompts

    return with_store(config, lambda store: work(Prompts(store)))


@app.command()
def create(
    file: Annotated[str, typer.Argument(help="File of the instructions, UTF-8; - reads standard input.")],
    id: Annotated[str | None, typer.Option("--id", help="A prompt to add a version to, such as pmpt_greeter.")] = None,
    voice: Annotated[str | None, typer.Option("--voice", help="The voice that goes with it.")] = None,
    project: ProjectOption = DEFAULT_PROJECT,
    config: ConfigOption = None,
) -> None:
    """Write a prompt, or the next version of one. {{name}} in its text stands for a variable."""
    text = _text_of(file)
    made = _with_prompts(config, lambda prompts: prompts.create(text, prompt_id=id, voice=voice, project_id=project))
    typer.echo(made.id)
    typer.echo(f"Wrote version {made.version} of {made.id}.", err=True)


@app.command("list")
def list_(project: ProjectOption = DEFAULT_PROJECT, config: ConfigOption = None) -> None:
    """List a project's prompts in all versions."""
    found = _with_prompts(config, lambda prompts: prompts.list(project))
    row = "{:<30} {:<8} {:<17} {:<12} {}".format
    typer.echo(row("ID", "VERSION", "CREATED", "VOICE", "INSTRUCTIONS"))
    for prompt in found:
        words = " ".join(prompt.instructions.split())
        words = words if len(words) <= _SHOWN else f"{words[: _SHOWN - 3]}..."
        made = prompt.created_at.strftime("%Y-%m-%d %H:%MZ")
        typer.echo(row(prompt.id, prompt.version, made, prompt.voice or "-", words))


@app.command()
def show(
    prompt_id: Annotated[str, typer.Argument(help="Identifier of the prompt, as 'prompts list' shows it.")],
    version: VersionOption = None,
    project: ProjectOption = DEFAULT_PROJECT,
    config: ConfigOption = None,
) -> None:
    """Print a prompt's instructions, of its newest version unless one is named."""
    found = _with_prompts(config, lambda prompts: prompts.get(project, prompt_id, version))
    if found is None:
        which = f"prompt {prompt_id!r}" if version is None else f"version {version!r} of prompt {prompt_id!r}"
        raise UsageError(f"there is no {which} in project {project!r}")
    typer.echo(found.instructions, nl=not found.instructions.endswith("\n"))


@app.command()
def delete(
    prompt_id: Annotated[str, typer.Argument(help="Identifier of the prompt, as 'prompts list' shows it.")],
    version: VersionOption = None,
    project: ProjectOption = DEFAULT_PROJECT,
    config: ConfigOption = None,
) -> None:
    """Delete a version of a prompt, or the whole prompt; running sessions keep what they have."""
    gone = _with_prompts(config, lambda prompts: prompts.delete(prompt_id, version, project))
    typer.echo(f"Deleted {gone} version{'s' if gone > 1 else ''} of {prompt_id}.")


def _text_of(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode()
    except OSError as error:
        raise InputFileError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputFileError(f"{file}: expected UTF-8 text, got byte {error.object[error.start]:#04x}") from error
