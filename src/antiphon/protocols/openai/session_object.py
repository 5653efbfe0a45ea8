"""The session as both sides see it: one neutral form, two ways to write to it, two ways to show it.

Merge rule (section 4.1): only present keys change, ``audio`` recursively; null clears; ``turn_detection``,
``transcription`` and ``tools`` are replaced whole and their gaps filled with defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, cast

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.audio.formats import FormatName
from antiphon.protocols.openai.decoding import decode
from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.session_wire import (
    BetaSession,
    BetaTranscriptionSession,
    Choice,
    FunctionTool,
    GaAudio,
    GaFormat,
    GaInput,
    GaOutput,
    GaSession,
    McpTool,
    NoiseReduction,
    Prompt,
    Reasoning,
    RetentionRatio,
    SessionType,
    ToolChoice,
    Tracing,
    Transcription,
    TurnDetection,
    VoiceId,
)
from antiphon.protocols.openai.settings import DEFAULT_TURN_DETECTION, RealtimeSettings

__all__ = [
    "SessionObject",
    "beta_view",
    "format_name",
    "ga_format",
    "ga_view",
    "merge_beta",
    "merge_beta_transcription",
    "merge_ga",
    "modality_of",
    "tool_view",
    "voice_name",
]

T = TypeVar("T")

_GA_FORMATS: dict[str, FormatName] = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}
_GA_NAMES = {name: type_ for type_, name in _GA_FORMATS.items()}
_DEFAULT_TEMPERATURE = 0.8

_GA = msgspec.json.Decoder(GaSession)
_BETA = msgspec.json.Decoder(BetaSession)
_BETA_TRANSCRIPTION = msgspec.json.Decoder(BetaTranscriptionSession)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionObject:
    """What a session is told to be, on the wire; :mod:`.mapping` makes the core's ``Config`` of it.

    ``instructions`` is None while the server's default applies; ``max_output_tokens`` is None for ``inf``;
    ``turn_detection`` has every field of its kind filled in.
    """

    id: str = ""
    expires_at: int = 0
    type: SessionType = "realtime"
    model: str
    instructions: str | None = None
    modality: Literal["audio", "text"] = "audio"
    input_format: FormatName = "pcm16"
    output_format: FormatName = "pcm16"
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: TurnDetection | None = DEFAULT_TURN_DETECTION
    voice: str
    speed: float = 1.0
    include: tuple[str, ...] | None = None
    tracing: Literal["auto"] | Tracing | None = None
    tools: tuple[FunctionTool | McpTool, ...] = ()
    tool_choice: Choice = "auto"
    parallel_tool_calls: bool = True
    reasoning: Reasoning | None = None
    max_output_tokens: int | None = None
    truncation: Literal["auto", "disabled"] | RetentionRatio = "auto"
    prompt: Prompt | None = None
    temperature: float | None = None

    @classmethod
    def default(cls, settings: RealtimeSettings, type: SessionType = "realtime", model: str = "") -> SessionObject:
        """A session that its client has said nothing about yet."""
        return cls(
            type=type,
            model=model or settings.model,
            voice=settings.voice,
            turn_detection=settings.turn_detection,
            transcription=Transcription(model=settings.transcription_model) if type == "transcription" else None,
        )


# --- writing --------------------------------------------------------------------------------------------------------


def merge_ga(
    session: SessionObject, data: bytes | msgspec.Raw, settings: RealtimeSettings, *, start: bool = False
) -> SessionObject:
    """Apply a GA session object.

    Args:
        session: What holds now.
        data: The JSON of the object.
        settings: Where cleared fields get their defaults.
        start: The object starts a session (REST), so that ``model`` and ``type`` count; later they cannot change.

    Raises:
        WireError: A field is refused; ``param`` begins with ``session``.
    """
    patch = decode(_GA, data, "session")
    if patch.type != session.type:
        if not start:
            raise WireError(
                "invalid_value",
                f"Passing a {patch.type} session update event to a {session.type} session is not allowed.",
                "session.type",
            )
        session = SessionObject.default(settings, patch.type)
    audio = _given(patch.audio, GaAudio())
    hears, says = _given(audio.input, GaInput()), _given(audio.output, GaOutput())
    merged = replace(
        session,
        input_format=_format(hears.format, session.input_format, "session.audio.input.format.rate"),
        transcription=_transcription(hears.transcription, session.transcription, settings),
        noise_reduction=_merge(hears.noise_reduction, session.noise_reduction, None),
        turn_detection=_turn_detection(hears.turn_detection, session.turn_detection, settings),
        include=_tuple(patch.include, session.include, None),
    )
    if merged.type == "transcription":
        return merged
    return replace(
        merged,
        model=_merge(patch.model, session.model, settings.model) if start else session.model,
        instructions=_merge(patch.instructions, session.instructions, None),
        modality=_modality(patch.output_modalities, session.modality, "session.output_modalities", both=False),
        output_format=_format(says.format, session.output_format, "session.audio.output.format.rate"),
        voice=_voice(says.voice, session.voice, settings, "session.audio.output.voice"),
        speed=_merge(says.speed, session.speed, 1.0),
        tracing=_tracing(patch.tracing, session.tracing),
        tools=_tuple(patch.tools, session.tools, ()),
        tool_choice=_choice(patch.tool_choice, session.tool_choice),
        parallel_tool_calls=_merge(patch.parallel_tool_calls, session.parallel_tool_calls, True),
        reasoning=_merge(patch.reasoning, session.reasoning, None),
        max_output_tokens=_cap(patch.max_output_tokens, session.max_output_tokens),
        truncation=_merge(patch.truncation, session.truncation, "auto"),
        prompt=_merge(patch.prompt, session.prompt, None),
    )


def merge_beta(
    session: SessionObject, data: bytes | msgspec.Raw, settings: RealtimeSettings, *, start: bool = False
) -> SessionObject:
    """Apply a flat beta session object; see :func:`merge_ga`."""
    patch = decode(_BETA, data, "session")
    if session.type != "realtime":
        raise WireError(
            "invalid_value",
            "Passing a realtime session update event to a transcription session is not allowed.",
            "session",
        )
    for n, tool in enumerate(patch.tools or ()):
        if isinstance(tool, McpTool):
            raise WireError("invalid_value", "Expected a function: MCP came after beta.", f"session.tools[{n}].type")
    return replace(
        session,
        model=_merge(patch.model, session.model, settings.model) if start else session.model,
        instructions=_merge(patch.instructions, session.instructions, None),
        modality=_modality(patch.modalities, session.modality, "session.modalities", both=True),
        input_format=_merge(patch.input_audio_format, session.input_format, "pcm16"),
        output_format=_merge(patch.output_audio_format, session.output_format, "pcm16"),
        transcription=_transcription(patch.input_audio_transcription, session.transcription, settings),
        noise_reduction=_merge(patch.input_audio_noise_reduction, session.noise_reduction, None),
        turn_detection=_turn_detection(patch.turn_detection, session.turn_detection, settings),
        voice=_voice(patch.voice, session.voice, settings, "session.voice"),
        speed=_merge(patch.speed, session.speed, 1.0),
        include=_tuple(patch.include, session.include, None),
        tracing=_tracing(patch.tracing, session.tracing),
        tools=_tuple(patch.tools, session.tools, ()),
        tool_choice=_choice(patch.tool_choice, session.tool_choice),
        max_output_tokens=_cap(patch.max_response_output_tokens, session.max_output_tokens),
        prompt=_merge(patch.prompt, session.prompt, None),
        temperature=_merge(patch.temperature, session.temperature, None),
    )


def merge_beta_transcription(
    session: SessionObject, data: bytes | msgspec.Raw, settings: RealtimeSettings
) -> SessionObject:
    """Apply a flat beta transcription session object; see :func:`merge_ga`."""
    if session.type != "transcription":
        raise WireError(
            "invalid_value",
            "Passing a transcription session update event to a realtime session is not allowed.",
            "session",
        )
    patch = decode(_BETA_TRANSCRIPTION, data, "session")
    return replace(
        session,
        input_format=_merge(patch.input_audio_format, session.input_format, "pcm16"),
        transcription=_transcription(patch.input_audio_transcription, session.transcription, settings),
        noise_reduction=_merge(patch.input_audio_noise_reduction, session.noise_reduction, None),
        turn_detection=_turn_detection(patch.turn_detection, session.turn_detection, settings),
        include=_tuple(patch.include, session.include, None),
    )


def format_name(given: GaFormat, param: str) -> FormatName:
    """The format a GA format object means.

    Raises:
        WireError: Its rate is not the only one there is: 24000 for PCM, 8000 for G.711.
    """
    name = _GA_FORMATS[given.type]
    rate = 24_000 if name == "pcm16" else 8_000
    if given.rate not in (None, rate):
        raise WireError("invalid_value", f"Expected a rate of {rate} for {given.type}, got {given.rate}", param)
    return name


def modality_of(given: Sequence[str], param: str, *, both: bool) -> Literal["audio", "text"]:
    """What the agent's answers are. ``both`` allows text beside audio, as beta writes spoken answers.

    Raises:
        WireError: The combination does not exist in the dialect.
    """
    kinds = set(given)
    if kinds == {"text"}:
        return "text"
    if kinds == {"audio"} or (both and kinds):
        return "audio"
    allowed = "['text'] and ['audio', 'text']" if both else "['text'] and ['audio']"
    raise WireError("invalid_value", f"Invalid modalities: {given}. Supported combinations are: {allowed}.", param)


def voice_name(given: str | VoiceId, param: str) -> str:
    """The name of a voice, given as a string or an object.

    Raises:
        WireError: The name is empty.
    """
    name = given if isinstance(given, str) else given.id
    if not name.strip():
        raise WireError("invalid_value", "Expected the name of a voice, got an empty string", param)
    return name


def _given(value: T | UnsetType | None, empty: T) -> T:
    return empty if value is UNSET or value is None else value


def _merge(value: T | UnsetType | None, current: T, cleared: T) -> T:
    if value is UNSET:
        return current
    return cleared if value is None else value


def _tuple(value: Any, current: Any, cleared: Any) -> Any:
    return current if value is UNSET else cleared if value is None else tuple(value)


def _format(value: GaFormat | UnsetType | None, current: FormatName, param: str) -> FormatName:
    if isinstance(value, GaFormat):
        return format_name(value, param)
    return current if value is UNSET else "pcm16"


def _modality(
    value: list[Any] | UnsetType | None, current: Literal["audio", "text"], param: str, *, both: bool
) -> Literal["audio", "text"]:
    if isinstance(value, list):
        return modality_of(value, param, both=both)
    return current if value is UNSET else "audio"


def _voice(value: str | VoiceId | UnsetType | None, current: str, settings: RealtimeSettings, param: str) -> str:
    if isinstance(value, str | VoiceId):
        return voice_name(value, param)
    return current if value is UNSET else settings.voice


def _cap(value: int | str | UnsetType | None, current: int | None) -> int | None:
    if value is UNSET:
        return current
    return value if isinstance(value, int) else None


def _choice(value: Choice | UnsetType | None, current: Choice) -> Choice:
    choice = _merge(value, current, "auto")
    if isinstance(choice, ToolChoice) and choice.type == "function" and not choice_name(choice):
        raise WireError(
            "missing_required_parameter", "missing required parameter 'tool_choice.name'", "session.tool_choice.name"
        )
    return choice


def choice_name(choice: ToolChoice) -> str:
    """The tool a tool choice forces, wherever the client put its name; empty when it put it nowhere."""
    nested = (choice.function or {}).get("name")
    return choice.name or (nested if isinstance(nested, str) else "")


def _tracing(value: Any, current: Any) -> Any:
    """Tracing that is on stays as it is (section 4.1); both Agents SDKs ask again, and must not fail by it."""
    return value if current is None and value is not UNSET else current


def _transcription(
    value: Transcription | UnsetType | None, current: Transcription | None, settings: RealtimeSettings
) -> Transcription | None:
    if isinstance(value, Transcription):
        return value if value.model else msgspec.structs.replace(value, model=settings.transcription_model)
    return current if value is UNSET else None


def _turn_detection(
    value: TurnDetection | UnsetType | None, current: TurnDetection | None, settings: RealtimeSettings
) -> TurnDetection | None:
    if value is UNSET:
        return current
    if not isinstance(value, TurnDetection) or value.type == "none":
        return None
    base = settings.turn_detection or DEFAULT_TURN_DETECTION
    filled = {
        name: getattr(base if name in _FILLED else _NO_TURN, name) if given is None else given
        for name in TurnDetection.__struct_fields__
        if (given := getattr(value, name)) is not UNSET
    }
    return TurnDetection(**filled)


_FILLED = frozenset(
    ["threshold", "prefix_padding_ms", "silence_duration_ms", "eagerness", "create_response", "interrupt_response"]
)
_NO_TURN = TurnDetection(type="none")


# --- showing --------------------------------------------------------------------------------------------------------


def ga_view(session: SessionObject, settings: RealtimeSettings) -> dict[str, Any]:
    """The GA object with every field at its effective value."""
    hears: dict[str, Any] = {
        "format": ga_format(session.input_format),
        "transcription": msgspec.to_builtins(session.transcription),
        "noise_reduction": msgspec.to_builtins(session.noise_reduction),
        "turn_detection": _turn_view(session.turn_detection),
    }
    view: dict[str, Any] = {
        "type": session.type,
        "object": "realtime.session" if session.type == "realtime" else "realtime.transcription_session",
        "id": session.id,
        "expires_at": session.expires_at,
    }
    if session.type == "transcription":
        return {**view, "audio": {"input": hears}, "include": _listed(session.include)}
    view |= {
        "model": session.model,
        "instructions": _instructions(session, settings),
        "output_modalities": [session.modality],
        "audio": {
            "input": hears,
            "output": {
                "format": ga_format(session.output_format),
                "voice": session.voice,
                "speed": session.speed,
            },
        },
        "tools": [tool_view(tool) for tool in session.tools],
        "tool_choice": msgspec.to_builtins(session.tool_choice),
        "parallel_tool_calls": session.parallel_tool_calls,
        "max_output_tokens": session.max_output_tokens or "inf",
        "truncation": msgspec.to_builtins(session.truncation),
        "tracing": msgspec.to_builtins(session.tracing),
        "prompt": msgspec.to_builtins(session.prompt),
        "include": _listed(session.include),
    }
    if session.reasoning is not None:
        view["reasoning"] = msgspec.to_builtins(session.reasoning)
    return view


def beta_view(session: SessionObject, settings: RealtimeSettings) -> dict[str, Any]:
    """The flat beta object with every field at its effective value."""
    view: dict[str, Any] = {
        "id": session.id,
        "object": "realtime.session" if session.type == "realtime" else "realtime.transcription_session",
        "expires_at": session.expires_at,
        "input_audio_format": session.input_format,
        "input_audio_transcription": msgspec.to_builtins(session.transcription),
        "input_audio_noise_reduction": msgspec.to_builtins(session.noise_reduction),
        "turn_detection": _turn_view(session.turn_detection),
        "include": _listed(session.include),
    }
    if session.type == "transcription":
        return view
    choice = session.tool_choice
    return view | {
        "model": session.model,
        "modalities": ["text", "audio"] if session.modality == "audio" else ["text"],
        "instructions": _instructions(session, settings),
        "voice": session.voice,
        "output_audio_format": session.output_format,
        "speed": session.speed,
        "tools": [tool_view(tool) for tool in session.tools],
        "tool_choice": msgspec.to_builtins(choice),
        "temperature": _DEFAULT_TEMPERATURE if session.temperature is None else session.temperature,
        "max_response_output_tokens": session.max_output_tokens or "inf",
        "tracing": msgspec.to_builtins(session.tracing),
        "prompt": msgspec.to_builtins(session.prompt),
    }


def ga_format(name: str) -> dict[str, Any]:
    """The GA format object of ``pcm16``, ``g711_ulaw`` or ``g711_alaw``."""
    shown: dict[str, Any] = {"type": _GA_NAMES[cast("FormatName", name)]}
    if name == "pcm16":
        shown["rate"] = 24_000
    return shown


def tool_view(tool: FunctionTool | McpTool) -> dict[str, Any]:
    """A tool as session events show it: without nulls, and without an MCP server's credentials."""
    shown: dict[str, Any] = msgspec.to_builtins(tool)
    return {key: value for key, value in shown.items() if value is not None and key not in ("authorization", "headers")}


def _listed(value: tuple[str, ...] | None) -> list[str] | None:
    return None if value is None else list(value)


def _instructions(session: SessionObject, settings: RealtimeSettings) -> str:
    return settings.instructions if session.instructions is None else session.instructions


def _turn_view(turn: TurnDetection | None) -> dict[str, Any] | None:
    if turn is None:
        return None
    shown: dict[str, Any] = {"type": turn.type}
    if turn.type == "server_vad":
        shown |= {
            "threshold": turn.threshold,
            "prefix_padding_ms": turn.prefix_padding_ms,
            "silence_duration_ms": turn.silence_duration_ms,
            "idle_timeout_ms": turn.idle_timeout_ms,
        }
    else:
        shown["eagerness"] = turn.eagerness
    return shown | {"create_response": turn.create_response, "interrupt_response": turn.interrupt_response}
