"""Conversation items and the audio they point at.

Names are the OpenAI Realtime ones, since two of the three protocols use them and the third maps onto them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

INPUT_RATE = 16_000
"""Samples per second of everything the user says, once received: what VAD, turn detection and STT take."""

OUTPUT_RATE = 24_000
"""Samples per second of everything the agent says, before a protocol encodes it."""

LIVE = ""
"""The clip name of the live microphone stream."""

Status = Literal["in_progress", "completed", "incomplete"]
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class AudioRef:
    """A span of audio held by the runtime: samples ``start`` to ``end`` (exclusive) of a clip.

    ``clip`` is ``LIVE`` for the microphone (16 kHz), an id for audio that a client put into an item (16 kHz), and the
    item's id for agent audio (24 kHz).
    """

    clip: str
    start: int
    end: int

    @property
    def samples(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Text:
    """Text, written by either side: ``input_text`` or ``output_text`` on the wire, by the item's role."""

    text: str


@dataclass(frozen=True, slots=True)
class Audio:
    """Speech, by either side. ``transcript`` is None until transcribed (user) and what was said (assistant)."""

    ref: AudioRef
    transcript: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A picture for a vision-capable LLM; ``url`` is a data URI (png or jpeg)."""

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


Part = Text | Audio | Image


@dataclass(frozen=True, slots=True)
class Message:
    id: str
    role: Role
    content: tuple[Part, ...] = ()
    status: Status = "completed"
    heard: str | None = None
    """Assistant only: the words the person heard, once playout was cut; None while everything counts as heard."""

    @property
    def text(self) -> str:
        """All words of the message, spoken and written, as the LLM should see them."""
        if self.heard is not None:
            return self.heard
        words = (
            p.text if isinstance(p, Text) else p.transcript or "" for p in self.content if not isinstance(p, Image)
        )
        return " ".join(w for w in words if w)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    id: str
    call_id: str
    name: str
    arguments: str = ""
    """JSON text, as the LLM wrote it."""
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class FunctionCallOutput:
    id: str
    call_id: str
    output: str
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class McpListTools:
    """The tools an MCP server offered (``tools`` is a tuple of JSON texts, one tool definition each)."""

    id: str
    server_label: str
    tools: tuple[str, ...] = ()
    error: str | None = None
    """Why there are none, in words."""
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class McpCall:
    """A tool call that the server itself runs on an MCP server; carries its own output or error (JSON text)."""

    id: str
    server_label: str
    name: str
    arguments: str = ""
    output: str | None = None
    error: str | None = None
    approval_request_id: str | None = None
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class McpApprovalRequest:
    id: str
    server_label: str
    name: str
    arguments: str
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class McpApprovalResponse:
    id: str
    approval_request_id: str
    approve: bool
    reason: str | None = None
    status: Status = "completed"


Item = Message | FunctionCall | FunctionCallOutput | McpListTools | McpCall | McpApprovalRequest | McpApprovalResponse


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the agent may call. ``parameters`` is a JSON schema as JSON text, so that a tool can be hashed.

    ``run`` says who runs it: the client (OpenAI's functions), or the server (Gabber tools, MCP tools, Python tools).
    """

    name: str
    description: str = ""
    parameters: str = '{"type":"object","properties":{}}'
    run: Literal["client", "server"] = "client"
    timeout: float = 30.0
    """Seconds a server-run tool may take."""
    mcp_server: str | None = None
    """The ``server_label`` when the tool lives on an MCP server: its call becomes an ``McpCall`` item."""
    needs_approval: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What one response consumed, in the LLM's own counts where it gives them."""

    input_text_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    cached_tokens: int = 0
    output_text_tokens: int = 0
    output_audio_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f) + getattr(other, f) for f in self.__slots__))
