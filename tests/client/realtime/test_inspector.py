"""The inspector, driven by Textual's pilot against a server on a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from realtime_script import SECOND, ScriptedServer, Wire
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from antiphon.client.realtime import RealtimeClient
from antiphon.client.realtime.audio import pcm16_to_wav
from antiphon.client.realtime.client import RealtimeEvent
from antiphon.client.realtime.event_log import EventLog, load_events
from antiphon.client.realtime.inspector import FLOOR_DB, EventScreen, Inspector, InspectorOptions, LevelBar


def inspector(server: ScriptedServer, **options: Any) -> Inspector:
    dialect: Any = server.wire.dialect
    return Inspector(RealtimeClient(url=server.url, dialect=dialect), InspectorOptions(speed=0, **options))


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Let the screen run until it shows what is expected."""
    async with asyncio.timeout(10):
        while not condition():
            await pilot.pause()


def shown(app: Inspector, selector: str) -> str:
    return str(app.screen_stack[0].query_one(selector, Static).render())


def rows(app: Inspector) -> list[list[str]]:
    table = app.screen_stack[0].query_one("#events", DataTable)
    return [list(map(str, table.get_row_at(index))) for index in range(table.row_count)]


async def type_line(pilot: Pilot[None], text: str) -> None:
    pilot.app.screen_stack[0].query_one("#input", Input).value = text
    await pilot.press("enter")


async def test_a_typed_message_its_answer_and_every_event(server: ScriptedServer) -> None:
    server.answers.append(server.wire.audio_turn("San ", "Francisco", audio=b"\x00\x40" * 24_000))
    app = inspector(server)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: "session.updated" in str(rows(app)))
        assert "connected to" in shown(app, "#status")
        await type_line(pilot, "How are you?")
        await until(pilot, lambda: "response.done" in str(rows(app)))
        conversation = shown(app, "#conversation")
        assert "You: How are you?" in conversation
        assert "Agent: San Francisco" in conversation
        assert "(1.0 s)" in conversation
        table = rows(app)
        assert [row[1:3] for row in table[:2]] == [["→", "session.update"], ["←", "session.created"]]
        assert all(len(row[0]) == 12 for row in table)
        bar = app.query_one("#level-server", LevelBar)
        assert bar.peak == pytest.approx(-6, abs=0.1)
        await until(pilot, lambda: bar.level < bar.peak)
        assert app.query_one("#level-client", LevelBar).level == FLOOR_DB


async def test_repeats_are_one_row_with_a_count(server: ScriptedServer) -> None:
    server.answers.append(server.wire.text_turn("a", "b", "c"))
    app = inspector(server)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: "session.updated" in str(rows(app)))
        await pilot.press("f3")
        await until(pilot, lambda: "response.done" in str(rows(app)))
        deltas = [row for row in rows(app) if row[2] == server.wire.name("response.output_text.delta")]
        assert [row[3:] for row in deltas] == [["3", "c"]]


async def test_an_event_opens_in_full(server: ScriptedServer) -> None:
    app = inspector(server)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: "session.updated" in str(rows(app)))
        app.query_one("#events", DataTable).focus()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, EventScreen))
        assert '"type": "session.' in str(app.screen.query_one("#event", Static).render())
        await server.send(*server.wire.user_text("meanwhile"))
        await until(pilot, lambda: "meanwhile" in shown(app, "#conversation"))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, EventScreen))


async def test_a_wav_is_streamed_and_answered(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers.append(server.wire.text_turn("I heard you."))
    path = tmp_path / "speech.wav"
    path.write_bytes(pcm16_to_wav(np.full(8_000, 16_000, np.int16).tobytes(), 8_000))
    app = inspector(server, wav=path)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: "I heard you." in shown(app, "#conversation"))
        assert server.types.count("input_audio_buffer.append") >= 9
        assert "input_audio_buffer.commit" in server.types
        assert app.conversation.get_items()[0].formatted.audio.size == pytest.approx(24_000, abs=2)


async def test_commands(server: ScriptedServer, tmp_path: Path) -> None:
    app = inspector(server)
    assert app.client is not None
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: "session.updated" in str(rows(app)))
        await type_line(pilot, "/vad")
        await server.until_received("session.update", 2)
        assert app.client.get_turn_detection_type() == "server_vad"
        await type_line(pilot, "/ptt")
        await server.until_received("session.update", 3)
        assert app.client.get_turn_detection_type() is None
        await type_line(pilot, "/instructions Be brief.")
        assert (await server.until_received("session.update", 4))["session"]["instructions"] == "Be brief."
        await type_line(pilot, '/raw {"type": "response.cancel", "response_id": "resp_7"}')
        assert (await server.until_received("response.cancel"))["response_id"] == "resp_7"
        await pilot.press("f4")
        await server.until_received("response.cancel", 2)
        await type_line(pilot, "/delete item_x")
        await until(pilot, lambda: 'item "item_x" not found' in shown(app, "#status"))
        await type_line(pilot, f"/save {tmp_path / 'log.jsonl'}")
        await until(pilot, lambda: "saved" in shown(app, "#status"))
        assert len(load_events(tmp_path / "log.jsonl")) >= 10
        await type_line(pilot, "/disconnect")
        await until(pilot, lambda: "closed with code 1000" in shown(app, "#status"))
        await type_line(pilot, "/connect")
        await until(pilot, lambda: "connected to" in shown(app, "#status") and len(server.peers) == 2)
        await pilot.press("ctrl+l")
        assert len(app.log_book.rows) < 5


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("/nonsense", "expected one of /wav, /mic"),
        ("/raw {}", "expected a client event like"),
        ("/raw {", "error: "),
        ("/wav /no/such/file.wav", "error: "),
    ],
)
async def test_wrong_input_is_told_and_the_screen_lives(server: ScriptedServer, typed: str, words: str) -> None:
    app = inspector(server)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: "session.updated" in str(rows(app)))
        await type_line(pilot, typed)
        await until(pilot, lambda: words in shown(app, "#status"))
        await type_line(pilot, "Still here")
        await until(pilot, lambda: "Still here" in shown(app, "#conversation"))


async def test_the_microphone_opens_or_says_what_is_missing(server: ScriptedServer) -> None:
    app = inspector(server, microphone=True)
    outcomes = ("install antiphon[talk]", "cannot open the microphone", "microphone on")
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: any(outcome in shown(app, "#status") for outcome in outcomes))
        assert app.client is not None
        assert app.client.is_connected()
        if "microphone on" in shown(app, "#status"):
            await pilot.press("f2")
            await until(pilot, lambda: "microphone off" in shown(app, "#status"))


async def test_a_server_that_is_not_there_is_told() -> None:
    app = Inspector(RealtimeClient(url="ws://127.0.0.1:9"))
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: "Could not connect" in shown(app, "#status"))
        await type_line(pilot, "Hello?")
        await until(pilot, lambda: "not connected" in shown(app, "#status"))


async def test_the_log_is_saved_at_the_end_and_with_a_key(server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    app = inspector(server, log=path)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: "session.updated" in str(rows(app)))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "saved" in shown(app, "#status"))
        early = len(load_events(path))
        await type_line(pilot, "One more")
        await until(pilot, lambda: "One more" in shown(app, "#conversation"))
    assert len(load_events(path)) > early
    assert app.client is not None
    assert not app.client.is_connected()


@pytest.mark.parametrize("speed", [0, 1000])
async def test_a_saved_log_is_replayed(tmp_path: Path, wire: Wire, speed: float) -> None:
    log = EventLog()
    events = [*wire.user_text("Hi"), *wire.audio_turn("Hel", "lo", audio=SECOND), *wire.tool_turn("f", '{"a":1}')]
    for number, event in enumerate(events):
        log.append(RealtimeEvent(f"2030-01-01T00:00:{number:02d}.000Z", "server", event))
    path = tmp_path / "log.jsonl"
    log.save(path)
    app = Inspector(None, InspectorOptions(replay=path, speed=speed))
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: "replayed" in shown(app, "#status"))
        conversation = shown(app, "#conversation")
        assert "You: Hi" in conversation
        assert "Agent: Hello" in conversation
        assert 'f({"a":1})' in conversation
        assert rows(app)[0][0] == "00:00:00.000"
        await type_line(pilot, "Hello?")
        await until(pilot, lambda: "this is a replay" in shown(app, "#status"))


async def test_a_log_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("nonsense\n")
    app = Inspector(None, InspectorOptions(replay=path))
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: "log.jsonl:1: expected" in shown(app, "#status"))
        assert rows(app) == []
