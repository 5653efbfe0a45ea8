"""The clients' environments: one for each, as their users would install them, kept in ``.cache/sdks`` of the checkout.

What a test asks for is made when it asks, and used again until its requirements change.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NODE_PACKAGES", "PYTHON_PACKAGES", "node_project", "python"]

CACHE = Path(__file__).parents[4] / ".cache" / "sdks"
CLIENTS = Path(__file__).parent / "clients"

PYTHON_PACKAGES = {
    "openai-1.66": ("openai[realtime]==1.66.5",),
    "openai-agents": ("openai-agents==0.24.0", "websockets"),
    "livekit": ("livekit-agents==1.8.9", "livekit-plugins-openai==1.8.9"),
    "pipecat": ("pipecat-ai[openai]==1.14.0",),
}
"""What is installed in each Python environment."""

NODE_PACKAGES = {
    "openai": "7.55.0",
    "@openai/agents-realtime": "0.20.0",
    "openai-realtime-api": "1.0.8",
    "ws": "8.23.0",
    "zod": "4.6.7",
}
"""What the one Node project holds: the clients, and the peers that they ask their users to add."""

_INSTALL_SECONDS = 240


def python(name: str) -> Path:
    """The interpreter of an environment of :data:`PYTHON_PACKAGES`, which is made when it is not there."""
    interpreter = CACHE / name / "bin" / "python"
    requirements = PYTHON_PACKAGES[name]
    with _made_once(name, " ".join(requirements)) as fresh:
        if fresh:
            _run(sys.executable, "-m", "venv", "--clear", str(CACHE / name))
            _install(interpreter, requirements)
    return interpreter


def node_project() -> Path:
    """The directory of the Node project, with the client scripts of this package copied to its ``clients``.

    They must lie inside it: that is how Node finds the packages of a module.
    """
    project = CACHE / "node"
    manifest = json.dumps({"private": True, "type": "module", "dependencies": NODE_PACKAGES}, indent=1)
    with _made_once("node", manifest) as fresh:
        if fresh:
            shutil.rmtree(project, ignore_errors=True)
            project.mkdir(parents=True)
            (project / "package.json").write_text(manifest)
            _run("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", directory=project)
        shutil.copytree(CLIENTS, project / "clients", dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py*"))
    return project


def _install(interpreter: Path, requirements: tuple[str, ...]) -> None:
    """By uv, which takes a tenth of the time; by pip where uv does not find the packages that pip does."""
    tools = CACHE / "tools" / "bin"
    with _made_once("tools", "uv") as fresh:
        if fresh:
            _run(sys.executable, "-m", "venv", "--clear", str(CACHE / "tools"))
            _run(str(tools / "python"), "-m", "pip", "install", "--quiet", "uv")
    by_uv = (str(tools / "uv"), "pip", "install", "--quiet", "--python", str(interpreter), *requirements)
    if subprocess.run(by_uv, capture_output=True, timeout=_INSTALL_SECONDS, check=False).returncode != 0:
        _run(str(interpreter), "-m", "pip", "install", "--quiet", *requirements)


@contextmanager
def _made_once(name: str, content: str) -> Iterator[bool]:
    """Whether the environment must be made; it counts as made when the block ends without an error."""
    CACHE.mkdir(parents=True, exist_ok=True)
    stamp = CACHE / f"{name}.stamp"
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh = not stamp.exists() or stamp.read_text() != content
        if fresh:
            stamp.unlink(missing_ok=True)
        yield fresh
        if fresh:
            stamp.write_text(content)


def _run(*command: str, directory: Path | None = None) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
