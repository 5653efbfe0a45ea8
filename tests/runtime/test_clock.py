from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from antiphon.runtime import clock
from antiphon.runtime.clock import LeakedTaskError, StandstillError, VirtualLoop, real_work, run_virtual


def test_an_hour_takes_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    before = time.monotonic()
    assert run_virtual(main()) == pytest.approx(3600)
    assert time.monotonic() - before < 5


def test_timers_fire_in_order_and_at_their_time() -> None:
    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        seen: list[tuple[str, float]] = []

        def fire(name: str) -> None:
            seen.append((name, loop.time()))

        for name, delay in (("c", 0.3), ("a", 0.1), ("b", 0.2), ("b2", 0.2)):
            loop.call_later(delay, fire, name)
        await asyncio.sleep(1)
        return seen

    first, second = run_virtual(main()), run_virtual(main())
    assert [name for name, _ in first] == ["a", "b", "b2", "c"]
    assert [at for _, at in first] == pytest.approx([0.1, 0.2, 0.2, 0.3])
    assert first == second


def test_real_work_lets_real_time_pass() -> None:
    async def main() -> tuple[float, float, float]:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        gate = threading.Event()

        def work() -> None:
            gate.wait(0.05)
            loop.call_soon_threadsafe(done.set)

        with real_work():
            threading.Thread(target=work, daemon=True).start()
            await done.wait()
            inside = loop.time()
        before = loop.time()
        await asyncio.sleep(100)
        return inside, before, loop.time()

    inside, before, after = run_virtual(main())
    assert 0.04 < inside <= before < 30
    assert after == pytest.approx(before + 100)


def test_executor_calls_are_real_work() -> None:
    async def main() -> tuple[str, float]:
        async with asyncio.timeout(3600):
            name = await asyncio.to_thread(lambda: threading.current_thread().name)
        return name, asyncio.get_running_loop().time()

    name, at = run_virtual(main())
    assert name != threading.current_thread().name
    assert at < 60


def test_loopback_sockets_work() -> None:
    async def main() -> bytes:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            writer.write(b"hello\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        return answer

    assert run_virtual(main()) == b"hello\n"


def test_a_leaked_task_is_told() -> None:
    async def main() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(10), name="forgotten")

    with pytest.raises(LeakedTaskError, match="forgotten"):
        run_virtual(main())


def test_a_failing_callback_is_told() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)

    with pytest.raises(ExceptionGroup) as told:
        run_virtual(main())
    assert isinstance(told.value.exceptions[0], ZeroDivisionError)


def test_waiting_for_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "STANDSTILL", 0.01)

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(StandstillError, match="no timer is set"):
        run_virtual(main())


def test_real_work_does_nothing_on_an_ordinary_loop() -> None:
    async def main() -> bool:
        with real_work():
            return isinstance(asyncio.get_running_loop(), VirtualLoop)

    assert asyncio.run(main()) is False


def test_the_loop_closes_its_sockets() -> None:
    loop = VirtualLoop()
    pair = socket.socketpair()
    loop.add_reader(pair[0], lambda: None)
    loop.close()
    for end in pair:
        end.close()
    assert loop.is_closed()
