"""The server's side of the engine process: starts it, talks to it, and starts it again when it dies or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec

from antiphon.engines.local import wire
from antiphon.engines.local.options import LocalOptions
from antiphon.engines.ports import EngineError, ErrorKind

__all__ = ["EngineProcess"]

_START_TIMEOUT = 30.0
"""Seconds that a request waits for a process that is being restarted."""
_BACK_OFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before each restart of a process that dies again and again; the last repeats."""
_SETTLED = 30.0
"""Seconds of life after which a death counts as the first one."""
_STEP_TIMEOUT = 60.0
"""Seconds that one step of a model may take; the longest, loading a voice from a slow disk, takes a few."""
_GRACE = 2.0
"""Seconds that a process may take to end by itself."""

_Replies = asyncio.Queue[wire.Reply | EngineError]


class EngineProcess:
    """One child that runs STT, LLM and TTS for all sessions.

    A death fails what was pending (``EngineError``, kind crashed), and the child is started again with the engines that
    had been loaded. Health is watched while requests are pending: a child that answers no ping, or whose model hangs,
    is killed.

    Args:
        models_dir: Where the model files are.
        options: How the engines run.
        name: The engine's name in errors.
        ping_interval: Seconds between pings.
        ping_timeout: Seconds without an answer after which the child is killed.
    """

    def __init__(
        self,
        models_dir: Path,
        options: LocalOptions | None = None,
        *,
        name: str = "local",
        ping_interval: float = 5.0,
        ping_timeout: float = 20.0,
    ) -> None:
        self.name = name
        self.models_dir = models_dir
        self.options = options or LocalOptions()
        self.restarts = 0
        """How often the child was started again."""
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._users = 0
        self._process: Process | None = None
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._calls: dict[int, _Replies] = {}
        self._ids = itertools.count(1)
        self._loaded: dict[str, bool] = {}
        self._closed = False
        self._trouble = ""
        self._pinged: float | None = None
        self._watch: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        return self._process.pid if self._process is not None else None

    def loaded(self, engine: str) -> bool:
        """Whether an engine is loaded in the child that runs now."""
        return self._up.is_set() and self._loaded.get(engine, False)

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the child, or wait until it runs again. Idempotent.

        Raises:
            EngineError: kind unavailable: the child does not start, or the engine was closed.
        """
        if self._closed:
            raise EngineError(self.name, "unavailable", "the engine was closed")
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise(), name="engine-process")
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while not self._up.is_set():  # it may be up and down again before this runs
                    await self._up.wait()
        except TimeoutError:
            raise EngineError(self.name, "unavailable", self._trouble or "the engine process is starting") from None
        if self._closed:
            raise EngineError(self.name, "unavailable", "the engine was closed")

    async def close(self) -> None:
        """End the child and join it; pending requests fail. Idempotent."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        self._fail("unavailable", "the engine was closed")
        self._up.set()

    def join(self) -> None:
        """Count an engine in that uses this process."""
        self._users += 1

    async def leave(self) -> None:
        """Count an engine out; the last one closes the process."""
        self._users -= 1
        if self._users <= 0:
            await self.close()

    async def _supervise(self) -> None:
        deaths = 0
        while True:
            born = time.monotonic()
            why, code = "", None
            try:
                await self._live()
            except TimeoutError:  # an OSError, too
                why = f"the engine process did not start within {_START_TIMEOUT:.0f} s"
            except (OSError, msgspec.DecodeError) as error:
                why = f"the engine process is being restarted: {error}"
            finally:
                self._up.clear()
                try:
                    code = await self._bury()
                finally:
                    if self._private is not None:
                        self._private.cleanup()
                    self._trouble = why or f"the engine process ended (exit code {code}) and is being restarted"
                    self._fail("crashed", self._trouble)
            deaths = 1 if time.monotonic() - born > _SETTLED else deaths + 1
            await asyncio.sleep(_BACK_OFF[min(deaths, len(_BACK_OFF)) - 1])
            self.restarts += 1

    async def _live(self) -> None:
        """Start a child and read what it says until it ends."""
        self._private = tempfile.TemporaryDirectory(prefix="antiphon-", ignore_cleanup_errors=True)
        # -P: nothing in the working directory may shadow a module.
        command = (sys.executable, "-P", "-m", "antiphon.engines.local.worker")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment)
        self._send(wire.Start(0, str(self.models_dir), self.options.as_dict(), self._private.name))
        output = self._process.stdout
        assert output is not None
        first = await asyncio.wait_for(_read(output), _START_TIMEOUT)
        if first is None:
            return
        for engine in self._loaded:
            self._loaded[engine] = False
            self._reload(engine)
        self._pinged = None
        self._up.set()
        while (reply := await _read(output)) is not None:
            self._deliver(reply)

    async def _bury(self) -> int | None:
        """Make sure that the child is gone; its exit code."""
        process = self._process
        if process is None:
            return None
        if process.stdin is not None:
            process.stdin.close()
        killer = asyncio.get_running_loop().call_later(_GRACE, self._kill, process)
        try:
            if self._closed:
                # Its input has ended, so it leaves by itself; models that compute need not be waited for.
                self._kill(process)
            return await process.wait()
        except asyncio.CancelledError:
            self._kill(process)
            raise
        finally:
            killer.cancel()
            self._process = None

    @staticmethod
    def _kill(process: Process) -> None:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    def _fail(self, kind: ErrorKind, message: str) -> None:
        for replies in self._calls.values():
            replies.put_nowait(EngineError(self.name, kind, message))
        self._calls.clear()

    # --- requests ---------------------------------------------------------------------------------------------------

    async def load(self, engine: str) -> None:
        """Load an engine (``stt``, ``llm`` or ``tts``) and run it once; it is loaded again after every restart.

        Raises:
            EngineError: It cannot be loaded.
        """
        if not self.loaded(engine):
            async for _ in self.stream(lambda id: wire.Load(id, engine)):
                pass
            self._loaded[engine] = True

    def _reload(self, engine: str) -> None:
        """Ask a new child for an engine, without waiting."""
        id = next(self._ids)
        self._calls[id] = _Loading(self._loaded, engine)
        self._send(wire.Load(id, engine))

    async def stream(
        self, make: Callable[[int], wire.Request]
    ) -> AsyncGenerator[wire.Words | wire.Sound | wire.Done, None]:
        """Send a request and yield its replies, ``Done`` last; closing the iterator cancels the work.

        Args:
            make: The request for an id.

        Raises:
            EngineError: The work failed, or the child died.
        """
        await self.start()
        id = next(self._ids)
        replies: _Replies = asyncio.Queue()
        self._calls[id] = replies
        self._send(make(id))
        self._watch_over()
        try:
            while True:
                match await replies.get():
                    case wire.Failed(kind=kind, message=message):
                        raise EngineError(self.name, kind, message)
                    case EngineError() as error:
                        raise error
                    case wire.Done() as done:
                        yield done
                        return
                    case wire.Words() | wire.Sound() as reply:
                        yield reply
        finally:
            if self._calls.pop(id, None) is not None:
                self._send(wire.Cancel(id))

    def _send(self, request: wire.Request) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(wire.frame(request))

    def _deliver(self, reply: wire.Reply) -> None:
        if isinstance(reply, wire.Pong):
            self._pinged = None
            if reply.step > _STEP_TIMEOUT and self._process is not None:
                self._kill(self._process)
            return
        # What was cancelled may still say something: nobody listens.
        if replies := self._calls.get(reply.id):
            replies.put_nowait(reply)
            if isinstance(reply, (wire.Done, wire.Failed)):
                del self._calls[reply.id]

    # --- health -----------------------------------------------------------------------------------------------------

    def _watch_over(self) -> None:
        """Keep a timer while requests are pending."""
        if self._watch is None and self._calls:
            self._watch = asyncio.get_running_loop().call_later(self._ping_interval, self._check)

    def _check(self) -> None:
        """Kill a child that hangs; real time counts, also where the loop's clock is a virtual one."""
        self._watch = None
        now = time.monotonic()
        if self._process is not None and self._up.is_set():
            if self._pinged is None:
                self._pinged = now
                self._send(wire.Ping(0))
            elif now - self._pinged > self._ping_timeout:
                self._kill(self._process)
        self._watch_over()


async def _read(output: asyncio.StreamReader) -> wire.Reply | None:
    """The child's next reply; None at the end of its output."""
    try:
        (length,) = wire.HEADER.unpack(await output.readexactly(wire.HEADER.size))
        if length > wire.MAX_FRAME:
            raise msgspec.DecodeError(f"the engine process wrote a frame of {length} bytes")
        return wire.read_reply(await output.readexactly(length))
    except asyncio.IncompleteReadError:
        return None


class _Loading(_Replies):
    """Takes the answer to a load that nobody awaits."""

    def __init__(self, loaded: dict[str, bool], engine: str) -> None:
        super().__init__()
        self._loaded = loaded
        self._engine = engine

    def put_nowait(self, item: wire.Reply | EngineError) -> None:
        self._loaded[self._engine] = isinstance(item, wire.Done)
