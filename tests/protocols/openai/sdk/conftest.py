from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from .recorder import recording
from .server import Server, certificate, serve

RECORD = os.environ.get("ANTIPHON_RECORD_TRACES") == "1"


class Serve(Protocol):
    def __call__(self, trace: str, *, tls: bool = False) -> Server: ...


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serve]:
    """Start the test's server; a trace of that name is written when traces are to be recorded."""
    opened = []

    @contextmanager
    def open_one(trace: str, tls: bool) -> Iterator[Server]:
        pair = certificate(tmp_path) if tls else None
        flags = ("--tls-cert", str(pair[0]), "--tls-key", str(pair[1])) if pair and not RECORD else ()
        with serve(tmp_path, *flags) as server:
            if not RECORD:
                yield server
                return
            with recording(trace, server.address, pair) as address:
                yield replace(server, address=address, tls=tls)

    def start(trace: str, *, tls: bool = False) -> Server:
        opened.append(open_one(trace, tls))
        return opened[-1].__enter__()

    yield start
    for context in opened:
        context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def node() -> str:
    """Node's executable."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    return found
