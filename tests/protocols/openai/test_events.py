"""Details of server events that whole turns do not show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from antiphon.core import events as ev
from antiphon.core.config import Config
from antiphon.core.items import McpApprovalRequest, McpCall, Message, Text, Usage
from antiphon.protocols.openai.dialect import BETA, GA
from antiphon.protocols.openai.errors import WireError, error_event
from antiphon.protocols.openai.events import Translator, usage_view
from antiphon.protocols.openai.session_object import SessionObject
from antiphon.protocols.openai.session_wire import Transcription
from antiphon.protocols.openai.settings import RateLimit, RealtimeSettings

VIEW = ev.ResponseView("resp_1", "completed", Config(voice="v"), (Message("m", "assistant", (Text("x"),)),))


def translator(beta: bool = False, **settings: Any) -> Translator:
    session = SessionObject(model="m", voice="v", transcription=Transcription(model="w"))
    return Translator(
        BETA if beta else GA, RealtimeSettings(**settings), "conv_1", session, lambda ref, who: (b"", "pcm16")
    )


def done(**changes: Any) -> dict[str, Any]:
    (event,) = translator().translate(ev.ResponseDone(replace(VIEW, **changes)))
    shown: dict[str, Any] = event["response"]
    return shown


@pytest.mark.parametrize(
    ("status", "reason", "shown", "details"),
    [
        ("completed", None, "completed", None),
        ("cancelled", "turn_detected", "cancelled", {"type": "cancelled", "reason": "turn_detected"}),
        ("cancelled", "client_cancelled", "cancelled", {"type": "cancelled", "reason": "client_cancelled"}),
        ("cancelled", "session_ended", "cancelled", {"type": "cancelled", "reason": "client_cancelled"}),
        ("incomplete", "max_output_tokens", "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}),
        ("incomplete", "content_filter", "incomplete", {"type": "incomplete", "reason": "content_filter"}),
        (
            "incomplete",
            "server_error",
            "failed",
            {"type": "failed", "error": {"type": "server_error", "code": "server_error", "message": "gone"}},
        ),
        (
            "failed",
            "rate_limit_exceeded",
            "failed",
            {"type": "failed", "error": {"type": "server_error", "code": "rate_limit_exceeded", "message": "gone"}},
        ),
    ],
)
def test_outcomes(status: Any, reason: str | None, shown: str, details: object) -> None:
    response = done(status=status, reason=reason, error="gone")
    assert (response["status"], response["status_details"]) == (shown, details)


def test_usage_adds_up() -> None:
    shown = usage_view(Usage(10, 5, 1, 4, 7, 3))
    assert (shown["input_tokens"], shown["output_tokens"], shown["total_tokens"]) == (16, 10, 26)
    assert shown["input_token_details"]["cached_tokens"] == 4
    assert done(usage=None)["usage"]["total_tokens"] == 0


def test_a_running_response_has_no_output_and_no_usage() -> None:
    created, limits = translator(rate_limits=(RateLimit("tokens", 9, 8, 1.5),)).translate(
        ev.ResponseStarted(replace(VIEW, status="in_progress", metadata=(("a", "b"),)))
    )
    assert (created["response"]["output"], created["response"]["usage"]) == ([], None)
    assert created["response"]["metadata"] == {"a": "b"}
    assert limits["rate_limits"] == [{"name": "tokens", "limit": 9, "remaining": 8, "reset_seconds": 1.5}]


def test_dialect_extras_of_responses() -> None:
    (event,) = translator(beta=True).translate(ev.ResponseDone(VIEW))
    beta, ga = event["response"], done()
    assert (beta["modalities"], beta["voice"], beta["output_audio_format"]) == (["text", "audio"], "v", "pcm16")
    assert "audio" not in beta
    assert (ga["output_modalities"], ga["audio"]["output"]["voice"]) == (["audio"], "v")
    assert "modalities" not in ga


def test_transcription_turned_off_hides_words_and_failures() -> None:
    made = translator()
    assert len(made.translate(ev.TranscriptDone("i", 0, "hi", 1.0))) == 2
    assert len(made.translate(ev.TranscriptDone("i", 0, "", 1.0))) == 1
    assert len(made.translate(ev.TranscriptFailed("i", 0, "x"))) == 1
    made.session = replace(made.session, transcription=None)
    assert made.translate(ev.TranscriptDone("i", 0, "hi", 1.0)) == []
    assert made.translate(ev.TranscriptFailed("i", 0, "x")) == []


def test_a_failed_transcription_has_no_null() -> None:
    (event,) = translator().translate(ev.TranscriptFailed("i", 0, "x"))
    assert None not in event["error"].values()


def test_an_mcp_call_is_done_when_it_has_its_result() -> None:
    made = translator()
    call = McpCall("mcp_1", "s", "add", "{}")
    assert made.translate(ev.ItemDone(call, "before")) == []
    assert made.translate(ev.OutputItemDone("resp_1", 2, call)) == []
    item, output = made.translate(ev.ItemChanged(replace(call, output="42")))
    assert (item["type"], item["previous_item_id"]) == ("conversation.item.done", "before")
    assert (output["type"], output["output_index"]) == ("response.output_item.done", 2)
    assert item["item"]["output"] == output["item"]["output"] == "42"
    assert made.translate(ev.ItemChanged(replace(call, output="42"))) == []


def test_an_mcp_call_cut_short_is_done_at_once() -> None:
    call = McpCall("mcp_1", "s", "add", "{", status="incomplete")
    assert len(translator().translate(ev.OutputItemDone("resp_1", 0, call))) == 1


def test_an_approval_request_streams_no_arguments() -> None:
    made = translator()
    made.translate(ev.OutputItemAdded("resp_1", 0, McpApprovalRequest("mcpr_1", "s", "add", "", "in_progress")))
    assert made.translate(ev.ArgumentsDelta("resp_1", "mcpr_1", 0, "mcpr_1", "{", True)) == []
    assert made.translate(ev.ArgumentsDone("resp_1", "mcpr_1", 0, "mcpr_1", "add", "{}", True)) == []


def test_playout_is_told_only_where_the_server_plays() -> None:
    assert translator().translate(ev.PlayoutStarted("resp_1")) == []


def test_error_has_all_five_keys() -> None:
    body = error_event(WireError(None, "no"))["error"]
    assert body == {"type": "invalid_request_error", "code": None, "message": "no", "param": None, "event_id": None}
