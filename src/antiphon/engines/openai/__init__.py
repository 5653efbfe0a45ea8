"""Engines at any OpenAI-compatible endpoint, by the ``openai`` SDK (imported when first used)."""

from __future__ import annotations

from antiphon.engines.openai.llm import OpenAiLlm
from antiphon.engines.openai.options import Options, read_options
from antiphon.engines.openai.stt import OpenAiStt
from antiphon.engines.openai.tts import OpenAiTts

__all__ = ["OpenAiLlm", "OpenAiStt", "OpenAiTts", "Options", "read_options"]
