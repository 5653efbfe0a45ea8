"""What an operator decides about the OpenAI protocol, and the ports that the server fills in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from antiphon.platform.keys import Principal
from antiphon.protocols.openai.session_wire import TurnDetection
from antiphon.runtime.mcp import McpLimits

__all__ = ["Authenticate", "PromptStore", "RateLimit", "RealtimeSettings", "StoredPrompt"]

Authenticate = Callable[[str | None], Awaitable[Principal | None]]
"""Tells who holds a key. None for the key means the caller sent none. A caller is refused by None, or an ``ApiError``
of status 401."""

DEFAULT_TURN_DETECTION = TurnDetection(
    type="server_vad",
    threshold=0.5,
    prefix_padding_ms=300,
    silence_duration_ms=500,
    eagerness="auto",
    create_response=True,
    interrupt_response=True,
)
"""What a field that the client leaves out means (section 4.2)."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One row of ``rate_limits.updated``.

    Attributes:
        name: ``requests`` or ``tokens``.
        limit: The most per period.
        remaining: What is left of it.
        reset_seconds: Seconds until it is full again.
    """

    name: str
    limit: int
    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class StoredPrompt:
    """A prompt kept on the server.

    Attributes:
        id: What clients name it by.
        version: The version that was found.
        instructions: Text in which ``{{name}}`` stands for a variable.
        voice: The voice that goes with it, or None for the session's.
    """

    id: str
    version: str
    instructions: str
    voice: str | None = None


class PromptStore(Protocol):
    """Where ``prompt`` objects of sessions and responses are looked up."""

    async def get(self, project_id: str, prompt_id: str, version: str | None) -> StoredPrompt | None:
        """Return the prompt, its newest version when none is asked for, or None when there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeSettings:
    """Defaults and limits of OpenAI sessions.

    Attributes:
        model: The model shown and asked for when the client names none.
        models: Further names that ``GET /v1/models`` lists.
        voice: The voice of sessions that choose none.
        instructions: The default system prompt; a session's own replaces it.
        transcription_model: The name shown when a client turns transcription on without naming a model.
        turn_detection: What holds where a session says nothing.
        speculate_seconds: Silence after which an answer is prepared on trial.
        max_seconds: Longest a session may last, None for ever.
        idle_close_seconds: Silence on all channels after which a session is closed, or None.
        ahead_seconds: How far audio is made and sent ahead of what the client can have played.
        context_tokens: Estimated tokens of conversation beyond which the oldest messages are dropped, or None.
        pacing_seconds: The floor between certain events in the beta dialect, whose reference client is easily outrun.
        max_append_bytes: Most decoded audio in one ``input_audio_buffer.append``.
        max_delta_bytes: Most encoded audio in one delta; base64 of it must stay below 1 MiB, the limit of many clients.
        rate_limits: Rows of ``rate_limits.updated``.
        mcp: What MCP servers may take.
        allow_private_addresses: Let MCP servers that clients name be on private and loopback addresses.
        secret_seconds: How long a client secret is good when the request does not say.
    """

    model: str = "antiphon"
    models: tuple[str, ...] = ()
    voice: str = "alloy"
    instructions: str = (
        "You are a helpful voice assistant. Answer briefly, in plain spoken language, without lists or markup."
    )
    transcription_model: str = "antiphon-transcribe"
    turn_detection: TurnDetection | None = field(default=DEFAULT_TURN_DETECTION)
    speculate_seconds: float = 0.2
    max_seconds: float | None = 3600.0
    idle_close_seconds: float | None = None
    ahead_seconds: float = 60.0
    context_tokens: int | None = None
    pacing_seconds: float = 0.02
    max_append_bytes: int = 15 * 1024 * 1024
    max_delta_bytes: int = 240_000
    rate_limits: tuple[RateLimit, ...] = ()
    allow_private_addresses: bool = False
    mcp: McpLimits = McpLimits()
    secret_seconds: int = 600
