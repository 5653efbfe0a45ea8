"""From the wire's session and response parameters to the core's ``Config``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from antiphon.audio.formats import FormatName
from antiphon.core.config import Config, Turn
from antiphon.core.items import Tool
from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.session_object import (
    SessionObject,
    choice_name,
    format_name,
    modality_of,
    voice_name,
)
from antiphon.protocols.openai.session_wire import (
    Choice,
    FunctionTool,
    McpTool,
    Prompt,
    RetentionRatio,
    ToolChoice,
    TurnDetection,
)
from antiphon.protocols.openai.settings import RealtimeSettings, StoredPrompt
from antiphon.protocols.openai.wire import ResponseParams

__all__ = ["Override", "config_of", "filled_prompt", "override_of", "tools_of"]

_EAGERNESS = {"low": 8.0, "medium": 4.0, "auto": 4.0, "high": 2.0}
"""Longest wait in seconds for a speaker who does not seem done (section 4.2)."""

_VARIABLE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Override:
    """What a ``response.create`` changes for one response: its configuration, and its audio format on the wire."""

    config: Config
    format: FormatName


def config_of(
    session: SessionObject, settings: RealtimeSettings, prompt: StoredPrompt | None = None, mcp: tuple[Tool, ...] = ()
) -> Config:
    """Make the core's configuration.

    Args:
        session: The session as the client wants it.
        settings: The operator's limits and defaults.
        prompt: The stored prompt that ``session.prompt`` names, its variables still in place.
        mcp: Tools that MCP servers were found to offer.
    """
    instructions = session.instructions
    voice = session.voice
    if prompt is not None and session.prompt is not None:
        instructions = filled_prompt(prompt, session.prompt) if instructions is None else instructions
        voice = prompt.voice or voice
    transcription = session.transcription
    hints = ([transcription.prompt] if transcription and transcription.prompt else []) + list(
        (transcription.keywords if transcription else None) or ()
    )
    tokens, retention = _retention(session, settings)
    return Config(
        instructions=settings.instructions if instructions is None else instructions,
        voice=voice,
        speed=session.speed,
        modality=session.modality,
        playout="client",
        model=session.model,
        language=_language(session),
        transcription_prompt=", ".join(hints),
        turn=_turn(session.turn_detection, settings),
        tools=(*tools_of(session.tools), *mcp),
        tool_choice=_choice(session.tool_choice),
        parallel_tool_calls=session.parallel_tool_calls,
        max_output_tokens=session.max_output_tokens,
        temperature=session.temperature,
        respond=session.type == "realtime",
        lock_voice=True,
        ahead=settings.ahead_seconds,
        context_tokens=tokens,
        retention=retention,
        max_seconds=settings.max_seconds,
        grace=0.0,
        idle_close=settings.idle_close_seconds,
    )


def override_of(params: ResponseParams, base: Config, format: FormatName, prompt: StoredPrompt | None) -> Override:
    """Apply the parameters of a ``response.create``.

    Args:
        params: As decoded, under the names of either dialect.
        base: The session's configuration.
        format: The session's output format.
        prompt: The stored prompt that ``params.prompt`` names.

    Raises:
        WireError: A parameter is refused; ``param`` begins with ``response``.
    """
    changes: dict[str, Any] = {}
    if params.output_modalities is not None:
        changes["modality"] = modality_of(params.output_modalities, "response.output_modalities", both=False)
    elif params.modalities is not None:
        changes["modality"] = modality_of(params.modalities, "response.modalities", both=True)
    output = params.audio.output if params.audio else None
    voice = output.voice if output and output.voice is not None else params.voice
    if voice is not None:
        changes["voice"] = voice_name(voice, "response.audio.output.voice")
    if params.prompt is not None and prompt is not None:
        changes["instructions"] = filled_prompt(prompt, params.prompt)
    if params.instructions is not None:
        changes["instructions"] = params.instructions
    if params.tools is not None:
        changes["tools"] = tools_of(params.tools, "response.tools") + tuple(
            tool
            for tool in base.tools
            if tool.mcp_server in {wanted.server_label for wanted in params.tools if isinstance(wanted, McpTool)}
        )
    if params.tool_choice is not None:
        changes["tool_choice"] = _choice(params.tool_choice)
    if params.parallel_tool_calls is not None:
        changes["parallel_tool_calls"] = params.parallel_tool_calls
    if params.temperature is not None:
        changes["temperature"] = params.temperature
    cap = params.max_output_tokens if params.max_output_tokens is not None else params.max_response_output_tokens
    if cap is not None:
        changes["max_output_tokens"] = cap if isinstance(cap, int) else None
    if output and output.format is not None:
        format = format_name(output.format, "response.audio.output.format.rate")
    elif params.output_audio_format is not None:
        format = params.output_audio_format
    return Override(replace(base, **changes), format)


def tools_of(tools: Sequence[FunctionTool | McpTool], param: str = "session.tools") -> tuple[Tool, ...]:
    """The function tools among `tools`; what MCP servers offer is learnt from them, not from the client.

    Raises:
        WireError: Two functions have the same name.
    """
    found: dict[str, Tool] = {}
    for index, tool in enumerate(tools):
        if not isinstance(tool, FunctionTool):
            continue
        if tool.name in found:
            raise WireError(
                "invalid_value", f"Expected tools of different names, got {tool.name!r} twice", f"{param}[{index}].name"
            )
        schema = {"type": "object", "properties": {}} if tool.parameters is None else tool.parameters
        found[tool.name] = Tool(tool.name, tool.description or "", msgspec.json.encode(schema).decode())
    return tuple(found.values())


def filled_prompt(prompt: StoredPrompt, wanted: Prompt) -> str:
    """The prompt's instructions with the client's variables in their places.

    Raises:
        WireError: A variable of the prompt was not given.
    """
    given = wanted.variables or {}

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in given:
            raise WireError(
                "missing_required_parameter", f"the prompt needs a value for {name!r}", f"prompt.variables.{name}"
            )
        found = given[name]
        if isinstance(found, dict):
            found = found.get("text", "")
        return str(found)

    return _VARIABLE.sub(value, prompt.instructions)


def _turn(detection: TurnDetection | None, settings: RealtimeSettings) -> Turn:
    # Interruptions are confirmed at the speech start and turns are kept whatever was said: the client owns the playout
    # and its conversation must match the audio it sent.
    if detection is None:
        return Turn(
            mode="manual", confirm=0.0, merge=False, keep_empty=True, backchannels=frozenset(), create_response=False
        )
    if detection.type == "semantic_vad":  # what clients send of the other kind does not count
        detection = TurnDetection(
            type="semantic_vad",
            eagerness=detection.eagerness,
            create_response=detection.create_response,
            interrupt_response=detection.interrupt_response,
        )
    prefix = detection.prefix_padding_ms
    silence = 0.5 if detection.silence_duration_ms is None else detection.silence_duration_ms / 1000
    return Turn(
        mode="silence" if detection.type == "server_vad" else "semantic",
        threshold=0.5 if detection.threshold is None else detection.threshold,
        prefix=0.3 if prefix is None else prefix / 1000,
        start=0.06,
        silence=silence,
        speculate=min(settings.speculate_seconds, silence),
        wait_incomplete=_EAGERNESS[detection.eagerness or "auto"],
        create_response=detection.create_response is not False,
        interrupt_response=detection.interrupt_response is not False,
        confirm=0.0,
        backchannels=frozenset(),
        merge=False,
        keep_empty=True,
        idle=None if detection.idle_timeout_ms is None else detection.idle_timeout_ms / 1000,
    )


def _language(session: SessionObject) -> str | None:
    wanted = session.transcription
    if wanted is None:
        return None
    if wanted.language:
        return wanted.language
    return wanted.languages[0] if wanted.languages and len(wanted.languages) == 1 else None


def _choice(choice: Choice) -> str:
    if isinstance(choice, ToolChoice):
        return choice_name(choice) or "required"
    return choice


def _retention(session: SessionObject, settings: RealtimeSettings) -> tuple[int | None, float]:
    match session.truncation:
        case "disabled":
            return None, 1.0
        case RetentionRatio(retention_ratio=ratio, token_limits=limits):
            given = limits.post_instructions if limits else None
            return (settings.context_tokens if given is None else given), ratio
        case _:
            return settings.context_tokens, 1.0
