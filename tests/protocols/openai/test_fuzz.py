"""Storms of client events, sane and absurd, against a live session: never an exception, never an unanswered refusal."""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.core import effects as fx
from antiphon.core import inputs as inp

from .rig import Rig
from .test_wire import GOOD, json_values

ids = st.sampled_from(["a", "b", "root", "nobody", "", "item"]) | st.text(max_size=70)
audio = st.integers(0, 5000).map(lambda n: base64.b64encode(bytes(n)).decode()) | st.text(max_size=8)
part = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["input_text", "input_audio", "input_image", "text", "audio", "output_text", "output_audio"]
        )
    },
    optional={
        "text": st.text(max_size=20) | st.none(),
        "audio": audio,
        "transcript": st.text(max_size=9) | st.none(),
        "image_url": st.sampled_from(["data:image/png;base64,AAAA", "http://10.0.0.1/"]),
    },
)
item = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("message"),
            "role": st.sampled_from(["user", "assistant", "system", "tool"]),
            "content": st.lists(part, max_size=3),
        },
        optional={"id": ids},
    ),
    st.fixed_dictionaries(
        {"type": st.just("function_call"), "name": st.text(max_size=5), "arguments": st.text(max_size=9)}
    ),
    st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": ids, "output": st.text(max_size=9)}),
    st.fixed_dictionaries(
        {"type": st.just("mcp_approval_response"), "approval_request_id": ids, "approve": st.booleans()}
    ),
    st.fixed_dictionaries({"type": st.just("item_reference"), "id": ids}),
)
turn = st.none() | st.fixed_dictionaries(
    {"type": st.sampled_from(["server_vad", "semantic_vad", "none", "x"])},
    optional={
        "threshold": st.floats(-1, 2),
        "silence_duration_ms": st.integers(-1, 1000),
        "eagerness": st.sampled_from(["low", "auto", "x"]),
        "idle_timeout_ms": st.integers(4000, 40_000) | st.none(),
        "create_response": st.booleans(),
        "interrupt_response": st.booleans(),
    },
)
tools = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["function", "mcp", "x"]), "name": st.sampled_from(["f", "g", ""])}),
    max_size=3,
)
ga_session = st.fixed_dictionaries(
    {"type": st.sampled_from(["realtime", "realtime", "transcription", "x"])},
    optional={
        "instructions": st.text(max_size=9) | st.none(),
        "output_modalities": st.lists(st.sampled_from(["text", "audio"]), max_size=2),
        "tools": tools,
        "max_output_tokens": st.integers(0, 5000) | st.just("inf") | st.none(),
        "audio": st.fixed_dictionaries(
            {},
            optional={
                "input": st.fixed_dictionaries(
                    {}, optional={"turn_detection": turn, "transcription": st.none() | json_values}
                ),
                "output": st.fixed_dictionaries({}, optional={"voice": ids, "speed": st.floats(0, 2)}),
            },
        ),
    },
)
response = st.fixed_dictionaries(
    {},
    optional={
        "conversation": st.sampled_from(["auto", "none", "x"]),
        "input": st.lists(item, max_size=2),
        "output_modalities": st.sampled_from([["text"], ["audio"], ["text", "audio"], []]),
        "tools": tools,
        "instructions": st.text(max_size=9),
        "metadata": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    },
)


def event(type: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(type), **fields})


events = st.one_of(
    event("session.update", session=ga_session | json_values),
    event("input_audio_buffer.append", audio=audio),
    event("input_audio_buffer.commit"),
    event("input_audio_buffer.clear"),
    event("output_audio_buffer.clear"),
    event("conversation.item.create", item=item, previous_item_id=st.none() | ids),
    event("conversation.item.retrieve", item_id=ids),
    event(
        "conversation.item.truncate",
        item_id=ids,
        content_index=st.integers(-1, 2),
        audio_end_ms=st.integers(-1, 10**18),
    ),
    event("conversation.item.delete", item_id=ids),
    event("response.create", response=st.none() | response),
    event("response.cancel", response_id=st.none() | ids),
    st.sampled_from(sorted(GOOD)).flatmap(
        lambda type: st.fixed_dictionaries({"type": st.just(type), "x": json_values})
    ),
)
answers = st.sampled_from(["text", "call", "done", "fail", "audio", "spoken", "heard", "tick"])


async def storm(beta: bool, script: list[dict[str, Any] | str]) -> None:
    rig = await Rig(beta=beta).open()
    for n, step in enumerate(script):
        if isinstance(step, dict):
            sent = rig.send(step["type"], event_id=f"e{n}", **{k: v for k, v in step.items() if k != "type"})
            for error in (e["error"] for e in sent if e["type"] == "error"):
                assert error["event_id"] == f"e{n}"
                assert error["message"]
        else:
            play(rig, step)
        if rig.wire.code is not None:
            break
    rig.endpoint.closed(1006, "")
    assert rig.session.state.ended
    responses = [e for e in rig.wire.sent if e["type"] == "response.created"]
    done = [e["response"]["id"] for e in rig.wire.sent if e["type"] == "response.done"]
    assert len(set(done)) == len(done) <= len(responses)


def play(rig: Rig, answer: str) -> None:
    """Let an engine answer its newest job."""
    session = rig.session
    generate, synthesize = session.asked(fx.Generate), session.asked(fx.Synthesize)
    transcribe = session.asked(fx.Transcribe)
    job = generate[-1].job if generate else "none"
    voice = synthesize[-1].job if synthesize else "none"
    match answer:
        case "text":
            rig.feed(inp.TextGenerated, job=job, delta="Hello there. ")
        case "call":
            rig.feed(inp.CallGenerated, job=job, index=0, call_id="c", name="f", delta="{}")
        case "done":
            rig.feed(inp.GenerationDone, job=job)
        case "fail":
            rig.feed(inp.GenerationFailed, job=job, message="broken")
        case "audio":
            rig.feed(inp.Synthesized, job=voice, samples=240)
        case "spoken":
            rig.feed(inp.SynthesisDone, job=voice)
        case "heard":
            rig.feed(inp.Transcribed, job=transcribe[-1].job if transcribe else "none", text="words")
        case _:
            rig.feed(inp.Tick)


@settings(max_examples=int(os.environ.get("ANTIPHON_FUZZ", "60")), deadline=None)
@given(st.booleans(), st.lists(events | answers, max_size=25))
def test_storms(beta: bool, script: list[dict[str, Any] | str]) -> None:
    asyncio.run(storm(beta, script))
