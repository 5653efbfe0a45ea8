"""Fixtures of the Realtime client's tests: both dialects, and a scripted server on a real socket."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from realtime_script import ScriptedServer, Wire


@pytest.fixture(params=["ga", "beta"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Each of the two dialects."""
    return str(request.param)


@pytest.fixture
def wire(dialect: str) -> Wire:
    """Event sequences in the dialect."""
    return Wire(dialect)


@pytest.fixture
async def server(wire: Wire) -> AsyncIterator[ScriptedServer]:
    """A server that speaks the dialect on 127.0.0.1 and plays scripted answers."""
    async with ScriptedServer(wire) as server:
        yield server
