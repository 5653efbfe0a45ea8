"""Clients as their users install them, each in an environment of its own, through a whole conversation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from . import environments
from .conftest import Serve
from .server import run_client

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(300)]

STORY = ["user", "Tell me a story."]
STOP = [["user", "Stop, please."], ["assistant", "You said: Stop, please."]]


def events(facts: list[dict[str, Any]]) -> list[str]:
    return [fact["event"] for fact in facts if "event" in fact]


def told(facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the script itself had to say."""
    return [fact for fact in facts if "event" not in fact and "session_event" not in fact]


def python(name: str, script: str, served: Serve) -> list[dict[str, Any]]:
    interpreter = Path(sys.executable) if name == "this" else environments.python(name)
    return run_client([interpreter, environments.CLIENTS / script], served(Path(script).stem))


def test_plain_websockets(served: Serve) -> None:
    facts = python("this", "plain_websocket.py", served)
    assert told(facts)[1:] == [
        {"error": "invalid_request_error"},
        {"format": "audio/pcmu"},
        {"status": "cancelled"},
        {"truncated": 0},
        {"retrieved": "assistant"},
        {"event_id": "nothing"},
        {"closed": 1000},
    ]


def test_newest_openai(served: Serve) -> None:
    facts = python("this", "openai_python.py", served)
    assert told(facts)[1:] == [
        {"status": "cancelled", "reason": "turn_detected"},
        {"truncated": 300},
        {"heard": "Stop, please."},
        {"said": "You said: Stop, please."},
        {"event_id": "too_early"},
        {"text": "You said: Thank you."},
        {"closed": True},
    ]


def test_old_openai_in_the_beta_dialect(served: Serve) -> None:
    facts = python("openai-1.66", "openai_beta.py", served)
    assert told(facts) == [
        {"version": "1.66.5"},
        {"modalities": ["text", "audio"], "format": "pcm16"},
        {"turn_detection": None, "tool": "get_weather"},
        {"call": "get_weather", "arguments": '{"city":"Paris"}'},
        {"text": "It is sunny there."},
        {"status": "completed"},
        {"heard": "Tell me a story."},
        {"bytes": 9600},
        {"status": "cancelled", "reason": "client_cancelled"},
        {"truncated": 100},
        {"code": "response_cancel_not_active", "event_id": "evt_late"},
    ]
    assert "conversation.item.added" not in events(facts)


def test_openai_agents_in_python(served: Serve) -> None:
    facts = python("openai-agents", "openai_agents.py", served)
    version, _, truncated, tool, handoff, guardrail, history, closed = told(facts)
    assert version == {"version": "0.24.0"}
    assert 0 < truncated["truncated"] < 20_000
    assert tool == {"tool": "get_weather", "city": "Paris"}
    assert handoff == {"handoff": ["desk", "billing"]}
    assert guardrail == {"guardrail": "keeps_secrets"}
    assert closed == {"closed": True}
    assert "error" not in events(facts)
    messages = history["history"]
    assert [messages[0], *messages[2:4]] == [STORY, *STOP]
    assert messages[4:8] == [
        ["user", "What is the weather?"],
        ["assistant", "It is sunny there."],
        ["user", "I want a refund."],
        ["assistant", "Billing speaks."],
    ]
    assert messages[-1] == ["assistant", "I had better not say."]


def test_livekit_agents(served: Serve) -> None:
    facts = python("livekit", "livekit_plugin.py", served)
    assert told(facts)[1:] == [
        {"tool": "get_weather", "city": "Paris"},
        {"said": ["It is sunny there."]},
        {"said": ["You said: Thank you."]},
        {"closed": True},
    ]


def test_pipecat(served: Serve) -> None:
    facts = told(python("pipecat", "pipecat_service.py", served))
    said = "".join(fact["said"] for fact in facts if "said" in fact)
    assert said.startswith("You said: Hello.Once upon a time"), said
    assert said.endswith("That is the whole of the story.")
    assert [fact for fact in facts[1:] if "said" not in fact] == [{"greeted": True}, {"answered": True}]


def test_openai_in_node_over_tls(served: Serve, node: str, tmp_path: Path) -> None:
    project = environments.node_project()
    server = served("openai_node", tls=True)
    trusted = {"NODE_EXTRA_CA_CERTS": str(tmp_path / "cert.pem")}
    facts = run_client([node, project / "clients" / "openai_node.mjs"], server, **trusted)
    version, *rest = told(facts)
    assert version == {"version": environments.NODE_PACKAGES["openai"]}
    listener = rest.pop(6)
    assert "item_nowhere" in listener["listener"]
    assert listener["code"] == "item_delete_invalid_item_id"
    assert rest == [
        {"modalities": ["text"]},
        {"call": "get_weather", "arguments": '{"city":"Paris"}'},
        {"text": "It is sunny there."},
        {"heard": "Tell me a story."},
        {"status": "cancelled"},
        {"truncated": 50},
        {"event_id": "mine"},
        {"closed": 1000},
    ]


def test_openai_agents_in_node(served: Serve, node: str) -> None:
    facts = run_client([node, environments.node_project() / "clients" / "agents_node.mjs"], served("agents_node"))
    truncated, tool, result, handoff, guardrail, history, closed = told(facts)
    assert 0 < truncated["truncated"] < 20_000
    assert tool == {"tool": "get_weather", "city": "Paris"}
    assert result == {"result": ["get_weather", "sunny"]}
    assert handoff == {"handoff": ["desk", "billing"]}
    assert guardrail == {"guardrail": "keeps_secrets"}
    assert closed == {"closed": True}
    assert "error" not in events(facts)
    messages = history["history"]
    assert [messages[0], *messages[2:4]] == [STORY, *STOP]
    assert ["assistant", "It is sunny there."] in messages
    assert ["assistant", "Billing speaks."] in messages


def test_the_reference_client_in_node(served: Serve, node: str) -> None:
    script = environments.node_project() / "clients" / "reference_node.mjs"
    facts = run_client([node, script], served("reference_node"))
    call = {"type": "function", "name": "get_weather", "call_id": "call_000001", "arguments": '{"city":"Paris"}'}
    assert told(facts) == [
        {"connected": True},
        {"user": "What is the weather?"},
        {"tool": "get_weather", "city": "Paris"},
        {"call": call},
        {"assistant": 'It is "sunny" there.', "samples": 32_000},
        {"user": "user"},
        {"heard": "Tell me a story."},
        {"truncated": 50},
        {"kept": 1200},
        {"items": [[role, "completed"] for role in ("user", *CALLED, "assistant", "user")]},
        {"connected": False},
    ]
    assert "error" not in events(facts)


CALLED = ("function_call", "function_call_output")
