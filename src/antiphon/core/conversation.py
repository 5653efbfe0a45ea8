"""The conversation: ordered items, and the history an LLM is given of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from antiphon.core.items import FunctionCall, FunctionCallOutput, Image, Item, McpCall, Message

ROOT = "root"
_PENDING = "(still running)"


@dataclass(frozen=True, slots=True)
class Conversation:
    items: tuple[Item, ...] = ()

    def get(self, item_id: str) -> Item | None:
        return next((i for i in self.items if i.id == item_id), None)

    @property
    def last_id(self) -> str | None:
        return self.items[-1].id if self.items else None

    def previous_id(self, item_id: str) -> str | None:
        """The id of the item before ``item_id``; None when it is the first, or not there."""
        before: str | None = None
        for item in self.items:
            if item.id == item_id:
                return before
            before = item.id
        return None

    def insert(self, item: Item, after: str | None = None) -> Conversation | None:
        """With ``item`` appended (``after`` None), put first ("root") or after an item; None if that is unknown."""
        if after is None:
            return Conversation((*self.items, item))
        if after == ROOT:
            return Conversation((item, *self.items))
        for n, other in enumerate(self.items, 1):
            if other.id == after:
                return Conversation((*self.items[:n], item, *self.items[n:]))
        return None

    def replace(self, item: Item) -> Conversation:
        """With the item of the same id replaced; unchanged when it is not there (deleted meanwhile)."""
        return Conversation(tuple(item if i.id == item.id else i for i in self.items))

    def delete(self, item_id: str) -> Conversation:
        return Conversation(tuple(i for i in self.items if i.id != item_id))

    def call(self, call_id: str) -> FunctionCall | None:
        """The function call with this call id."""
        return next((i for i in self.items if isinstance(i, FunctionCall) and i.call_id == call_id), None)


def history(items: Iterable[Item], *, tokens: int | None = None, retention: float = 1.0) -> tuple[Item, ...]:
    """The items in an order that any chat API takes: each call is followed at once by its output.

    Messages nobody heard a word of are left out, calls that have no output yet are shown as still running, calls that
    were never completed are left out. With ``tokens``, the oldest messages beyond that estimate are dropped, down to
    the share ``retention`` of it.
    """
    items = tuple(items)
    outputs = {i.call_id: i for i in items if isinstance(i, FunctionCallOutput)}
    ordered: list[Item] = []
    for item in items:
        match item:
            case Message() if item.role != "assistant" or item.text:
                ordered.append(item)
            case FunctionCall(status="completed"):
                running = FunctionCallOutput(f"{item.id}_running", item.call_id, _PENDING)
                ordered += (item, outputs.get(item.call_id, running))
            case McpCall(status="completed"):
                ordered.append(item if item.output or item.error else replace(item, output=_PENDING))
            case _:
                pass  # unheard, unfinished, placed behind its call, or nothing to an LLM
    return tuple(ordered) if tokens is None else _newest(ordered, tokens, retention)


def gist(items: Iterable[Item]) -> tuple[object, ...]:
    """What an LLM would make of the items: two histories of the same gist have the same answer."""
    return tuple((i.role, i.text) if isinstance(i, Message) else i for i in history(items))


def _newest(items: list[Item], tokens: int, retention: float) -> tuple[Item, ...]:
    """The items as they would be had they been cut as they came: what was cut once leaves room to grow again, so that
    the history's beginning stays the same for a while, and an LLM's cache of it is of use."""
    kept: deque[Item] = deque()
    held = 0
    for item in items:
        kept.append(item)
        held += estimated_tokens(item)
        if held <= tokens:
            continue
        while len(kept) > 1 and held > tokens * retention:
            held -= estimated_tokens(kept.popleft())
            while kept and isinstance(kept[0], FunctionCallOutput):
                held -= estimated_tokens(kept.popleft())  # never an output without its call
    return tuple(kept)


def estimated_tokens(item: Item) -> int:
    """A rough count: four characters a token, four for the frame, 800 for a picture."""
    match item:
        case Message():
            return 4 + len(item.text) // 4 + 800 * sum(isinstance(p, Image) for p in item.content)
        case FunctionCall():
            return 4 + len(item.name + item.arguments) // 4
        case FunctionCallOutput():
            return 4 + len(item.output) // 4
        case McpCall():
            return 8 + len(item.name + item.arguments + (item.output or "")) // 4
        case _:
            return 0
