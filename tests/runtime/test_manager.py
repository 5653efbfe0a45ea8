from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from antiphon.core import inputs as inp
from antiphon.core.config import Config
from antiphon.core.events import Ended, Event
from antiphon.core.items import Message, Text
from antiphon.engines.scripted import LlmScript, ScriptedLlm, ScriptedStt, ScriptedTts, ScriptedTurn, ScriptedVad
from antiphon.runtime.clock import run_virtual
from antiphon.runtime.engines import Engines
from antiphon.runtime.manager import Limits, SessionLimitError, SessionManager
from antiphon.runtime.session import Session


def engines(**others: Any) -> Engines:
    llm = ScriptedLlm(LlmScript(default="You said {text}.", delay=0.1))
    made = Engines(ScriptedVad(), ScriptedTurn(), ScriptedStt(), llm, ScriptedTts())
    return replace(made, **others)


def opened(manager: SessionManager, **options: Any) -> tuple[Session, list[Event]]:
    events: list[Event] = []
    session = manager.open(options.pop("config", Config()), events.append, **options)
    session.start()
    return session, events


def test_sessions_are_counted_and_limited() -> None:
    async def main() -> None:
        manager = SessionManager(engines(), Limits(sessions=3, sessions_per_tenant=2))
        one, _ = opened(manager, tenant="a")
        opened(manager, tenant="a")
        with pytest.raises(SessionLimitError, match="all of your 2 sessions") as share:
            opened(manager, tenant="a")
        opened(manager, tenant="b")
        with pytest.raises(SessionLimitError, match="all of its 3 sessions") as full:
            opened(manager, tenant="c")
        assert (share.value.code, full.value.code, manager.count) == ("tenant", "sessions", 3)
        await one.close("gone")
        assert manager.get(one.id) is None and manager.count == 2
        again, _ = opened(manager, tenant="a")
        assert manager.get(again.id) is again and again in manager.sessions
        await manager.close()
        figures = manager.statistics()
        assert (figures.open, figures.unwinding, figures.opened, figures.refused) == (0, 0, 4, 2)
        assert figures.ended == {"gone": 1, "closed": 3}

    run_virtual(main())


def test_limits_clamp_what_a_session_may_ask_for() -> None:
    async def main() -> None:
        manager = SessionManager(engines(), Limits(session_seconds=60.0, idle_seconds=20.0))
        session, _ = opened(manager, config=Config(max_seconds=None, idle_close=None))
        assert (session.state.config.max_seconds, session.state.config.idle_close) == (60.0, 20.0)
        session.do(inp.Configure, config=Config(max_seconds=10_000.0, idle_close=5.0))
        assert (session.state.config.max_seconds, session.state.config.idle_close) == (60.0, 5.0)
        record = await session.wait_closed()
        assert record.reason == "idle" and record.seconds == pytest.approx(5.0)
        await manager.close()
        tight = Config(max_seconds=1.0, idle_close=1.0)
        assert manager.limits.admit(tight) is tight

    run_virtual(main())


def test_the_longest_session_ends() -> None:
    async def main() -> None:
        manager = SessionManager(engines(), Limits(session_seconds=60.0))
        session, events = opened(manager)
        record = await session.wait_closed()
        assert record.reason == "max_duration" and record.seconds == pytest.approx(60.0)
        assert isinstance(events[-1], Ended)
        await manager.close()

    run_virtual(main())


def test_a_seed_serves_one_session_at_a_time() -> None:
    async def main() -> None:
        manager = SessionManager(engines())
        opened(manager, seed="seed0000")
        with pytest.raises(ValueError, match="'seed0000' is in use"):
            opened(manager, seed="seed0000")
        assert manager.count == 1
        await manager.close()

    run_virtual(main())


def test_draining_waits_refuses_and_then_ends() -> None:
    async def main() -> None:
        manager = SessionManager(engines())
        leaving, _ = opened(manager)
        staying, events = opened(manager)
        loop = asyncio.get_running_loop()
        draining = asyncio.create_task(manager.drain(10.0))
        await asyncio.sleep(1.0)
        with pytest.raises(SessionLimitError, match="shutting down") as refused:
            opened(manager)
        assert refused.value.code == "draining"
        await leaving.close()
        await draining
        assert loop.time() == pytest.approx(10.0)
        ended = events[-1]
        assert isinstance(ended, Ended) and ended.record.reason == "draining" and staying.closed
        await manager.close()

    run_virtual(main())


def test_draining_an_empty_process_takes_no_time() -> None:
    async def main() -> float:
        manager = SessionManager(engines())
        await manager.drain(10.0)
        session_less = SessionManager(engines())
        one, _ = opened(session_less)
        draining = asyncio.create_task(session_less.drain(10.0))
        await asyncio.sleep(2.0)
        await one.close()
        await draining
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(2.0)


def test_engines_are_closed_even_when_one_fails() -> None:
    class Sticky(ScriptedStt):
        async def close(self) -> None:
            raise OSError("stuck")

    class Noting(ScriptedTts):
        closed = False

        async def close(self) -> None:
            self.closed = True

    tts = Noting()
    with pytest.raises(ExceptionGroup, match="engines did not close"):
        run_virtual(engines(stt=Sticky(), tts=tts).close())
    assert tts.closed


def test_opening_is_cheap() -> None:
    async def main() -> float:
        manager = SessionManager(engines(), Limits(sessions=300))
        opened(manager)
        before = time.process_time()
        for _ in range(200):
            opened(manager)
        spent = time.process_time() - before
        await manager.close()
        return spent / 200

    assert run_virtual(main()) < 0.001, "a millisecond of CPU at most"


def test_a_thousand_sessions_leave_nothing_behind() -> None:
    async def batch(manager: SessionManager, count: int) -> None:
        sessions = [opened(manager)[0] for _ in range(count)]
        for session in sessions:
            session.hear(np.ones(1000, np.int16))
            session.do(inp.AddItem, item=Message("", "user", (Text("hello"),)))
            session.do(inp.CreateResponse)
        await asyncio.sleep(0.05)  # some are thinking
        await asyncio.gather(*(session.close() for session in sessions[::2]))
        await asyncio.sleep(0.2)  # some are speaking
        await asyncio.gather(*(session.close() for session in sessions))

    async def main() -> tuple[int, int]:
        manager = SessionManager(engines(), Limits(sessions=1000))
        await batch(manager, 100)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            await batch(manager, 100)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        await manager.close()
        assert len(asyncio.all_tasks()) == 1, "nobody but us"
        alive = len([o for o in gc.get_objects() if isinstance(o, Session)])
        return grown, alive

    grown, alive = run_virtual(main())
    assert alive <= 2, "the last loop variables at most"
    assert grown < 1_000_000, f"{grown} bytes more than before"


def test_a_watch_sees_the_events_of_every_session() -> None:
    async def main() -> None:
        seen: list[object] = []
        manager = SessionManager(engines(), watch=seen.append)
        one, _ = opened(manager)
        other, _ = opened(manager)
        await one.close()
        await other.close()
        assert sum(isinstance(event, Ended) for event in seen) == 2
        await manager.close()

    run_virtual(main())
