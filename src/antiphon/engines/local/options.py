"""The options of the embedded engines: the ``[engines.local]`` table of the settings."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from antiphon.errors import ConfigError

__all__ = ["LocalOptions"]


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How the embedded engines run; each has a good default."""

    threads: int = min(4, os.cpu_count() or 1)
    """Threads that STT and TTS share; each call runs on one."""
    voice: str = "joe"
    """The voice when a session names none of ours: `joe`, one that was added, or `espeak`."""
    llm: str = "smollm2-135m"
    """The language model: `smollm2-135m`, or the name of a GGUF file that was added."""
    llm_threads: int = 1
    """Threads of the LLM. More help on idle cores only: they wait for each other, ten times slower where others run."""
    llm_slots: int = 2
    """Answers that are written at the same time."""
    llm_context: int = 2048
    """Tokens that one answer and what came before it may take together; older turns are left out."""
    max_tokens: int = 160
    """Longest answer, in tokens, where the session sets no bound."""
    temperature: float = 0.4
    """0 to 2; the session's own wish wins."""
    instructions: str = "You are a friendly voice assistant. Answer in one or two short sentences."
    """The system prompt of sessions that bring none; it is read at warm-up, so that it costs no time later."""

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> LocalOptions:
        """Read the table of the settings.

        Raises:
            ConfigError: An option is unknown (the message names the nearest one), of another type or out of range.
        """
        known = {field.name: type(getattr(cls(), field.name)) for field in fields(cls)}
        values = {}
        for name, value in table.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise ConfigError(
                    f"engines.local.{name}: there is no such option; "
                    + (f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(known)}")
                )
            values[name] = _converted(name, value, known[name])
        options = cls(**values)
        options._check()
        return options

    def _check(self) -> None:
        for name, low, high in _RANGES:
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"engines.local.{name}: expected {low} to {high}, got {getattr(self, name)}")
        if not 0 <= self.temperature <= 2:
            raise ConfigError(f"engines.local.temperature: expected 0 to 2, got {self.temperature}")

    def as_dict(self) -> dict[str, Any]:
        """For the wire to the engine process."""
        return asdict(self)


_RANGES = (
    ("threads", 1, 64),
    ("llm_threads", 1, 64),
    ("llm_slots", 1, 64),
    ("llm_context", 256, 1 << 20),
    ("max_tokens", 1, 1 << 16),
)


def _converted(name: str, value: Any, kind: type) -> Any:
    """Numbers come as text from the environment."""
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ConfigError(f"engines.local.{name}: expected {kind.__name__}, got {value!r}") from None
