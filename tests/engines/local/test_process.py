from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from antiphon.engines.local import wire
from antiphon.engines.local.options import LocalOptions
from antiphon.engines.local.process import EngineProcess
from antiphon.engines.ports import PCM, EngineError


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
async def made(models_dir: Path) -> AsyncIterator[EngineProcess]:
    process = EngineProcess(models_dir, LocalOptions(threads=1), ping_interval=0.05, ping_timeout=2.0)
    yield process
    await process.close()


async def transcribe(process: EngineProcess, audio: PCM) -> str:
    pcm = audio.tobytes()
    texts = [r.text async for r in process.stream(lambda id: wire.Transcribe(id, pcm)) if isinstance(r, wire.Words)]
    return " ".join(texts)


async def pending(process: EngineProcess, work: Callable[[], Awaitable[object]]) -> asyncio.Task[object]:
    """Start a request, and wait until the child is at work on it: the ping that follows it was answered."""
    task = asyncio.ensure_future(work())
    assert isinstance(task, asyncio.Task)
    while not process._calls:
        await asyncio.wait([task], timeout=0.001)
    return task


@pytest.mark.models
async def test_a_killed_child_fails_what_was_pending_and_the_next_call_works(made: EngineProcess, beckett: PCM) -> None:
    await made.load("stt")
    assert made.loaded("stt")
    first = made.pid
    assert first is not None
    running = [await pending(made, lambda: transcribe(made, np.tile(beckett, 5))) for _ in range(2)]
    os.kill(first, signal.SIGKILL)
    for task in running:
        with pytest.raises(EngineError, match=r"ended \(exit code -9\) and is being restarted") as caught:
            await task
        assert caught.value.kind == "crashed"
        assert caught.value.retryable
    assert not made.loaded("stt")
    assert "fail better" in await transcribe(made, beckett)
    assert made.restarts == 1
    assert made.pid not in (None, first)
    assert made.loaded("stt"), "what was loaded before is loaded again"
    assert not alive(first)


@pytest.mark.models
async def test_a_child_that_hangs_is_killed(made: EngineProcess, beckett: PCM) -> None:
    await made.load("stt")
    pid = made.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(EngineError) as caught:
        await transcribe(made, beckett)
    assert caught.value.kind == "crashed"
    assert not alive(pid)
    assert "fail better" in await transcribe(made, beckett)


@pytest.mark.models
async def test_closing_ends_the_child_and_fails_what_was_pending(made: EngineProcess, beckett: PCM) -> None:
    await made.load("stt")
    pid = made.pid
    assert pid is not None
    running = await pending(made, lambda: transcribe(made, np.tile(beckett, 5)))
    await made.close()
    await made.close()
    with pytest.raises(EngineError):
        await running
    assert not alive(pid)
    assert made.pid is None
    with pytest.raises(EngineError, match="the engine was closed") as caught:
        await transcribe(made, beckett)
    assert caught.value.kind == "unavailable"


@pytest.mark.models
async def test_the_last_engine_to_leave_closes_the_process(made: EngineProcess) -> None:
    made.join()
    made.join()
    await made.start()
    await made.leave()
    assert made.pid is not None
    await made.leave()
    assert made.pid is None


async def test_damaged_models_are_told_by_the_child(tmp_path: Path) -> None:
    process = EngineProcess(tmp_path, ping_interval=60)
    try:
        for engine in ("stt", "llm", "tts"):
            with pytest.raises(EngineError, match=r"is missing: run 'antiphon models fetch' to mend it") as caught:
                await process.load(engine)
            assert caught.value.kind == "unavailable"
            assert not process.loaded(engine)
    finally:
        await process.close()


async def test_a_child_that_cannot_start_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.engines.local.process._START_TIMEOUT", 0.3)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    process = EngineProcess(tmp_path)
    try:
        with pytest.raises(EngineError, match=r"the engine process is being restarted: .*no-python") as caught:
            await process.load("stt")
        assert caught.value.kind == "unavailable"
    finally:
        await process.close()


@pytest.mark.parametrize("answer", [b"rubbish that is no frame", wire.frame(wire.Pong(0, step=100.0))])
async def test_a_child_that_writes_rubbish_or_whose_model_hangs_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    program = tmp_path / "child"
    hello = wire.frame(wire.Pong(0))
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"sys.stdout.buffer.write({hello!r}); sys.stdout.flush()\n"
        "while b'a word' not in sys.stdin.buffer.read1(): pass\n"
        f"sys.stdout.buffer.write({answer!r}); sys.stdout.flush()\n"
        "sys.stdin.read()\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    process = EngineProcess(tmp_path)
    try:
        await process.start()
        pid = process.pid
        with pytest.raises(EngineError) as caught:
            async for _ in process.stream(lambda id: wire.Speak(id, "a word", "", 1.0)):
                pass
        assert caught.value.kind == "crashed"
        assert pid is not None
        assert not alive(pid)
    finally:
        await process.close()


def test_the_child_does_not_outlive_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = f"""
import asyncio, os, signal
from pathlib import Path
from antiphon.engines.local.process import EngineProcess

async def main():
    process = EngineProcess(Path({str(tmp_path)!r}))
    await process.start()
    print(process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    # The child inherits the pipe of stderr: reading that to its end is waiting for the child's, and times out else.
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", server], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) > 0
    assert done.stderr == b""
    assert list(Path(tempfile.gettempdir()).glob("antiphon-*")) == []


async def test_without_room_for_its_directory_it_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.engines.local.process._START_TIMEOUT", 0.3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    process = EngineProcess(tmp_path)
    try:
        with pytest.raises(EngineError, match=r"is being restarted: .*No such file or directory") as caught:
            await process.load("stt")
        assert caught.value.kind == "unavailable"
    finally:
        await process.close()
