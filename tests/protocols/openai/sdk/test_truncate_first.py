"""What the Agents SDK does when a guardrail trips: it truncates, then cancels by name, in one breath."""

from __future__ import annotations

from ..rig import Rig, error_of, types


async def test_a_cancel_right_after_the_truncation_that_ended_the_response_is_no_error() -> None:
    rig = await Rig().open()
    rig.say("hi")
    created = rig.send("response.create")
    response_id = next(e for e in created if e["type"] == "response.created")["response"]["id"]
    rig.generated("Hello. ", done=False)
    rig.spoken(done=False)
    item_id = next(e for e in rig.wire.sent if e["type"] == "response.output_item.added")["item"]["id"]
    told = rig.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=50)
    assert "conversation.item.truncated" in types(told)
    told += rig.send("response.cancel", response_id=response_id)
    assert "error" not in types(told)
    assert types(told).count("response.done") == 1
    assert error_of(rig.send("response.cancel"))["code"] == "response_cancel_not_active"
