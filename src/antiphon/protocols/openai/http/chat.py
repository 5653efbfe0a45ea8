"""``POST /v1/chat/completions``: the sessions' language model, asked directly, at once or as a stream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from antiphon.core.items import FunctionCall, FunctionCallOutput, Image, Item, Message, Part, Text, Tool, Usage
from antiphon.engines.ports import EngineError, LlmCall, LlmChunk, LlmDone, LlmRequest, LlmText
from antiphon.errors import ApiError
from antiphon.protocols.openai.http.service import Service, engine_error, refusing
from antiphon.protocols.openai.ids import new_id

__all__ = ["ChatRequest", "chat_routes", "llm_request"]

_FINISH = {"stop": "stop", "length": "length", "content_filter": "content_filter"}


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _ImageUrl(_Model):
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class _ContentPart(_Model):
    type: Literal["text", "image_url", "refusal"]
    text: str = ""
    refusal: str = ""
    image_url: _ImageUrl | None = None


class _Function(_Model):
    name: str
    arguments: str = ""


class _ToolCall(_Model):
    id: str
    type: Literal["function"] = "function"
    function: _Function


class ChatMessage(_Model):
    """One message of any role."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_ContentPart] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None


class _FunctionTool(_Model):
    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _ChatTool(_Model):
    type: Literal["function"]
    function: _FunctionTool


class _NamedFunction(_Model):
    name: str


class _NamedTool(_Model):
    type: Literal["function"]
    function: _NamedFunction


class _StreamOptions(_Model):
    include_usage: bool = False


class ChatRequest(_Model):
    """OpenAI's body; what is not listed here is ignored."""

    messages: list[ChatMessage] = Field(min_length=1)
    model: str = ""
    tools: list[_ChatTool] | None = None
    tool_choice: Literal["auto", "none", "required"] | _NamedTool | None = None
    parallel_tool_calls: bool = True
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    n: Literal[1] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None


def chat_routes(service: Service) -> APIRouter:
    """The one call."""
    router = APIRouter(tags=["chat"], dependencies=[Depends(service.caller)])

    @router.post("/v1/chat/completions")
    async def completions(request: Request, body: ChatRequest) -> Response:
        """Answer a conversation, with tools if there are any."""
        wanted = llm_request(body)
        chunks = service.engines(request).llm.generate(wanted)
        answer = _Answer(body.model or service.settings.model)
        if not body.stream:
            with refusing():
                async with aclosing(cast(Any, chunks)):
                    async for chunk in chunks:
                        answer.take(chunk)
            return JSONResponse(answer.whole())
        with refusing():
            first = await anext(chunks, LlmDone())
        usage = body.stream_options is not None and body.stream_options.include_usage
        return StreamingResponse(_streamed(answer, first, chunks, usage), media_type="text/event-stream")

    return router


async def _streamed(
    answer: _Answer, first: LlmChunk, rest: AsyncIterator[LlmChunk], usage: bool
) -> AsyncIterator[bytes]:
    try:
        async with aclosing(cast(Any, rest)):
            yield _event(answer.chunk({"role": "assistant", "content": ""}))
            yield _event(answer.chunk(answer.take(first)))
            async for chunk in rest:
                yield _event(answer.chunk(answer.take(chunk)))
    except EngineError as error:
        # The status has gone out, so the error goes where the words went.
        yield _event(engine_error(error).body())
        return
    if usage:
        yield _event({**answer.chunk({}), "choices": [], "usage": answer.usage_view()})
    yield b"data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


@dataclass(slots=True)
class _Answer:
    """An answer as it grows, and its two forms on the wire."""

    model: str
    id: str = field(default_factory=lambda: new_id("chatcmpl"))
    created: int = field(default_factory=lambda: int(time.time()))
    text: str = ""
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    finish: str | None = None
    usage: Usage = field(default_factory=Usage)

    def take(self, chunk: LlmChunk) -> dict[str, Any]:
        """Add a piece; the ``delta`` that tells of it."""
        match chunk:
            case LlmText(delta):
                self.text += delta
                return {"content": delta}
            case LlmCall():
                return {"tool_calls": [self._call(chunk)]}
            case LlmDone(reason, usage):
                self.finish = "tool_calls" if self.calls and reason == "stop" else _FINISH[reason]
                self.usage = usage
                return {}

    def _call(self, chunk: LlmCall) -> dict[str, Any]:
        known = self.calls.get(chunk.index)
        if known is None:
            call_id = chunk.call_id or new_id("call")
            function = {"name": chunk.name, "arguments": chunk.delta}
            self.calls[chunk.index] = {"id": call_id, "type": "function", "function": function}
            return {"index": chunk.index, "id": call_id, "type": "function", "function": dict(function)}
        known["function"]["arguments"] += chunk.delta
        return {"index": chunk.index, "function": {"arguments": chunk.delta}}

    def chunk(self, delta: dict[str, Any]) -> dict[str, Any]:
        """A ``chat.completion.chunk``."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None if delta else self.finish}
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [choice],
        }

    def whole(self) -> dict[str, Any]:
        """The ``chat.completion``."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None, "refusal": None}
        if self.calls:
            message["tool_calls"] = list(self.calls.values())
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish or "stop"}],
            "usage": self.usage_view(),
        }

    def usage_view(self) -> dict[str, Any]:
        u = self.usage
        taken = u.input_text_tokens + u.input_audio_tokens + u.input_image_tokens
        made = u.output_text_tokens + u.output_audio_tokens
        return {
            "prompt_tokens": taken,
            "completion_tokens": made,
            "total_tokens": taken + made,
            "prompt_tokens_details": {"cached_tokens": u.cached_tokens, "audio_tokens": u.input_audio_tokens},
        }


def llm_request(body: ChatRequest) -> LlmRequest:
    """What the engine is asked. System messages become its instructions, in their order.

    Raises:
        ApiError: 400; a message is not of its role's shape.
    """
    instructions: list[str] = []
    history: list[Item] = []
    for n, message in enumerate(body.messages):
        if message.role in ("system", "developer"):
            instructions.append(_words(message))
        elif message.role == "tool":
            if not message.tool_call_id:
                where = f"messages.{n}.tool_call_id"
                raise ApiError(
                    400, f"missing required parameter '{where}'", code="missing_required_parameter", param=where
                )
            history.append(FunctionCallOutput(f"item_{n}", message.tool_call_id, _words(message)))
        else:
            history += _said(message, n)
    choice = body.tool_choice
    named = choice.function.name if isinstance(choice, _NamedTool) else choice
    return LlmRequest(
        history=tuple(history),
        instructions="\n\n".join(instructions),
        tools=tuple(_tool(tool.function) for tool in body.tools or ()),
        tool_choice=named or "auto",
        parallel_tool_calls=body.parallel_tool_calls,
        max_output_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        model=body.model,
    )


def _said(message: ChatMessage, n: int) -> list[Item]:
    items: list[Item] = []
    parts = tuple(_parts(message, n))
    if parts:
        items.append(Message(f"item_{n}", "user" if message.role == "user" else "assistant", parts))
    for m, call in enumerate(message.tool_calls or ()):
        items.append(FunctionCall(f"item_{n}_{m}", call.id, call.function.name, call.function.arguments))
    return items


def _parts(message: ChatMessage, n: int) -> list[Part]:
    if message.content is None:
        return []
    if isinstance(message.content, str):
        return [Text(message.content)] if message.content else []
    parts: list[Part] = []
    for m, part in enumerate(message.content):
        if part.image_url is None:
            parts.append(Text(part.text or part.refusal))
        elif part.image_url.url.startswith("data:image/"):
            parts.append(Image(part.image_url.url, part.image_url.detail))
        else:
            raise ApiError(
                400,
                "Expected a data URI of a picture, got another URL, which this server does not fetch.",
                code="invalid_value",
                param=f"messages.{n}.content.{m}.image_url.url",
            )
    return parts


def _words(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "\n".join(part.text for part in message.content if part.text)
    return message.content or ""


def _tool(function: _FunctionTool) -> Tool:
    schema = function.parameters or {"type": "object", "properties": {}}
    return Tool(function.name, function.description or "", msgspec.json.encode(schema).decode())
