"""Every input in every state: nothing raises, nothing illegal follows, and the end is always one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from call import (
    Call,
    S,
    calling,
    ended,
    ending,
    idle,
    interrupting,
    pause,
    peer_gone,
    playing_out,
    running_tool,
    sound,
    speaking,
    speculating,
    speech,
    thinking,
    waiting_for_words,
)  # fmt: skip

from antiphon.core import effects as fx
from antiphon.core import inputs as inp
from antiphon.core.config import Config, Turn
from antiphon.core.items import FunctionCall, McpApprovalRequest, Message, Text

STATES: tuple[Callable[[Call], None], ...] = (
    idle, sound, speech, pause, speculating, waiting_for_words, thinking, speaking, playing_out, interrupting, calling,
    running_tool, peer_gone, ending, ended,
)  # fmt: skip

INPUTS: dict[str, dict[str, Any]] = {
    "Configure": {"config": Config()},
    "AddItem": {"item": Message("", "user", (Text("Hi"),))},
    "DeleteItem": {"item_id": "nothing"},
    "RetrieveItem": {"item_id": "nothing"},
    "TruncateItem": {"item_id": "nothing", "content_index": 0, "audio_end_ms": 10},
    "CommitAudio": {"end": 5 * S},
    "ClearAudio": {"end": 5 * S},
    "ClearPlayout": {},
    "CreateResponse": {"when_busy": "interrupt"},
    "CancelResponse": {},
    "SetTools": {"tools": ()},
    "ApproveCall": {"approval_request_id": "nothing", "approve": True},
    "Close": {},
    "VoiceOn": {"sample": 4 * S},
    "VoiceOff": {"sample": 4 * S},
    "AudioReached": {"sample": 4 * S},
    "AudioStalled": {"sample": 4 * S},
    "Tick": {},
    "TurnPredicted": {"job": "turn", "probability": 0.9},
    "Transcribed": {"job": "stt", "text": "stop that"},
    "TranscriptionFailed": {"job": "stt", "message": "deaf"},
    "TextGenerated": {"job": "llm", "delta": "And more. "},
    "CallGenerated": {"job": "llm", "index": 1, "name": "ask_first", "delta": "{}"},
    "GenerationDone": {"job": "llm"},
    "GenerationFailed": {"job": "llm", "message": "mindless"},
    "Synthesized": {"job": "tts", "samples": 480},
    "SynthesisDone": {"job": "tts"},
    "SynthesisFailed": {"job": "tts", "message": "mute"},
    "ToolDone": {"call_id": "call_1", "output": "7"},
    "Drained": {},
    "PeerGone": {},
    "PeerBack": {},
}


def test_the_table_names_every_input() -> None:
    kinds = {k.__name__ for union in (inp.Command, inp.Ear, inp.Engine) for k in union.__args__}
    assert set(INPUTS) == kinds | {"Close", "ToolDone", "Drained", "PeerGone", "PeerBack", "Tick"}


@pytest.mark.parametrize("playout", ["server", "client"])
@pytest.mark.parametrize("mode", ["silence", "semantic"])
@pytest.mark.parametrize("state", STATES, ids=lambda s: s.__name__)
@pytest.mark.parametrize("name", INPUTS)
def test_any_input_in_any_state(name: str, state: Callable[[Call], None], mode: Any, playout: Any) -> None:
    c = Call(playout=playout, turn=Turn(mode=mode, wait_incomplete=0.5), max_seconds=50.0)
    state(c)
    over = c.watch.state.ended
    effects = c.do(getattr(inp, name), 4.5 if not c.watch.state.ending else 100.5, **INPUTS[name])
    assert effects == () or not over
    c.do(inp.Close, 200.0)
    assert c.watch.state.ended
    assert c.do(inp.Tick, 300.0) == ()
    c.watch.replay()


def test_an_approved_call_runs_once_and_a_refused_one_never() -> None:
    for approve in (True, False):
        c = Call(playout="client")
        thinking(c)
        c.do(inp.CallGenerated, 2.8, job="llm", index=0, name="ask_first", delta='{"x":1}')
        c.do(inp.GenerationDone, 2.9, job="llm")
        request = next(i for i in c.watch.state.conversation.items if isinstance(i, McpApprovalRequest))
        effects = c.do(inp.ApproveCall, 3.0, approval_request_id=request.id, approve=approve)
        assert any(isinstance(e, fx.RunTool) for e in effects) is approve
        again = c.do(inp.ApproveCall, 3.1, approval_request_id=request.id, approve=True)
        assert [type(e.event).__name__ for e in again if isinstance(e, fx.Emit)] == ["Rejected"]
        if approve:
            c.do(inp.ToolDone, 3.2, call_id=c.call_id, output="done")
        assert c.watch.state.active is not None, "the answer that uses the result"


def test_repeated_call_ids_are_told_apart() -> None:
    c = Call(playout="client")
    running_tool(c)
    c.do(inp.ToolDone, 3.0, call_id="call_1", output="rain")
    c.do(inp.CallGenerated, 3.1, job="llm", index=0, name="server_tool", call_id="call_1", delta="{}")
    c.do(inp.GenerationDone, 3.2, job="llm")
    calls = [i.call_id for i in c.watch.state.conversation.items if isinstance(i, FunctionCall)]
    assert len(calls) == len(set(calls)) == 2
