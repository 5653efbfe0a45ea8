"""What a channel adds to translation: prompts, overrides, references, and refusals that leave the session as it was."""

from __future__ import annotations

import asyncio
import base64

import pytest

from antiphon.core import effects as fx
from antiphon.core.items import Message
from antiphon.protocols.openai.settings import RealtimeSettings, StoredPrompt

from .rig import MemoryPrompts, Rig, error_of, only, types

PROMPTS = MemoryPrompts([StoredPrompt("pmpt_1", "1", "Old."), StoredPrompt("pmpt_1", "2", "Greet {{name}}.")])


async def settled(rig: Rig) -> None:
    """Let a lookup end."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_prompt_is_looked_up_and_later_events_wait_for_it() -> None:
    rig = await Rig(prompts=PROMPTS).open()
    prompt = {"id": "pmpt_1", "variables": {"name": "Ada"}}
    assert rig.send("session.update", session={"type": "realtime", "prompt": prompt}) == []
    assert rig.send("input_audio_buffer.clear") == []
    await settled(rig)
    assert types(rig.take()) == ["session.updated", "input_audio_buffer.cleared"]
    assert rig.session.state.config.instructions == "Greet Ada."
    kept = rig.send("session.update", session={"type": "realtime", "tracing": "auto"})
    assert kept[0]["session"]["prompt"] == prompt
    assert rig.session.state.config.instructions == "Greet Ada."
    rig.send("session.update", session={"type": "realtime", "prompt": None})
    assert rig.session.state.config.instructions == rig.settings.instructions


@pytest.mark.parametrize("prompts", [PROMPTS, None])
async def test_unknown_prompt(prompts: MemoryPrompts | None) -> None:
    rig = await Rig(prompts=prompts).open()
    prompt = {"id": "pmpt_1", "version": "9"}
    rig.send("session.update", session={"type": "realtime", "prompt": prompt}, event_id="p")
    await settled(rig)
    error = error_of(rig.take())
    assert (error["code"], error["param"], error["event_id"]) == ("invalid_value", "session.prompt.id", "p")
    assert types(rig.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]


async def test_prompt_of_one_response() -> None:
    rig = await Rig(prompts=PROMPTS).open()
    rig.send("response.create", response={"prompt": {"id": "pmpt_1", "version": "1"}})
    await settled(rig)
    assert types(rig.take())[0] == "response.created"
    assert rig.session.asked(fx.Generate)[-1].config.instructions == "Old."


async def test_overrides_count_for_one_response() -> None:
    rig = await Rig().open()
    tool = {"type": "function", "name": "f"}
    params = {
        "instructions": "Once.",
        "output_modalities": ["text"],
        "tools": [tool],
        "tool_choice": {"type": "function", "name": "f"},
        "max_output_tokens": 7,
        "audio": {"output": {"voice": "verse"}},
        "metadata": {"k": "v"},
    }
    created = only(rig.send("response.create", response=params), "response.created")["response"]
    assert (created["max_output_tokens"], created["metadata"]) == (7, {"k": "v"})
    assert created["output_modalities"] == ["text"]
    assert created["audio"]["output"]["voice"] == "verse"
    config = rig.session.asked(fx.Generate)[-1].config
    assert (config.instructions, config.tool_choice, [t.name for t in config.tools]) == ("Once.", "f", ["f"])
    rig.generated("ok")
    again = only(rig.send("response.create"), "response.created")["response"]
    assert again["max_output_tokens"] == "inf"
    assert "metadata" not in again


async def test_input_replaces_the_context_and_may_point_into_the_conversation() -> None:
    rig = await Rig().open()
    first = rig.say("first")[0]["item"]["id"]
    rig.say("second")
    own = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "own"}]}
    params = {"conversation": "none", "input": [{"type": "item_reference", "id": first}, own]}
    rig.send("response.create", response=params)
    history = rig.session.asked(fx.Generate)[-1].history
    assert [i.text for i in history if isinstance(i, Message)] == ["first", "own"]
    params = {"conversation": "none", "input": [{"type": "item_reference", "id": "nobody"}]}
    error = error_of(rig.send("response.create", response=params))
    assert error["param"] == "response.input[0].id"


async def test_beta_overrides() -> None:
    rig = await Rig(beta=True).open()
    params = {"modalities": ["text"], "max_output_tokens": 5, "temperature": 0.6, "output_audio_format": "g711_ulaw"}
    created = rig.send("response.create", response=params)[0]["response"]
    assert (created["modalities"], created["temperature"]) == (["text"], 0.6)
    assert (created["output_audio_format"], created["max_output_tokens"]) == ("g711_ulaw", 5)


async def test_formats_may_change_between_turns() -> None:
    rig = await Rig().open()
    ulaw = {"format": {"type": "audio/pcmu"}}
    rig.send("session.update", session={"type": "realtime", "audio": {"input": ulaw, "output": ulaw}})
    for size in (1, 159, 160, 480):  # odd pieces are whole samples in G.711
        assert rig.send("input_audio_buffer.append", audio=base64.b64encode(bytes(size)).decode()) == []
    assert types(rig.send("input_audio_buffer.commit"))[0] == "input_audio_buffer.committed"
    assert rig.session.heard_samples == 2 * 800


@pytest.mark.parametrize(
    ("audio", "code"),
    [(base64.b64encode(bytes(961)).decode(), "invalid_value"), ("no base64!", "invalid_value"), (7, "invalid_type")],
)
async def test_bad_audio_is_refused_and_the_stream_goes_on(audio: object, code: str) -> None:
    rig = await Rig().open()
    error = error_of(rig.send("input_audio_buffer.append", audio=audio, event_id="a"))
    assert (error["code"], error["param"], error["event_id"]) == (code, "audio", "a")
    assert rig.send("input_audio_buffer.append", audio=base64.b64encode(bytes(960)).decode()) == []


async def test_append_is_bounded() -> None:
    rig = await Rig(settings=RealtimeSettings(max_append_bytes=1000)).open()
    assert rig.send("input_audio_buffer.append", audio=base64.b64encode(bytes(1000)).decode()) == []
    error = error_of(rig.send("input_audio_buffer.append", audio=base64.b64encode(bytes(1002)).decode()))
    assert "1000 bytes" in error["message"]


async def test_output_buffer_is_not_for_websockets() -> None:
    rig = await Rig().open()
    assert error_of(rig.send("output_audio_buffer.clear"))["code"] == "invalid_event"


async def test_truncate_at_zero_before_the_first_audio() -> None:
    rig = await Rig().open()
    rig.say("Hello")
    rig.send("response.create")
    started = rig.generated("Well now, ", done=False)
    item_id = only(started, "response.output_item.added")["item"]["id"]
    events = rig.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=0)
    assert only(events, "conversation.item.truncated")["audio_end_ms"] == 0
    assert types(rig.send("conversation.item.retrieve", item_id=item_id)) == ["conversation.item.retrieved"]


async def test_a_refused_update_changes_nothing() -> None:
    rig = await Rig().open()
    before = rig.session.state.config
    update = {"type": "realtime", "instructions": "New.", "tools": [{"type": "function", "name": "f"}] * 2}
    assert error_of(rig.send("session.update", session=update))["param"] == "session.tools[1].name"
    assert rig.session.state.config is before
    shown = rig.send("session.update", session={"type": "realtime"})[0]["session"]
    assert shown["instructions"] == rig.settings.instructions


async def test_both_agents_sdks_second_update_only_traces() -> None:
    rig = await Rig().open()
    tracing = {"workflow_name": "w", "group_id": "g"}
    for _ in range(2):
        shown = rig.send("session.update", session={"type": "realtime", "model": "other", "tracing": tracing})
        assert shown[0]["session"]["tracing"] == tracing
        assert shown[0]["session"]["model"] == "gpt-realtime"


async def test_retention_and_truncation_reach_the_core() -> None:
    rig = await Rig(settings=RealtimeSettings(context_tokens=100)).open()
    assert rig.session.state.config.context_tokens == 100
    ratio = {"type": "retention_ratio", "retention_ratio": 0.5}
    rig.send("session.update", session={"type": "realtime", "truncation": ratio})
    assert (rig.session.state.config.context_tokens, rig.session.state.config.retention) == (100, 0.5)
    rig.send("session.update", session={"type": "realtime", "truncation": "disabled"})
    assert rig.session.state.config.context_tokens is None
