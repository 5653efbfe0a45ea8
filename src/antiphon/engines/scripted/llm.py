"""A language model that says what its script says, token by token."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from antiphon.core.items import FunctionCall, FunctionCallOutput, Item, McpCall, Message, Usage
from antiphon.engines.ports import LlmCall, LlmChunk, LlmDone, LlmRequest, LlmText
from antiphon.engines.scripted.faults import KEPT_REQUESTS, Uses, go_wrong, pause
from antiphon.engines.scripted.script import Call, LlmScript, Rule

_TOKEN = re.compile(r"\s*\S+\s?|\s+")
_ARGUMENT_PIECE = 8


@dataclass(frozen=True, slots=True)
class _Situation:
    """What rules are matched against."""

    text: str
    turn: int
    tools: tuple[str, ...]
    """Names of the tools whose outputs end the history; empty when something else does."""
    output: str


class ScriptedLlm:
    """Plays an ``LlmScript``.

    Tool choice is honoured: ``none`` passes over rules with calls; ``required`` or a tool's name makes a call with
    empty arguments when the rule has none; without parallel calls only a rule's first is made.

    Attributes:
        requests: the latest 1,000, in order.
    """

    def __init__(self, script: LlmScript | None = None, *, name: str = "scripted") -> None:
        self.name = name
        self.requests: deque[LlmRequest] = deque(maxlen=KEPT_REQUESTS)
        self._script = script or LlmScript()
        self._uses = Uses()
        self._requests = 0
        self._calls = 0

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to release."""

    async def generate(self, request: LlmRequest) -> AsyncIterator[LlmChunk]:
        """Stream the scripted answer.

        Raises:
            EngineError: the rule says so.
        """
        self._requests += 1
        self.requests.append(request)
        now = _situation(request.history)
        rule = self._choose(request, now)
        text = _fill(rule.text, now)
        calls = self._calls_of(rule, request)
        limit = request.max_output_tokens
        token_delay = self._script.token_delay if rule.token_delay is None else rule.token_delay
        given = 0
        await pause(self._script.delay if rule.delay is None else rule.delay)
        for chunk in self._stream(text, calls):
            if rule.fail is not None and given >= rule.after:
                break
            if limit is not None and given >= limit:
                yield LlmDone("length", _usage(request, given))
                return
            if given:
                await pause(token_delay)
            given += 1
            yield chunk
        if rule.fail == "truncated":
            return
        if rule.fail == "rubbish":
            yield LlmText(cast(str, None))
        elif rule.fail is not None:
            await go_wrong(self.name, rule.fail)
        yield LlmDone(rule.finish, _usage(request, given))

    def _choose(self, request: LlmRequest, now: _Situation) -> Rule:
        for index, rule in enumerate(self._script.rules):
            if self._uses.left(index, rule.times) and self._holds(rule, request, now):
                self._uses.take(index)
                return rule
        return Rule(text=self._script.after_tool if now.tools else self._script.default)

    def _holds(self, rule: Rule, request: LlmRequest, now: _Situation) -> bool:
        if rule.after_tool is None and now.tools:
            return False
        if rule.after_tool is not None and not (now.tools if rule.after_tool == "*" else rule.after_tool in now.tools):
            return False
        if rule.calls and request.tool_choice == "none":
            return False
        if rule.calls and not rule.unoffered and not {c.name for c in rule.calls} <= {t.name for t in request.tools}:
            return False
        return (
            (rule.turn is None or rule.turn == now.turn)
            and (rule.call is None or rule.call == self._requests)
            and (rule.match is None or rule.match.casefold() in now.text.casefold())
            and (rule.regex is None or re.search(rule.regex, now.text, re.IGNORECASE) is not None)
            and (rule.instructions is None or rule.instructions.casefold() in request.instructions.casefold())
            and (rule.output is None or rule.output.casefold() in now.output.casefold())
        )

    def _calls_of(self, rule: Rule, request: LlmRequest) -> tuple[Call, ...]:
        calls = rule.calls
        if not calls and request.tools and request.tool_choice not in ("auto", "none"):
            wanted = request.tools[0].name if request.tool_choice == "required" else request.tool_choice
            calls = (Call(name=wanted),)
        return calls if request.parallel_tool_calls else calls[:1]

    def _stream(self, text: str, calls: Sequence[Call]) -> Iterator[LlmText | LlmCall]:
        for token in _TOKEN.finditer(text):
            yield LlmText(token[0])
        for index, call in enumerate(calls):
            self._calls += 1
            yield LlmCall(index, call_id=f"call_{self._calls:06}", name=call.name)
            arguments = call.json
            for start in range(0, len(arguments), _ARGUMENT_PIECE):
                yield LlmCall(index, delta=arguments[start : start + _ARGUMENT_PIECE])


def _situation(history: Sequence[Item]) -> _Situation:
    users = [item for item in history if isinstance(item, Message) and item.role == "user"]
    names = {item.call_id: item.name for item in history if isinstance(item, FunctionCall)}
    tools: list[str] = []
    outputs: list[str] = []
    for item in reversed(history):
        if isinstance(item, FunctionCallOutput):
            tools.append(names.get(item.call_id, ""))
            outputs.append(item.output)
        elif isinstance(item, McpCall):
            tools.append(item.name)
            outputs.append(item.output or item.error or "")
        elif not isinstance(item, FunctionCall):
            break
    return _Situation(users[-1].text if users else "", len(users), tuple(tools[::-1]), "; ".join(outputs[::-1]))


def _fill(text: str, now: _Situation) -> str:
    if "{" not in text:
        return text
    return text.replace("{text}", now.text).replace("{output}", now.output).replace("{turn}", str(now.turn))


def _usage(request: LlmRequest, given: int) -> Usage:
    words = request.instructions.count(" ") + 1 if request.instructions else 0
    words += sum(item.text.count(" ") + 1 for item in request.history if isinstance(item, Message))
    return Usage(input_text_tokens=words, output_text_tokens=given)
