"""Pacing for the reference client: what is held, for how long, and that order never changes (section 10)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.protocols.openai.outbox import Outbox
from antiphon.runtime.clock import run_virtual
from antiphon.transports.connection import Request

USER = {"type": "conversation.item.created", "item": {"type": "message", "role": "user"}}
AGENT = {"type": "conversation.item.created", "item": {"type": "message", "role": "assistant"}}


class Line:
    """A connection that notes when each event left."""

    def __init__(self) -> None:
        self.request = Request("/")
        self.buffered = self.dropped = 0
        self.sent: list[tuple[int, str]] = []
        self.closed: tuple[int, str] | None = None

    def send(self, data: bytes) -> None:
        assert self.closed is None
        milliseconds = round(asyncio.get_running_loop().time() * 1000)
        event = msgspec.json.decode(data)
        assert event["event_id"].startswith("event_")
        self.sent.append((milliseconds, event["type"]))

    send_audio = send

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = (code, reason)


def test_ga_sends_at_once() -> None:
    async def main() -> None:
        line = Line()
        box = Outbox(line, 0.0)
        for type in ("session.created", "session.updated", "response.output_item.done"):
            box.send({"type": type})
        assert len({when for when, _ in line.sent}) == 1
        assert len(line.sent) == 3
        box.close(1000, "")
        box.send({"type": "late"})
        assert len(line.sent) == 3

    run_virtual(main())


def test_the_four_points_keep_their_distance() -> None:
    async def main() -> None:
        line = Line()
        box = Outbox(line, 0.02)
        start = asyncio.get_running_loop().time()
        for event in (
            {"type": "session.created"},
            {"type": "session.updated"},
            dict(USER),
            {"type": "response.created"},
            dict(AGENT),
            {"type": "response.text.delta"},
            {"type": "response.output_item.done"},
            {"type": "response.done"},
        ):
            box.send(event)
        await asyncio.sleep(1)
        after = {type: when - round(start * 1000) for when, type in line.sent}
        assert after["session.created"] == 0
        assert after["session.updated"] >= 20
        times = [when - round(start * 1000) for when, _ in line.sent]
        assert times[2] >= 20, "the user's item keeps away from its creation"
        assert times[3] == times[2], "what is not among the four points is not held for itself"
        assert times[4] - times[2] >= 20
        assert times[5] == times[4]
        assert times[6] - times[4] >= 20
        assert times[7] == times[6]

    run_virtual(main())


def test_close_waits_for_what_is_held_and_stop_forgets_it() -> None:
    async def main() -> None:
        line, gone = Line(), Line()
        box, dead = Outbox(line, 0.02), Outbox(gone, 0.02)
        for one in (box, dead):
            one.send({"type": "session.created"})
            one.send({"type": "session.updated"})
        box.close(1001, "bye")
        assert line.closed is None
        dead.stop()
        await asyncio.sleep(1)
        assert [type for _, type in line.sent] == ["session.created", "session.updated"]
        assert line.closed == (1001, "bye")
        assert [type for _, type in gone.sent] == ["session.created"]

    run_virtual(main())


kinds = st.sampled_from(
    [
        {"type": "session.created"},
        {"type": "session.updated"},
        USER,
        AGENT,
        {"type": "response.output_item.done"},
        {"type": "response.audio.delta"},
    ]
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(kinds, st.integers(0, 30)), max_size=20))
def test_order_is_kept_and_everything_leaves(script: list[tuple[dict[str, Any], int]]) -> None:
    async def main() -> None:
        line = Line()
        box = Outbox(line, 0.02)
        for event, gap in script:
            if event["type"].endswith("audio.delta"):
                box.send_audio(dict(event))
            else:
                box.send(dict(event))
            await asyncio.sleep(gap / 1000)
        await asyncio.sleep(1)
        assert [type for _, type in line.sent] == [event["type"] for event, _ in script]

    run_virtual(main())
