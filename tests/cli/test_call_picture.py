from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from antiphon.audio.pcm import PCM
from antiphon.cli.call.model import Call, Mark, ToolCall, Turn, Word
from antiphon.cli.call.picture import draw
from antiphon.core.events import Record, Segment, TurnMetrics
from antiphon.core.items import Usage
from antiphon.errors import UsageError


def a_call(seconds: float = 25.0) -> Call:
    t = np.arange(round(seconds * 16_000))
    user: PCM = (3000 * np.sin(t * 0.1)).astype(np.int16)
    metrics = TurnMetrics("resp_1", 0.5, 0.1, 0.2, 0.1, 0.8)
    timeline = (Segment("user", 0.0, 2.0), Segment("silence", 2.0, 2.8), Segment("agent", 2.8, seconds))
    return Call(
        title="somewhere/speech.wav",
        engines={"stt": "scripted"},
        turns=[
            Turn("user", "item_1", 0.5, 2.0, "Hello there", words=[Word("Hello", 0.5, 1), Word("there", 1, 2)]),
            Turn("user", "item_2", 4.0, 4.2, "uh-huh", outcome="dropped: backchannel"),
            Turn("agent", "resp_1", 2.8, 24.0, "Wonderful", "Wonderful", words=[Word("Wonderful", 2.8, 3.5)],
                 latency=metrics),
            Turn("agent", "resp_2", 24.0, 24.0, "withdrawn", outcome="unheard"),
        ],
        marks=[Mark(4.1, "false_interruption"), Mark(9.9, "interruption", "Wonder"), Mark(12, "failure", "tts")],
        tools=[ToolCall("call_1", "get_weather", "{}", 2.5)],
        latencies=[metrics],
        ducked=[(4.05, 4.3)],
        record=Record("closed", seconds, timeline, (), Usage(), 1, 9, 1, Usage(), 1, 1, 1),
        user=user,
        agent=np.zeros(round(seconds * 24_000), np.int16),
    )  # fmt: skip


def texts(path: Path) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ET.parse(path).iter() if node.tag.endswith("}text")]


def test_what_is_written_on_it(tmp_path: Path) -> None:
    draw(a_call(), tmp_path / "call.svg")
    written = texts(tmp_path / "call.svg")
    for expected in ("speech.wav", "STT scripted", "Hello", "there", "Wonderful", "backchannel", "goes on",
                     "interrupted", "failure", "get_weather", "0.80 s"):  # fmt: skip
        assert expected in written
    assert any("user 2.0 s" in text for text in written)
    assert "withdrawn" not in written
    assert written.count("user") == written.count("agent") == 3


def test_png(tmp_path: Path) -> None:
    draw(a_call(), tmp_path / "call.png")
    assert (tmp_path / "call.png").read_bytes().startswith(b"\x89PNG")


def test_a_call_in_which_nothing_happened(tmp_path: Path) -> None:
    draw(Call(), tmp_path / "call.svg")
    assert "a call" in texts(tmp_path / "call.svg")


def test_a_long_call_keeps_to_forty_rows(tmp_path: Path) -> None:
    draw(a_call(600), tmp_path / "call.svg")
    assert texts(tmp_path / "call.svg").count("user") == 40


def test_files_that_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="expected a picture's ending, one of"):
        draw(Call(), tmp_path / "call.doc")
    with pytest.raises(UsageError, match="cannot be written"):
        draw(Call(), tmp_path / "no" / "call.png")
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(UsageError, match=r"antiphon\[plot\]"):
        draw(Call(), tmp_path / "call.png")
