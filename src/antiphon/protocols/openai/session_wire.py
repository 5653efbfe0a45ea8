"""The session as clients write it: every field may be absent (unset), and null where the contract allows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "BetaSession",
    "BetaTranscriptionSession",
    "FunctionTool",
    "GaFormat",
    "GaSession",
    "McpTool",
    "Modality",
    "NoiseReduction",
    "Prompt",
    "Reasoning",
    "RetentionRatio",
    "SessionType",
    "ToolChoice",
    "Tracing",
    "Transcription",
    "TurnDetection",
    "VoiceId",
]

Modality = Literal["text", "audio"]
Milliseconds = Annotated[int, Meta(ge=0, le=60_000)]
Speed = Annotated[float, Meta(ge=0.25, le=1.5)]
TokenCap = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"] | None
BetaFormatName = Literal["pcm16", "g711_ulaw", "g711_alaw"]


class GaFormat(Struct, frozen=True, omit_defaults=True):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: int | None = None


class Transcription(Struct, frozen=True, omit_defaults=True):
    model: str | None = None
    language: str | None = None
    languages: Annotated[list[str], Meta(min_length=1)] | None = None
    keywords: list[str] | None = None
    prompt: str | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class NoiseReduction(Struct, frozen=True):
    type: Literal["near_field", "far_field"]


class TurnDetection(Struct, frozen=True):
    """Both kinds in one shape, since clients send fields of the one with the other; they are ignored then."""

    type: Literal["server_vad", "semantic_vad", "none"]
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    prefix_padding_ms: Milliseconds | None = None
    silence_duration_ms: Milliseconds | None = None
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: Annotated[int, Meta(ge=5_000, le=30_000)] | None = None


class VoiceId(Struct, frozen=True):
    id: str


class Tracing(Struct, frozen=True, omit_defaults=True):
    workflow_name: str | None = None
    group_id: str | None = None
    metadata: dict[str, Any] | None = None


class Reasoning(Struct, frozen=True, omit_defaults=True):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None


class TokenLimits(Struct, frozen=True, omit_defaults=True):
    post_instructions: Annotated[int, Meta(ge=0)] | None = None


class RetentionRatio(Struct, frozen=True, omit_defaults=True):
    type: Literal["retention_ratio"]
    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    token_limits: TokenLimits | None = None


class Prompt(Struct, frozen=True, omit_defaults=True):
    id: str
    version: str | None = None
    variables: dict[str, Any] | None = None


class FunctionTool(Struct, frozen=True, tag_field="type", tag="function"):
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class McpTool(Struct, frozen=True, omit_defaults=True, tag_field="type", tag="mcp"):
    server_label: Annotated[str, Meta(min_length=1, max_length=128)]
    server_url: str | None = None
    connector_id: str | None = None
    server_description: str | None = None
    authorization: str | None = None
    headers: dict[str, str] | None = None
    allowed_tools: list[str] | dict[str, Any] | None = None
    require_approval: Literal["always", "never"] | dict[str, Any] | None = None


class ToolChoice(Struct, frozen=True, omit_defaults=True):
    type: Literal["function", "mcp"]
    name: str | None = None
    server_label: str | None = None
    function: dict[str, Any] | None = None
    """The chat API's nesting of the name, which some clients send."""


Choice = Literal["auto", "none", "required"] | ToolChoice
Tools = list[FunctionTool | McpTool]


class GaInput(Struct, frozen=True):
    format: GaFormat | UnsetType | None = UNSET
    transcription: Transcription | UnsetType | None = UNSET
    noise_reduction: NoiseReduction | UnsetType | None = UNSET
    turn_detection: TurnDetection | UnsetType | None = UNSET


class GaOutput(Struct, frozen=True):
    format: GaFormat | UnsetType | None = UNSET
    voice: str | VoiceId | UnsetType | None = UNSET
    speed: Speed | UnsetType | None = UNSET


class GaAudio(Struct, frozen=True):
    input: GaInput | UnsetType | None = UNSET
    output: GaOutput | UnsetType | None = UNSET


SessionType = Literal["realtime", "transcription"]


class GaSession(Struct, frozen=True):
    """Section 4.1, and 4.4 when ``type`` is ``transcription``."""

    type: SessionType
    model: str | UnsetType | None = UNSET
    instructions: str | UnsetType | None = UNSET
    output_modalities: list[Modality] | UnsetType | None = UNSET
    audio: GaAudio | UnsetType | None = UNSET
    include: list[str] | UnsetType | None = UNSET
    tracing: Literal["auto"] | Tracing | UnsetType | None = UNSET
    tools: Tools | UnsetType | None = UNSET
    tool_choice: Choice | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    reasoning: Reasoning | UnsetType | None = UNSET
    max_output_tokens: TokenCap | UnsetType = UNSET
    truncation: Literal["auto", "disabled"] | RetentionRatio | UnsetType | None = UNSET
    prompt: Prompt | UnsetType | None = UNSET


class BetaSession(Struct, frozen=True):
    """Section 4.3."""

    model: str | UnsetType | None = UNSET
    modalities: list[Modality] | UnsetType | None = UNSET
    instructions: str | UnsetType | None = UNSET
    voice: str | VoiceId | UnsetType | None = UNSET
    speed: Speed | UnsetType | None = UNSET
    input_audio_format: BetaFormatName | UnsetType | None = UNSET
    output_audio_format: BetaFormatName | UnsetType | None = UNSET
    input_audio_transcription: Transcription | UnsetType | None = UNSET
    input_audio_noise_reduction: NoiseReduction | UnsetType | None = UNSET
    turn_detection: TurnDetection | UnsetType | None = UNSET
    tools: Tools | UnsetType | None = UNSET
    tool_choice: Choice | UnsetType | None = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType | None = UNSET
    max_response_output_tokens: TokenCap | UnsetType = UNSET
    include: list[str] | UnsetType | None = UNSET
    tracing: Literal["auto"] | Tracing | UnsetType | None = UNSET
    prompt: Prompt | UnsetType | None = UNSET


class BetaTranscriptionSession(Struct, frozen=True):
    """Section 4.4, the flat form."""

    input_audio_format: BetaFormatName | UnsetType | None = UNSET
    input_audio_transcription: Transcription | UnsetType | None = UNSET
    input_audio_noise_reduction: NoiseReduction | UnsetType | None = UNSET
    turn_detection: TurnDetection | UnsetType | None = UNSET
    include: list[str] | UnsetType | None = UNSET
