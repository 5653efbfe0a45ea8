from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.cli.call.tools import load_tools
from antiphon.errors import InputFileError

TOOLS = '''
from os.path import join

LIMIT = 3

def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b

async def now() -> str:
    return "noon"

def _hidden() -> None: ...

class Thing: ...
'''


def test_public_functions_become_tools(tmp_path: Path) -> None:
    path = tmp_path / "tools.py"
    path.write_text(TOOLS)
    tools, functions = load_tools(path)
    assert [tool.name for tool in tools] == ["add", "now"]
    assert (tools[0].description, tools[0].run) == ("Add two numbers.", "server")
    schema = json.loads(tools[0].parameters)
    assert schema["properties"]["a"]["type"] == "integer"
    assert schema["required"] == ["a"]
    assert json.loads(tools[1].parameters)["type"] == "object"
    assert functions["add"](2) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "found none"),
        ("1 / 0", "failed with ZeroDivisionError"),
        ("def f(", "failed with SyntaxError"),
        ("def f(x: open): ...", "'f' cannot be described"),
    ],
)
def test_a_file_that_is_none(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tools.py"
    path.write_text(content)
    with pytest.raises(InputFileError, match=message):
        load_tools(path)


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no such file"):
        load_tools(tmp_path / "none.py")
    (tmp_path / "tools.txt").write_text("def f(): ...")
    with pytest.raises(InputFileError, match=r"with the ending \.py"):
        load_tools(tmp_path / "tools.txt")
