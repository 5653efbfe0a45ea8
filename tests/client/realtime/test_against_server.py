"""The reference client's own suite (4 files, 31 tests) and more, in Python, against `antiphon serve`.

The server is a process of its own with scripted engines; at the end once with the embedded ones. Class names follow
the reference suite's files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.client.realtime import (
    BadKeyError,
    ConnectionClosedError,
    RealtimeAPI,
    RealtimeClient,
    RealtimeEvent,
    Reconnect,
    ServerError,
    SyncRealtimeClient,
    UnknownItemError,
)
from antiphon.client.realtime.audio import read_wav
from antiphon.client.realtime.items import Item

SCRIPT = """
[stt]
default = "Is Toronto a nice place to live?"
[llm]
default = "I live in San Francisco."
[[llm.rule]]
after_tool = "*"
text = "The tool says {output}."
[[llm.rule]]
match = "weather"
call_tools = [{ name = "get_weather", arguments = { lat = 1, lng = 2, location = "Paris" } }]
[[llm.rule]]
match = "toronto"
text = "Toronto is a nice place."
[[llm.rule]]
match = "story"
text = "Once upon a time there was a long story that went on and on and on until nobody could listen any more."
[[llm.rule]]
match = "out of band"
text = "This is spam."
"""
WEATHER = {
    "name": "get_weather",
    "description": "Weather at a place.",
    "parameters": {
        "type": "object",
        "properties": {"lat": {"type": "number"}, "lng": {"type": "number"}, "location": {"type": "string"}},
        "required": ["lat", "lng", "location"],
    },
}


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    url: str
    key: str


@contextlib.contextmanager
def served(directory: Path, *flags: str) -> Iterator[Served]:
    """Run `antiphon serve` with a directory of its own; its first lines tell the address and the key."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    if "ANTIPHON_DATA__MODELS_DIR" in os.environ:
        environment["ANTIPHON_DATA__MODELS_DIR"] = os.environ["ANTIPHON_DATA__MODELS_DIR"]
    command = [sys.executable, "-c", "from antiphon.cli import main; main()", "serve", "--port", "0"]
    with (directory / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [*command, "--data-dir", str(directory / "data"), "--log-level", "warning", *flags],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=directory,
            env=environment,
        )
        try:
            assert process.stdout is not None
            announced = ""
            url = key = None
            while not (url and key):
                line = process.stdout.readline()
                assert line, f"the server ended: {announced}{(directory / 'stderr').read_text()}"
                announced += line
                url = re.search(r"ws://\S+/v1/realtime", announced)
                key = re.search(r"shown this once.*\n\s+(\S+)", announced)
            yield Served(url.group(), key.group(1))
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("serve")
    (directory / "script.toml").write_text(SCRIPT)
    engines = [flag for role in ("stt", "llm", "tts") for flag in (f"--{role}", "scripted")]
    with served(directory, *engines, "--script", "script.toml") as server:
        yield server


def make(server: Served, dialect: Any, **options: Any) -> RealtimeClient:
    return RealtimeClient(url=server.url, api_key=server.key, dialect=dialect, **options)


@pytest.fixture
async def client(scripted: Served, dialect: str) -> AsyncIterator[RealtimeClient]:
    client = make(scripted, dialect)
    yield client
    await client.disconnect()


def logged(client: RealtimeClient) -> list[RealtimeEvent]:
    log: list[RealtimeEvent] = []
    client.on("realtime.event", log.append)
    return log


def entry(event: RealtimeEvent) -> tuple[str, str]:
    return event.source, str(event.event["type"])


async def answer(client: RealtimeClient) -> Item:
    """The next completed message of the assistant."""
    while True:
        item = await client.wait_for_next_completed_item(timeout=20)
        if item.role == "assistant":
            return item


class TestApi:
    """test/lib/api.js: 5 tests."""

    def test_constructs_without_a_key(self, scripted: Served) -> None:
        assert not RealtimeAPI(url=scripted.url).api_key

    async def test_connects_without_a_key_and_is_told(self, scripted: Served, dialect: Any) -> None:
        api = RealtimeAPI(url=scripted.url, dialect=dialect)
        assert await api.connect() is True
        event = await api.wait_for_next("server.error", timeout=1)
        assert "Incorrect API key provided" in event["error"]["message"]
        await api.disconnect()

    @pytest.mark.parametrize("auth", ["header", "subprotocol"])
    async def test_connects_with_a_wrong_key_and_is_told(self, scripted: Served, dialect: Any, auth: Any) -> None:
        api = RealtimeAPI(url=scripted.url, api_key="sk-wrong", dialect=dialect, auth=auth)
        assert await api.connect() is True
        with pytest.raises(BadKeyError, match="Incorrect API key provided"):
            await api.wait_for_next("server.session.created", timeout=5)
        assert not api.is_connected()

    def test_constructs_with_a_key(self, scripted: Served) -> None:
        assert RealtimeAPI(url=scripted.url, api_key=scripted.key).api_key == scripted.key

    @pytest.mark.parametrize("auth", ["header", "subprotocol"])
    async def test_connects_and_disconnects(self, scripted: Served, dialect: Any, auth: Any) -> None:
        api = RealtimeAPI(url=scripted.url, api_key=scripted.key, dialect=dialect, auth=auth)
        assert await api.connect() is True
        assert api.is_connected()
        await api.wait_for_next("server.session.created", timeout=5)
        await api.disconnect()
        assert not api.is_connected()


class TestAudio:
    """test/samples/audio.js: 9 tests, in one walk, for each step needs the one before."""

    async def test_an_audio_question_is_answered(self, client: RealtimeClient, dialect: str) -> None:
        samples = (np.sin(np.arange(int(5.52 * 24_000)) * 0.1) * 8_000).astype(np.int16)
        assert client.update_session(instructions="Be brief.").value is True
        log = logged(client)
        assert await client.connect() is True
        assert client.is_connected()
        session = await client.wait_for_session_created(timeout=10)
        assert session["id"].startswith("sess_")
        assert [entry(event) for event in log[:2]] == [("client", "session.update"), ("server", "session.created")]
        if client.session is None or len(log) < 3:
            await client.realtime.wait_for_next("server.session.updated", timeout=10)
        before = len(log)
        client.send_user_message_content([{"type": "input_audio", "audio": samples}])
        assert [entry(event) for event in log[before:]] == [
            ("client", "conversation.item.create"),
            ("client", "response.create"),
        ]
        user = await client.wait_for_next_item(timeout=10)
        assert (user.type, user.role, user.status, user.formatted.text) == ("message", "user", "completed", "")
        assistant = await client.wait_for_next_item(timeout=10)
        assert (assistant.type, assistant.role, assistant.status) == ("message", "assistant", "in_progress")
        assert assistant.formatted.text == ""
        completed = await answer(client)
        assert completed is assistant
        assert "toronto" in completed.formatted.transcript.lower()
        assert completed.formatted.file is not None
        await client.disconnect()
        assert not client.is_connected()


@pytest.mark.parametrize("auth", ["subprotocol", "header"])
class TestBrowserAndClient:
    """test/samples/browser.js (9, key in the subprotocol) and client.js (8, key in the header)."""

    async def test_a_text_question_is_answered(self, scripted: Served, dialect: str, auth: str) -> None:
        client = make(scripted, dialect, auth=auth)
        client.update_session(instructions="You always tell that you live in San Francisco.")
        log = logged(client)
        assert await client.connect() is True
        await client.wait_for_session_created(timeout=2)
        assert [entry(event) for event in log[:2]] == [("client", "session.update"), ("server", "session.created")]
        client.send_user_message_content([{"type": "input_text", "text": "How are you?"}])
        user = await client.wait_for_next_item(timeout=10)
        assert (user.role, user.status, user.formatted.text) == ("user", "completed", "How are you?")
        assistant = await client.wait_for_next_item(timeout=10)
        assert (assistant.role, assistant.status) == ("assistant", "in_progress")
        completed = await answer(client)
        assert completed is assistant
        assert "san francisco" in completed.formatted.transcript.lower()
        seconds = completed.formatted.audio.size / 24_000
        assert 0.5 < seconds < 10
        await client.disconnect()
        assert not client.is_connected()


# ---------------------------------------------------------------------- beyond the reference suite


async def test_text_only(client: RealtimeClient) -> None:
    client.update_session(modalities=["text"])
    deltas: list[str] = []
    client.on("conversation.updated", lambda event: deltas.append(event.delta.text or "") if event.delta else None)
    await client.connect()
    client.send_user_message_content("How are you?")
    item = await answer(client)
    assert item.formatted.text == "".join(deltas) == "I live in San Francisco."
    assert item.formatted.audio.size == 0


async def test_the_session_takes_effect_in_either_shape(client: RealtimeClient, dialect: str) -> None:
    client.update_session(instructions="Be brief.", turn_detection={"type": "server_vad", "silence_duration_ms": 300})
    await client.connect()
    await client.realtime.wait_for_next("server.session.updated", timeout=10)
    assert client.session is not None
    detection = (
        client.session["turn_detection"] if dialect == "beta" else client.session["audio"]["input"]["turn_detection"]
    )
    assert (detection["type"], detection["silence_duration_ms"]) == ("server_vad", 300)
    assert client.session["instructions"] == "Be brief."


async def test_push_to_talk(client: RealtimeClient) -> None:
    client.update_session(input_audio_transcription={"model": "whisper-1"})
    await client.connect()
    tone = (np.sin(np.arange(24_000) * 0.1) * 8_000).astype(np.int16)
    for chunk in np.array_split(tone, 10):
        await client.append_input_audio(chunk)
    client.create_response()
    user = await client.wait_for_next_item(timeout=10)
    assert np.array_equal(user.formatted.audio, tone)
    item = await answer(client)
    assert item.formatted.transcript == "Toronto is a nice place."
    assert user.formatted.transcript == "Is Toronto a nice place to live?"


async def test_speech_is_found_by_the_server(client: RealtimeClient) -> None:
    client.update_session(
        turn_detection={"type": "server_vad", "silence_duration_ms": 300},
        input_audio_transcription={"model": "whisper-1"},
    )
    interruptions: list[Any] = []
    client.on("conversation.interrupted", interruptions.append)
    await client.connect()
    await client.wait_for_session_created(timeout=10)
    tone = (np.sin(np.arange(16_000) * 0.1) * 8_000).astype(np.int16)
    audio = np.concatenate([np.zeros(16_000, np.int16), tone, np.zeros(24_000, np.int16)])
    for chunk in np.array_split(audio, 35):
        await client.append_input_audio(chunk, rate=16_000)
    user = await client.wait_for_next_item(timeout=20)
    assert len(interruptions) == 1
    assert 500 <= interruptions[0].audio_start_ms <= 1100
    assert user.id == interruptions[0].item_id
    seconds = user.formatted.audio.size / 24_000
    assert 0.9 < seconds < 2.0
    level = np.abs(user.formatted.audio.astype(int)).max()
    assert level > 6_000
    item = await answer(client)
    assert item.formatted.transcript == "Toronto is a nice place."
    assert user.formatted.transcript == "Is Toronto a nice place to live?"


async def test_a_tool_round_trip(client: RealtimeClient) -> None:
    got: list[Any] = []

    async def get_weather(lat: float, lng: float, location: str) -> dict[str, Any]:
        got.append((lat, lng, location))
        return {"temperature": 21}

    client.add_tool(WEATHER, get_weather)
    await client.connect()
    client.send_user_message_content("What is the weather?")
    item = await answer(client)
    assert got == [(1, 2, "Paris")]
    assert '{"temperature":21}' in item.formatted.transcript
    kinds = [item.type for item in client.conversation.get_items()]
    assert kinds == ["message", "function_call", "function_call_output", "message"]


async def test_a_failing_tool(client: RealtimeClient) -> None:
    def fails(**arguments: Any) -> None:
        raise RuntimeError("the sky fell")

    client.add_tool(WEATHER, fails)
    await client.connect()
    client.send_user_message_content("What is the weather?")
    assert '{"error":"the sky fell"}' in (await answer(client)).formatted.transcript
    assert client.is_connected()


async def test_a_manual_tool(client: RealtimeClient) -> None:
    client.update_session(tools=[{"type": "function", **WEATHER}])
    await client.connect()
    client.send_user_message_content("What is the weather?")
    call = await client.wait_for_next_completed_item(timeout=10)
    while call.type != "function_call":
        call = await client.wait_for_next_completed_item(timeout=10)
    await client.realtime.wait_for_next("server.response.done", timeout=10)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    client.realtime.send("conversation.item.create", {"item": output})
    client.realtime.send("response.create")
    assert (await answer(client)).formatted.transcript == "The tool says sunny."


async def test_interrupting_cuts_the_item(client: RealtimeClient) -> None:
    await client.connect()
    client.send_user_message_content("Tell me a story.")
    while True:
        event = await client.wait_for_next("conversation.updated", timeout=10)
        if event.delta is not None and event.delta.audio_bytes:
            break
    client.cancel_response(event.item.id, 2_400)
    await client.realtime.wait_for_next("server.conversation.item.truncated", timeout=10)
    assert event.item.formatted.transcript == ""
    assert event.item.formatted.audio.size == 2_400
    assert event.item.truncated_ms == 100
    client.send_user_message_content("How are you?")
    assert "San Francisco" in (await answer(client)).formatted.transcript
    assert event.item.formatted.audio.size == 2_400


async def test_deleting(client: RealtimeClient) -> None:
    await client.connect()
    client.send_user_message_content("How are you?")
    await answer(client)
    first = client.conversation.get_items()[0]
    client.delete_item(first.id)
    await client.realtime.wait_for_next("server.conversation.item.deleted", timeout=10)
    assert first not in client.conversation.get_items()
    with pytest.raises(UnknownItemError):
        client.cancel_response(first.id)
    client.delete_item("item_unknown")
    error = await client.wait_for_next("error", timeout=10)
    assert isinstance(error, ServerError)
    assert "item_unknown" in str(error)


async def test_an_item_at_the_root(client: RealtimeClient) -> None:
    await client.connect()
    client.send_user_message_content("How are you?")
    await answer(client)
    content = [{"type": "input_text", "text": "Be kind."}]
    item = {"id": "item_first", "type": "message", "role": "system", "content": content}
    client.realtime.send("conversation.item.create", {"previous_item_id": "root", "item": item})
    await client.wait_for_next_item(timeout=10)
    assert client.conversation.get_items()[0].id == "item_first"


async def test_out_of_band(client: RealtimeClient) -> None:
    await client.connect()
    content = [{"type": "input_text", "text": "Answer this out of band."}]
    item = {"type": "message", "role": "user", "content": content}
    client.create_response({"conversation": "none", "input": [item], "metadata": {"topic": "spam"}})
    done = await client.realtime.wait_for_next("server.response.done", timeout=20)
    assert done["response"]["metadata"] == {"topic": "spam"}
    response = client.conversation.get_response(done["response"]["id"])
    assert response is not None
    assert [entry.formatted.transcript for entry in response.output] == ["This is spam."]
    assert client.conversation.get_items() == []


async def test_async_for_and_typed_events(client: RealtimeClient) -> None:
    await client.connect()
    client.send_user_message_content("How are you?")
    unknown = []
    async for event in client:
        if type(event).__name__ == "UnknownEvent":
            unknown.append(event)
        if event.type == "response.done":
            break
    assert unknown == []


async def test_a_conversation_outlives_its_connection(scripted: Served, dialect: str) -> None:
    client = make(scripted, dialect, reconnect=Reconnect(first_delay=0, replay=True))
    errors: list[Any] = []
    client.on("error", errors.append)
    await client.connect()
    client.send_user_message_content("How are you?")
    await answer(client)
    before = [item.id for item in client.conversation.get_items()]
    back = asyncio.create_task(client.wait_for_next("reconnected", timeout=10))
    await asyncio.wait({back}, timeout=0)
    assert client.realtime._socket is not None
    client.realtime._socket.transport.abort()
    assert (await back).replayed == 2
    client.send_user_message_content("And now Toronto?")
    assert (await answer(client)).formatted.transcript == "Toronto is a nice place."
    assert [item.id for item in client.conversation.get_items()][:2] == before
    assert [type(error) for error in errors] == [ConnectionClosedError]
    await client.disconnect()


def test_without_async(scripted: Served) -> None:
    with SyncRealtimeClient(url=scripted.url, api_key=scripted.key) as client:
        assert client.ask("How are you?", timeout=20).formatted.transcript == "I live in San Francisco."


async def test_g711_both_ways(client: RealtimeClient) -> None:
    client.update_session(input_audio_format="g711_ulaw", output_audio_format="g711_ulaw")
    await client.connect()
    await client.realtime.wait_for_next("server.session.updated", timeout=10)
    client.append_input_audio(b"\x20\xa0" * 4_000)
    client.create_response()
    item = await answer(client)
    assert item.formatted.audio_format == "g711_ulaw"
    assert item.formatted.audio.size == len(item.formatted.audio_bytes)
    assert item.formatted.audio.size / 8_000 > 0.5


# ---------------------------------------------------------------------- embedded engines


@pytest.mark.models
async def test_a_person_is_understood_and_answered(tmp_path: Path) -> None:
    from antiphon.engines.local.catalogue import CATALOGUE
    from antiphon.engines.local.models import default_models_dir, state

    given = os.environ.get("ANTIPHON_DATA__MODELS_DIR")
    directory = Path(given) if given else default_models_dir()
    if any(state(directory, model) != "ready" for model in CATALOGUE):
        pytest.skip(f"the models are not in {directory}: run 'antiphon models fetch'")
    samples, rate = read_wav(str(directory / "samples/beckett.wav"))
    with served(tmp_path) as server:
        client = make(server, "ga")
        client.update_session(
            instructions="Answer in one short sentence.", input_audio_transcription={"model": "local"}
        )
        began = time.monotonic()
        await client.connect()
        await client.append_input_audio(samples[: 4 * rate], rate=rate)
        client.create_response()
        while True:
            item = await client.wait_for_next_completed_item(timeout=110)
            if item.role == "assistant":
                break
        user = client.conversation.get_items()[0]
        assert len(user.formatted.transcript.split()) > 3
        assert item.formatted.transcript.strip()
        assert item.formatted.audio.size > 6_000
        assert time.monotonic() - began < 110
        await client.disconnect()
