"""Hypothesis plays event by event over a real socket: each refusal is told by its id, each response ends once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from ..attacked import Caller, Target, attacked
from ..test_fuzz import events

PROTOCOLS = {"ga": None, "beta": {"OpenAI-Beta": "realtime=v1"}}
raw = st.text(max_size=40) | st.binary(max_size=40)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with attacked(tmp_path_factory.mktemp("fuzz")) as running:
        yield running
        assert running.reaches("antiphon_sessions_active", 0)


async def play(target: Target, dialect: str, script: list[dict[str, Any] | str | bytes]) -> None:
    async with connect(
        target.ws, proxy=None, compression=None, max_size=None, additional_headers=PROTOCOLS[dialect]
    ) as socket:
        caller = Caller(socket, [])
        assert (await caller.next())["type"] == "session.created"
        for n, event in enumerate(script):
            if isinstance(event, dict):
                await caller.raw(json.dumps(event | {"event_id": f"e{n}"}))
            else:
                await caller.raw(event)
        # Refused in either dialect and in any state, so it is known that all before it was handled.
        await caller.send("no.such.event", event_id="last")
        while not ((event := await caller.next())["type"] == "error" and event["error"]["event_id"] == "last"):
            pass
        errors = [event["error"] for event in caller.heard if event["type"] == "error"]
        known = {f"e{n}" for n in range(len(script))} | {"last", None}
        assert all(error["event_id"] in known and error["message"] for error in errors)
        assert len([error for error in errors if error["event_id"] is None]) <= sum(
            not isinstance(event, dict) for event in script
        )
        assert "server_error" not in {error["type"] for error in errors}
        ids = [event["event_id"] for event in caller.heard]
        assert len(set(ids)) == len(ids)
        created = [event["response"]["id"] for event in caller.heard if event["type"] == "response.created"]
        done = [event["response"]["id"] for event in caller.heard if event["type"] == "response.done"]
        assert len(set(done)) == len(done)
        assert set(done) <= set(created)


def fuzz(target: Target, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(PROTOCOLS)), st.lists(events | raw, max_size=20))
    def run(dialect: str, script: list[dict[str, Any] | str | bytes]) -> None:
        asyncio.run(play(target, dialect, script))

    run()
    assert "Traceback" not in target.log
    assert "failed" not in target.log, "neither the core, nor an observer, nor an endpoint"


def test_events_over_a_socket(target: Target) -> None:
    fuzz(target, 40)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_more_events_over_a_socket(target: Target) -> None:
    fuzz(target, 10_000)
