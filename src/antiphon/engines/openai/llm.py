"""A language model behind ``chat.completions``, streamed."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Literal

from antiphon.core.items import Usage
from antiphon.engines.history import to_chat, to_tool_choice, to_tools
from antiphon.engines.openai.endpoint import Endpoint
from antiphon.engines.openai.options import read_options
from antiphon.engines.ports import EngineError, LlmCall, LlmChunk, LlmDone, LlmRequest, LlmText

Finish = Literal["stop", "length", "content_filter"]

_FINISH: dict[str, Finish] = {
    "stop": "stop",
    "tool_calls": "stop",
    "function_call": "stop",
    "length": "length",
    "content_filter": "content_filter",
}


class OpenAiLlm:
    """Any endpoint with ``/chat/completions``: OpenAI, vLLM, Ollama, llama.cpp, Groq, and more.

    Args:
        name: as configured; errors carry it.
        table: options, see :class:`~antiphon.engines.openai.options.Options`.

    Raises:
        ConfigError: the table is wrong.
    """

    def __init__(self, name: str, table: Mapping[str, Any]) -> None:
        self.name = name
        self._options = read_options(name, table)
        self._endpoint = Endpoint(name, self._options)

    async def warm_up(self) -> None:
        """Connect, and see whether the key is taken."""
        await self._endpoint.warm_up(lambda client: client.chat.completions)

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    async def generate(self, request: LlmRequest) -> AsyncIterator[LlmChunk]:
        """Stream an answer. Closing the iterator closes the connection, which stops the endpoint's work.

        Raises:
            EngineError: see :class:`~antiphon.engines.openai.endpoint.Endpoint`; ``bad_output`` when the stream ends
                before the endpoint said why.
        """
        body = self._body(request)
        with self._endpoint.errors():
            stream = await self._endpoint.client.chat.completions.create(**body)
            answer = _Answer(self._endpoint, thoughts=self._options.thoughts)
            try:
                async for chunk in stream:
                    for piece in answer.take(chunk):
                        yield piece
            finally:
                await stream.close()
            for last in answer.end():
                yield last

    def _body(self, request: LlmRequest) -> dict[str, Any]:
        options = self._options
        wished = request.model if request.model in options.models else ""
        body: dict[str, Any] = {
            "model": wished or options.model_for("llm"),
            "messages": to_chat(request.history, request.instructions, images=options.images),
            "stream": True,
        }
        if options.usage:
            body["stream_options"] = {"include_usage": True}
        temperature = options.temperature if request.temperature is None else request.temperature
        if temperature is not None:
            body["temperature"] = temperature
        limits = [n for n in (request.max_output_tokens, options.max_output_tokens) if n is not None]
        if limits:
            field = options.max_tokens_field or ("max_completion_tokens" if options.own else "max_tokens")
            body[field] = min(limits)
        if request.tools:
            try:
                body["tools"] = to_tools(request.tools)
            except ValueError as error:
                raise EngineError(self.name, "rejected", str(error)) from error
            if request.tool_choice != "auto":
                body["tool_choice"] = to_tool_choice(request.tool_choice)
            if not request.parallel_tool_calls:
                body["parallel_tool_calls"] = False
        if options.extra:
            body["extra_body"] = dict(options.extra)
        return body


class _Answer:
    """Reads the chunks of one stream. The SDK does not validate them, so every field is looked at with care."""

    def __init__(self, endpoint: Endpoint, *, thoughts: bool) -> None:
        self._endpoint = endpoint
        self._thoughts = None if thoughts else _Thoughts()
        self._finish: str | None = None
        self._usage = Usage()
        self._ids: list[str] = []
        """Call ids by the index that we give on."""
        self._index_of: dict[int, int] = {}
        """The endpoint's index to ours: they differ where a server numbers every call 0."""

    def take(self, chunk: object) -> Iterator[LlmText | LlmCall]:
        """The pieces of a chunk."""
        usage = getattr(chunk, "usage", None)
        if usage is not None:
            self._usage = _usage(usage)
        choices = getattr(chunk, "choices", None)
        if choices is None and usage is not None:
            return
        if not isinstance(choices, list):
            raise self._endpoint.bad_output("a chunk of the answer holds no choices")
        for choice in choices[:1]:
            delta = getattr(choice, "delta", None)
            for text in (getattr(delta, "content", None), getattr(delta, "refusal", None)):
                if text:
                    if not isinstance(text, str):
                        raise self._endpoint.bad_output(f"expected text, got {type(text).__name__}")
                    spoken = text if self._thoughts is None else self._thoughts.spoken(text)
                    if spoken:
                        yield LlmText(spoken)
            for call in getattr(delta, "tool_calls", None) or ():
                yield self._call(call)
            self._finish = getattr(choice, "finish_reason", None) or self._finish

    def end(self) -> Iterator[LlmText | LlmDone]:
        """The stream ended: was it meant to?"""
        if self._finish is None:
            raise self._endpoint.bad_output("the answer broke off")
        rest = "" if self._thoughts is None else self._thoughts.rest()
        if rest:
            yield LlmText(rest)
        yield LlmDone(_FINISH.get(self._finish, "stop"), self._usage)

    def _call(self, call: Any) -> LlmCall:
        function = getattr(call, "function", None)
        name = getattr(function, "name", None) or ""
        delta = getattr(function, "arguments", None) or ""
        call_id = getattr(call, "id", None) or ""
        theirs = getattr(call, "index", None)
        if not isinstance(theirs, int):
            theirs = max(self._index_of, default=0) if not name and self._ids else len(self._ids)
        ours = self._index_of.get(theirs)
        if ours is None or (name and call_id and call_id != self._ids[ours]):
            ours = self._index_of[theirs] = len(self._ids)
            self._ids.append(call_id or f"call_{secrets.token_hex(8)}")
            return LlmCall(ours, delta, self._ids[ours], name)
        return LlmCall(ours, delta)


class _Thoughts:
    """Leaves out what stands between ``<think>`` and ``</think>`` at the very start, however the stream cuts it."""

    _OPEN, _CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self._held = ""
        self._over = False

    def spoken(self, text: str) -> str:
        """What of a piece, and of those held back before it, is to be said."""
        if self._over:
            return text
        self._held = (self._held + text).lstrip()
        if not self._held.startswith(self._OPEN):
            if self._OPEN.startswith(self._held):
                return ""
            return self.rest()
        _, closed, said = self._held.partition(self._CLOSE)
        said = said.lstrip()
        if not closed or not said:
            return ""
        self._over = True
        return said

    def rest(self) -> str:
        """What is still held back when nothing follows; thoughts that never ended are not said."""
        self._over = True
        held, self._held = self._held, ""
        return "" if held.startswith(self._OPEN) else held


def _usage(usage: object) -> Usage:
    def count(source: object, field: str) -> int:
        value = getattr(source, field, None)
        return value if isinstance(value, int) else 0

    details = getattr(usage, "prompt_tokens_details", None)
    return Usage(
        input_text_tokens=count(usage, "prompt_tokens"),
        cached_tokens=count(details, "cached_tokens"),
        output_text_tokens=count(usage, "completion_tokens"),
    )
