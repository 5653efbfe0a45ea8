"""The embedded language model, in the engine process: a demo that talks, and cannot do more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Literal

from antiphon.core.items import FunctionCall, FunctionCallOutput, Item, McpCall, Message, Usage
from antiphon.engines.local import wire
from antiphon.engines.local.process import EngineProcess
from antiphon.engines.ports import LlmChunk, LlmDone, LlmRequest, LlmText

__all__ = ["LocalLlm", "chat_messages", "within"]

_BYTES_PER_TOKEN = 3
"""A cautious guess: English text has more, so that the context is never overrun."""
_MESSAGE_TOKENS = 8
"""What the chat template puts around a message."""


def chat_messages(history: Sequence[Item]) -> list[dict[str, str]]:
    """The conversation as the model's chat template takes it.

    Of an interrupted answer only the heard words remain; results of tools become text; pictures are left out.
    """
    names = {item.call_id: item.name for item in history if isinstance(item, FunctionCall)}
    messages = []
    for item in history:
        match item:
            case Message(role=role):
                content = item.text
            case FunctionCallOutput(call_id=call_id, output=output):
                role, content = "user", f"({names.get(call_id, 'A tool')} answered: {output})"
            case McpCall(name=name, output=str(output)):
                role, content = "user", f"({name} answered: {output})"
            case _:
                continue
        if content.strip():
            messages.append({"role": role, "content": content})
    return messages


def within(messages: list[dict[str, str]], tokens: int) -> list[dict[str, str]]:
    """The newest messages that fit into about `tokens` tokens; of a single one that does not, its end."""
    kept: list[dict[str, str]] = []
    for message in reversed(messages):
        cost = len(message["content"].encode()) // _BYTES_PER_TOKEN + _MESSAGE_TOKENS
        if cost > tokens:
            if not kept:
                room = max(0, tokens - _MESSAGE_TOKENS) * _BYTES_PER_TOKEN
                content = message["content"].encode()[-room:].decode("utf-8", "ignore") if room else ""
                kept.append({**message, "content": content})
            break
        kept.append(message)
        tokens -= cost
    return kept[::-1]


class LocalLlm:
    """Implements :class:`antiphon.engines.ports.Llm` with a small GGUF model: a labelled demo.

    It ignores tools and pictures. ``model`` has no effect. The oldest turns are left out when the context is full.
    """

    demo = True
    """For those who list engines: not one to build on."""

    def __init__(self, process: EngineProcess) -> None:
        self.name = process.name
        self._process = process
        process.join()

    async def warm_up(self) -> None:
        """Load the model and read the default instructions once, so that their prefix is cached.

        Raises:
            EngineError: kind unavailable: a file is missing or damaged, or xllamacpp not installed.
        """
        await self._process.load("llm")

    def readiness(self) -> bool:
        """Whether the model is loaded."""
        return self._process.loaded("llm")

    async def prime(self, instructions: str) -> None:
        """Read an agent's instructions ahead of its first turn: 100 tokens take a second the first time, then nothing.

        Raises:
            EngineError: As `generate`.
        """
        async for _ in self.generate(LlmRequest((), instructions, max_output_tokens=1)):
            pass

    async def generate(self, request: LlmRequest) -> AsyncGenerator[LlmChunk, None]:
        """Stream an answer; the last chunk is ``LlmDone``. Closing the iterator stops at the next token.

        Raises:
            EngineError: The model cannot be loaded or broke off, or the process died.
        """
        options = self._process.options
        longest = min(request.max_output_tokens or options.max_tokens, options.llm_context // 2)
        temperature = options.temperature if request.temperature is None else request.temperature
        messages = self._prompt(request, options.llm_context - longest)
        replies = self._process.stream(lambda id: wire.Chat(id, messages, longest, temperature))
        async with aclosing(replies):
            async for reply in replies:
                match reply:
                    case wire.Words(text=text):
                        yield LlmText(text)
                    case wire.Done() as done:
                        yield _done(done)

    def _prompt(self, request: LlmRequest, tokens: int) -> list[dict[str, str]]:
        system = {"role": "system", "content": request.instructions or self._process.options.instructions}
        # Instructions get at most half of the room, so that what was just said is always there.
        (system,) = within([system], tokens // 2)
        spent = len(system["content"].encode()) // _BYTES_PER_TOKEN + _MESSAGE_TOKENS
        return [system, *within(chat_messages(request.history), tokens - spent)]

    async def close(self) -> None:
        """Leave the process; it ends with its last engine."""
        await self._process.leave()


def _done(done: wire.Done) -> LlmDone:
    reason: Literal["stop", "length"] = "length" if done.reason == "length" else "stop"
    usage = Usage(
        input_text_tokens=done.prompt_tokens,
        cached_tokens=done.cached_tokens,
        output_text_tokens=done.completion_tokens,
    )
    return LlmDone(reason, usage)
