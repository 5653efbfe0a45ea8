"""The embedded engines: everything that is needed for a conversation without a network.

Silero VAD and Smart Turn run in the server; Moonshine, a small language model and Piper in one child process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.engines.local.llm import LocalLlm
    from antiphon.engines.local.stt import LocalStt
    from antiphon.engines.local.tts import LocalTts
    from antiphon.engines.local.turn import SmartTurn
    from antiphon.engines.local.vad import SileroVad

__all__ = ["LocalEngines", "local_engines"]


@dataclass(frozen=True, slots=True)
class LocalEngines:
    """The five; `stt`, `llm` and `tts` share an engine process, which ends when all three are closed."""

    vad: SileroVad
    turn: SmartTurn
    stt: LocalStt
    llm: LocalLlm
    tts: LocalTts


def local_engines(models_dir: Path, options: Mapping[str, Any] | None = None) -> LocalEngines:
    """Make the embedded engines; only the VAD (2 MB) is loaded at once, the rest by `warm_up` or when first used.

    Args:
        models_dir: Where the model files are.
        options: The ``[engines.local]`` table of the settings.

    Raises:
        ConfigError: An option is unknown or out of range.
        ModelFileError: The VAD's model is missing or damaged.
    """
    # Imported here: the command line uses this package's light parts.
    from antiphon.engines.local.llm import LocalLlm
    from antiphon.engines.local.options import LocalOptions
    from antiphon.engines.local.process import EngineProcess
    from antiphon.engines.local.stt import LocalStt
    from antiphon.engines.local.tts import LocalTts
    from antiphon.engines.local.turn import SmartTurn
    from antiphon.engines.local.vad import SileroVad

    process = EngineProcess(models_dir, LocalOptions.of(options or {}))
    return LocalEngines(
        SileroVad(models_dir), SmartTurn(models_dir), LocalStt(process), LocalLlm(process), LocalTts(process)
    )
