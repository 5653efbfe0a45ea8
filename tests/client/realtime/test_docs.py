"""The guide's examples, run in order in one session against a server on a socket."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import types
from pathlib import Path
from typing import Any

import pytest
from realtime_script import SECOND, ThreadedServer, Wire

GUIDE = Path(__file__).parents[3] / "docs" / "client-realtime.md"
ADDRESS = "ws://127.0.0.1:7880/v1/realtime"
KEY = "sk-of-the-guide"


def blocks() -> list[tuple[int, str]]:
    """The guide's Python blocks and the lines they begin at."""
    text = GUIDE.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)), match.group(1)) for match in found]


async def run(code: str, line: int, namespace: dict[str, Any]) -> None:
    """Run a block as a notebook would: with `await` at its top."""
    tree = compile("\n" * line + code, str(GUIDE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = types.FunctionType(tree, namespace)()
    if inspect.isawaitable(result):
        await result


async def script(wire: Wire, event: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """An answer to each response.create: in the conversation as speech, out of band as text."""
    ids = {"item_id": f"item_answer_{count}", "response_id": f"resp_{count}"}
    if (event.get("response") or {}).get("conversation") != "none":
        return wire.audio_turn("I am ", "fine.", audio=SECOND, **ids)
    message = {"id": ids["item_id"], "type": "message", "role": "assistant"}
    final = {**message, "content": [{"type": wire.text_part, "text": "small talk"}]}
    done = wire.response_done(ids["response_id"], "completed", final)
    done["response"]["metadata"] = event["response"]["metadata"]
    return [
        wire.response_created(ids["response_id"], out_of_band=True),
        *wire.start({**message, "content": []}, ids["response_id"], in_conversation=False),
        *wire.text_stream(ids["item_id"], ids["response_id"], "small ", "talk"),
        *wire.finish(final, ids["response_id"], in_conversation=False),
        done,
    ]


def test_every_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ANTIPHON_API_KEY", KEY)
    server = ThreadedServer(Wire("ga"))
    server.script.key = KEY
    count = 0

    async def respond(running: Any, peer: Any, event: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        await peer.send(*await script(running.wire, event, count))

    server.script.handlers["response.create"] = respond
    namespace: dict[str, Any] = {"__name__": "guide"}

    async def run_all() -> None:
        try:
            for line, code in blocks():
                async with asyncio.timeout(20):
                    await run(code.replace(ADDRESS, server.script.url), line, namespace)
        finally:
            await namespace["client"].disconnect()

    try:
        asyncio.run(run_all())
    finally:
        server.stop()
    assert len(blocks()) >= 15
    assert namespace["texts"] == ["small talk"]
    assert namespace["item"].formatted.transcript == "I am fine."
    printed = capsys.readouterr().out
    assert "invalid_api_key" in printed
    assert "item_unknown" in printed
    types_sent = server.script.types
    assert "conversation.item.truncate" in types_sent
    assert "conversation.item.delete" in types_sent
    assert types_sent.count("input_audio_buffer.append") >= 11


def test_the_contents_name_every_section() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    headings = re.findall(r"^##+ (.+)$", text, re.MULTILINE)
    anchors = set(re.findall(r"\]\(#([\w-]+)\)", text))
    assert anchors == {heading.lower().replace(" ", "-") for heading in headings} - {"contents"}
