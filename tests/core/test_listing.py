"""Tools that became known later."""

from __future__ import annotations

from antiphon.core import events as ev
from antiphon.core import inputs as inp
from antiphon.core.config import Config
from antiphon.core.effects import Effect, Emit
from antiphon.core.items import McpListTools, Tool
from antiphon.core.session import open_session, step
from antiphon.core.state import State

TOOL = Tool("add", run="server", mcp_server="sums")
DONE = McpListTools("mcpl_1", "sums", ('{"name":"add"}',))


def asked() -> State:
    state, _ = open_session(Config(), seed="s", at=0.0)
    state, _ = step(state, inp.AddItem(at=0.1, item=McpListTools("mcpl_1", "sums", status="in_progress")))
    return state


def changes(effects: tuple[Effect, ...]) -> list[ev.Event]:
    return [e.event for e in effects if isinstance(e, Emit) and isinstance(e.event, ev.ItemChanged)]


def test_the_list_is_brought_up_with_its_tools() -> None:
    state, effects = step(asked(), inp.SetTools(at=0.2, tools=(TOOL,), listing=DONE))
    assert changes(effects) == [ev.ItemChanged(DONE)]
    assert state.conversation.get("mcpl_1") == DONE
    assert state.config.tools == (TOOL,)


def test_a_list_that_was_deleted_meanwhile_does_not_come_back() -> None:
    state, _ = step(asked(), inp.DeleteItem(at=0.2, item_id="mcpl_1"))
    state, effects = step(state, inp.SetTools(at=0.3, tools=(TOOL,), listing=DONE))
    assert changes(effects) == []
    assert state.conversation.get("mcpl_1") is None
    assert state.config.tools == (TOOL,)
