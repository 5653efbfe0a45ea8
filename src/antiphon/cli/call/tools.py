"""Tools for a call from a Python file: each of its public functions may be called by the agent."""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import PydanticUserError, TypeAdapter

from antiphon.core.items import Tool
from antiphon.errors import InputFileError

ToolFunction = Callable[..., Any]
_SCHEMA: Any = TypeAdapter  # its stub does not know that it takes functions


def load_tools(path: Path) -> tuple[tuple[Tool, ...], dict[str, ToolFunction]]:
    """Read a file of tools; its code is run.

    Each function defined in it whose name has no leading underscore becomes a tool: the docstring describes it, the
    annotations of its parameters make its JSON schema. It may be ``async``.

    Raises:
        InputFileError: The file is missing, fails to run, holds no function, or one cannot be described.
    """
    if not path.is_file():
        raise InputFileError(f"{path}: there is no such file of tools")
    spec = importlib.util.spec_from_file_location("antiphon_tools", path)
    if spec is None or spec.loader is None:
        raise InputFileError(f"{path}: expected a Python file, with the ending .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputFileError(f"{path}: running it failed with {type(error).__name__}: {error}") from error
    functions: dict[str, ToolFunction] = {
        name: function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == "antiphon_tools" and not name.startswith("_")
    }
    if not functions:
        raise InputFileError(f"{path}: expected at least one function without a leading underscore, found none")
    return tuple(_tool(path, name, function) for name, function in functions.items()), functions


def _tool(path: Path, name: str, function: ToolFunction) -> Tool:
    try:
        schema = _SCHEMA(function).json_schema()
    except (PydanticUserError, NameError) as error:
        raise InputFileError(f"{path}: the parameters of {name!r} cannot be described as JSON: {error}") from error
    return Tool(name, inspect.getdoc(function) or "", json.dumps(schema), run="server")
