"""The documentation's tables are the code's, and the code's table is what is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.core import events as ev
from antiphon.core.config import Config
from antiphon.core.items import Audio, AudioRef, FunctionCall, McpCall, Message, Text
from antiphon.protocols.openai.dialect import BETA, GA, Dialect
from antiphon.protocols.openai.events import Translator
from antiphon.protocols.openai.reference import SERVER_EVENTS, tables
from antiphon.protocols.openai.session_object import SessionObject
from antiphon.protocols.openai.session_wire import Transcription
from antiphon.protocols.openai.settings import RealtimeSettings

DOC = Path(__file__).parents[3] / "docs" / "openai-realtime.md"

MESSAGE = Message("item_1", "assistant", (Text("hi"),))
CALL = FunctionCall("item_2", "call_1", "f", "{}")
VIEW = ev.ResponseView("resp_1", "completed", Config(), (MESSAGE,))
WHERE: dict[str, Any] = {"response_id": "resp_1", "item_id": "item_1", "index": 0, "content_index": 0}
MCP: dict[str, Any] = {"response_id": "resp_1", "item_id": "mcp_1", "index": 0, "call_id": "mcp_1", "mcp": True}
EVENTS: tuple[ev.Event, ...] = (
    ev.Configured(Config()),
    ev.Rejected("e1", "invalid_value", "no"),
    ev.Failure("llm", "gone"),
    ev.SpeechStarted("item_1", 16_000),
    ev.SpeechStopped("item_1", 32_000),
    ev.Committed("item_1", None, ()),
    ev.TurnDropped("item_1", "noise"),
    ev.InputCleared(),
    ev.IdleTimeout("item_1", 0, 16_000),
    ev.PartialTranscript("item_1", "hel"),
    ev.TranscriptDone("item_1", 0, "hello", 1.0),
    ev.TranscriptFailed("item_1", 0, "gone"),
    ev.Interrupted("resp_1", "item_1", "hi"),
    ev.FalseInterruption(),
    ev.ItemAdded(MESSAGE, None),
    ev.ItemDone(MESSAGE, "item_0"),
    ev.ItemChanged(MESSAGE),
    ev.ItemDeleted("item_1"),
    ev.ItemTruncated("item_1", 0, 100),
    ev.ItemRetrieved(Message("item_3", "user", (Audio(AudioRef("", 0, 8)),))),
    ev.ResponseStarted(ev.ResponseView("resp_1", "in_progress", Config())),
    ev.OutputItemAdded("resp_1", 0, CALL),
    ev.OutputItemDone("resp_1", 0, CALL),
    ev.PartAdded(**WHERE, kind="audio"),
    ev.TextDelta(**WHERE, kind="text", delta="h"),
    ev.TextDelta(**WHERE, kind="audio", delta="h"),
    ev.PartDone(**WHERE, kind="text", text="hi"),
    ev.PartDone(**WHERE, kind="audio", text="hi"),
    ev.ArgumentsDelta("resp_1", "item_2", 0, "call_1", "{"),
    ev.ArgumentsDone("resp_1", "item_2", 0, "call_1", "f", "{}"),
    ev.OutputItemAdded("resp_1", 0, McpCall("mcp_1", "s", "f")),
    ev.ArgumentsDelta(**MCP, delta="{"),
    ev.ArgumentsDone(**MCP, name="f", arguments="{}"),
    ev.ToolStarted("mcp_1", 0, "mcp_1", "f", "{}"),
    ev.ToolFinished("mcp_1", "mcp_1", "done", False),
    ev.ToolStarted("mcp_2", 0, "mcp_2", "f", "{}"),
    ev.ToolFinished("mcp_2", "mcp_2", "no", True),
    ev.ResponseDone(VIEW),
    ev.PlayoutStarted("resp_1"),
    ev.PlayoutStopped("resp_1"),
    ev.PlayoutCleared("resp_1"),
    ev.TurnMetrics("resp_1", None, None, None, None, None),
)
BY_THE_CHANNEL = {
    GA: {
        "session.created",
        "session.updated",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
    },
    BETA: {"session.created", "session.updated", "transcription_session.created", "transcription_session.updated"},
}


def sent(dialect: Dialect) -> set[str]:
    session = SessionObject(model="m", voice="v", transcription=Transcription(model="w"))
    translator = Translator(
        dialect, RealtimeSettings(), "conv_1", session, lambda ref, who: (b"", "pcm16"), owns_playout=True
    )
    names = {wire["type"] for event in EVENTS for wire in translator.translate(event)}
    delta = translator.audio_delta(ev.AudioDelta(**WHERE, job="job_1", start=0, end=1), b"")
    return names | {delta["type"]} | BY_THE_CHANNEL[dialect]


def test_the_table_lists_what_is_sent() -> None:
    assert sent(GA) == {e.ga for e in SERVER_EVENTS} - {None}
    without_mcp = {name for name in sent(BETA) if "mcp" not in name}
    assert without_mcp == {e.beta for e in SERVER_EVENTS} - {None}


def test_every_core_event_was_tried() -> None:
    untried = {c.__name__ for c in ev.Event.__args__} - {type(e).__name__ for e in EVENTS}
    assert untried <= {"AudioDelta", "Ended", "Ending"}


def test_the_documentation_is_current() -> None:
    assert tables() in DOC.read_text(), "print it anew: python -m antiphon.protocols.openai.reference"
