"""The model's calls of tools: each run once, answered, and followed by one response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.client.realtime.errors import NotConnectedError
from antiphon.client.realtime.items import Item, Tool
from antiphon.client.realtime.tools import ToolBox

Send = Callable[[str, Mapping[str, Any] | None], object]


@dataclass(slots=True)
class _Calls:
    """The tools called by one response."""

    pending: int = 0
    status: str | None = None  # of the response, once it is done
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class ToolCalls:
    """Runs tools for the model while a connection lasts.

    The output is sent as soon as a tool has it. A response is asked for once all tools called by a response have
    answered and that response is over: asking earlier, or once for each, would be refused as "already has an active
    response".

    Args:
        toolbox: what can be run.
        send: sends a client event.

    Attributes:
        spared: task that `cancel` leaves alone.
    """

    def __init__(self, toolbox: ToolBox, send: Send) -> None:
        self._toolbox = toolbox
        self._send = send
        self._calls: dict[str, _Calls] = {}
        self._ran: set[str] = set()
        self.spared: asyncio.Task[object] | None = None

    def start(self, item: Item, response_id: str) -> None:
        """Run the tool of a completed function_call item; a second time for the same item does nothing."""
        tool = item.formatted.tool
        if tool is None or item.id in self._ran:
            return
        self._ran.add(item.id)
        calls = self._calls.setdefault(response_id, _Calls())
        calls.pending += 1
        task = asyncio.get_running_loop().create_task(self._run(tool, response_id, calls))
        calls.tasks.add(task)
        task.add_done_callback(calls.tasks.discard)

    def response_done(self, response_id: str, status: str | None) -> None:
        """Take note that a response is over."""
        calls = self._calls.get(response_id)
        if calls is not None:
            calls.status = status or "completed"
            self._answer(response_id, calls)

    def cancel(self) -> set[asyncio.Task[None]]:
        """Cancel what runs, for the session that wanted it is over; gives the tasks, to be awaited where possible.

        The tool that itself ends the session (`spared`) is not cancelled, only not answered.
        """
        tasks = {task for calls in self._calls.values() for task in calls.tasks} - {self.spared}
        for task in tasks:
            task.cancel()
        self._calls.clear()
        self._ran.clear()
        return tasks

    async def _run(self, tool: Tool, response_id: str, calls: _Calls) -> None:
        output = await self._toolbox.call(tool)
        if self._calls.get(response_id) is not calls:
            return  # another session by now: it does not know this call
        item = {"type": "function_call_output", "call_id": tool.call_id, "output": output}
        try:
            self._send("conversation.item.create", {"item": item})
        except NotConnectedError:
            return  # lost just now; nobody waits for the output any more
        calls.pending -= 1
        self._answer(response_id, calls)

    def _answer(self, response_id: str, calls: _Calls) -> None:
        if calls.pending or calls.status is None:
            return
        del self._calls[response_id]
        # Not after an interruption: the user's own turn asks for the next response. And without commit, unlike
        # create_response(): a push-to-talk user may just be speaking.
        if calls.status != "cancelled":
            self._send("response.create", None)
