"""The examples of the guide for apps that move here, each run as it stands in the environment of its client."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .sdk import environments
from .sdk.server import certificate, serve

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(300)]

GUIDE = Path(__file__).parents[3] / "docs" / "openai-realtime.md"
EXAMPLES = dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", GUIDE.read_text(), re.DOTALL))
ADDRESS = "127.0.0.1:7880"
PYTHON = {
    "openai-ga": ("this", "You said: Hello!"),
    "openai-beta": ("openai-1.66", "You said: Hello!"),
    "openai-agents": ("openai-agents", "bytes of speech"),
    "livekit": ("livekit", "You said: Hello!"),
    "pipecat": ("pipecat", "OpenAIRealtimeLLMService"),
}
NODE = {"npm-openai": "You said: Hello!", "npm-agents": "bytes of speech", "npm-reference": "You said: Hello!"}


def run(command: list[str], example: Path, name: str, address: str, key: str, **environment: str) -> str:
    text = EXAMPLES[name]
    assert ADDRESS in text and ("KEY" in text)
    example.write_text(text.replace(ADDRESS, address).replace("KEY", key))
    done = subprocess.run(
        [*command, str(example)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_every_example_is_run() -> None:
    assert EXAMPLES.keys() == PYTHON.keys() | NODE.keys()


@pytest.mark.parametrize("name", PYTHON)
def test_python(name: str, tmp_path: Path) -> None:
    environment, expected = PYTHON[name]
    interpreter = sys.executable if environment == "this" else str(environments.python(environment))
    example = tmp_path / f"{name}_example.py"
    with serve(tmp_path) as server:
        said = run([interpreter], example, name, server.address, server.key, OPENAI_API_KEY="unused")
    assert expected in said


@pytest.mark.skipif(shutil.which("node") is None or shutil.which("npm") is None, reason="node and npm: not installed")
@pytest.mark.parametrize("name", NODE)
def test_node(name: str, tmp_path: Path) -> None:
    example = environments.node_project() / f"example-{name}.mjs"
    chain, secret = certificate(tmp_path)
    flags = ("--tls-cert", str(chain), "--tls-key", str(secret)) if name == "npm-openai" else ()
    with serve(tmp_path, *flags) as server:
        said = run(["node"], example, name, server.address, server.key, NODE_EXTRA_CA_CERTS=str(chain))
    assert NODE[name] in said
