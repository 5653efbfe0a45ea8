"""Deterministic engines for tests, benches and demonstrations: they play a script, and cost next to nothing."""

from __future__ import annotations

from antiphon.engines.scripted.ears import ScriptedStt, ScriptedTurn, ScriptedVad
from antiphon.engines.scripted.llm import ScriptedLlm
from antiphon.engines.scripted.script import (
    Call,
    Clause,
    Fault,
    LlmScript,
    Rule,
    Script,
    ScriptError,
    SttScript,
    TtsScript,
    TurnScript,
    Utterance,
    VadScript,
    default_script,
    load_script,
    parse_script,
)
from antiphon.engines.scripted.tones import Tones
from antiphon.engines.scripted.tts import ScriptedTts

__all__ = [
    "Call",
    "Clause",
    "Fault",
    "LlmScript",
    "Rule",
    "Script",
    "ScriptError",
    "ScriptedLlm",
    "ScriptedStt",
    "ScriptedTts",
    "ScriptedTurn",
    "ScriptedVad",
    "SttScript",
    "Tones",
    "TtsScript",
    "TurnScript",
    "Utterance",
    "VadScript",
    "default_script",
    "load_script",
    "parse_script",
]
