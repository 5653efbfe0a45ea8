"""What the core asks of the runtime. A closed union; ``Emit`` carries the events that protocols translate."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.core.config import Config
from antiphon.core.events import Event
from antiphon.core.items import AudioRef, Item


@dataclass(frozen=True, slots=True)
class Emit:
    event: Event


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Run STT over ``audio`` (one or more spans, in order). Answer: ``Transcribed`` or ``TranscriptionFailed``.

    ``partial`` jobs serve interruptions and live captions: they are answered with ``final=False`` and may be dropped
    when the engine is busy.
    """

    job: str
    audio: tuple[AudioRef, ...]
    config: Config
    partial: bool = False


@dataclass(frozen=True, slots=True)
class PredictTurn:
    """Ask the turn detector about the audio that ends at ``audio.end``. Answer: ``TurnPredicted``."""

    job: str
    audio: AudioRef


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask the LLM. Answers: ``TextGenerated``, ``CallGenerated``, then ``GenerationDone`` or ``GenerationFailed``."""

    job: str
    history: tuple[Item, ...]
    """In an order any chat API accepts: each call is followed by its output."""
    config: Config
    """Instructions, tools, model, limits: the response's snapshot."""


@dataclass(frozen=True, slots=True)
class Synthesize:
    """Ask the TTS for one clause. Answers: ``Synthesized`` (repeatedly), ``SynthesisDone`` or ``SynthesisFailed``."""

    job: str
    text: str
    config: Config


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a job of any kind; whatever it still answers is ignored."""

    job: str


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a server-side tool once. Answer: ``ToolDone``."""

    call_id: str
    name: str
    arguments: str
    timeout: float
    mcp_server: str | None = None


@dataclass(frozen=True, slots=True)
class Play:
    """Queue samples ``start`` to ``end`` of a synthesis job; they become ``item_start`` and on of the item's audio.

    Server-owned playout: append to the output stream. Client-owned: it is sent with the ``AudioDelta`` event.
    """

    job: str
    start: int
    end: int
    item_id: str
    item_start: int


@dataclass(frozen=True, slots=True)
class Duck:
    """Lower the agent's voice (server-owned playout)."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Hold the agent's voice where it is."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Back to full level, from where it was."""


@dataclass(frozen=True, slots=True)
class Flush:
    """Fade out at once and forget what is queued."""


@dataclass(frozen=True, slots=True)
class End:
    """The session is over: cancel everything, tell nobody anything more. The last effect there is."""

    reason: str


Effect = (
    Emit | Transcribe | PredictTurn | Generate | Synthesize | Cancel | RunTool | Play | Duck | Pause | Resume | Flush

    | End
)  # fmt: skip
