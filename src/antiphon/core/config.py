"""What a session is told to be. Immutable: a response reads the one snapshot it started with (invariant 7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from antiphon.core.items import Tool

BACKCHANNELS = frozenset(
    {
        *("uh-huh", "uhhuh", "uh", "huh", "mm-hmm", "mmhmm", "mhm", "mm", "hmm", "hm", "aha", "ah", "oh"),
        *("yeah", "yep", "yes", "right", "okay", "ok", "sure", "i", "see", "got", "it"),
    }
)
"""Words that only say "go on". An utterance made of nothing else does not stop the agent."""

UNFINISHED = frozenset(
    {
        *("a", "an", "the", "my", "your", "his", "her", "its", "our", "their", "this", "these", "those", "some"),
        *("to", "of", "for", "with", "in", "on", "at", "from", "by", "about", "into", "than", "as", "like"),
        *("and", "or", "but", "so", "because", "if", "whether", "that", "which", "when", "while", "who", "whose"),
        *("is", "are", "am", "was", "were", "be", "i'm", "it's", "i", "um", "uh", "er", "erm", "well"),
        *("let me think", "let me see", "hold on"),
    }
)
"""Words (and three-word phrases) after which a speaker has more to say. "Well" and "about" may end a sentence, but a
wait is the smaller mistake."""


@dataclass(frozen=True, slots=True)
class Turn:
    """How turns are taken. All durations in seconds."""

    mode: Literal["silence", "semantic", "manual"] = "silence"
    """silence: a fixed wait; semantic: the turn detector chooses the wait; manual: push to talk, no VAD events."""
    threshold: float = 0.5
    """VAD probability (0 to 1) at which a frame counts as voice; it stops counting 0.15 lower."""
    prefix: float = 0.3
    """Audio kept from before the first voiced frame."""
    start: float = 0.2
    """Voiced time that makes a speech start (the duration rule)."""
    silence: float = 0.5
    """Silence that ends a turn in mode silence."""
    speculate: float = 0.2
    """Silence after which transcription, and behind it the answer, starts on trial."""
    wait_complete: float = 0.3
    """Semantic: the wait when the detector finds the turn complete (above 0.5), once the words are known."""
    wait_incomplete: float = 2.0
    """Semantic: the longest wait when it does not."""
    unfinished: frozenset[str] = UNFINISHED
    """Semantic: last words of a transcript that promise more, whatever the detector heard in the voice."""
    create_response: bool = True
    interrupt_response: bool = True
    confirm: float = 0.4
    """Voiced time over the agent's speech that confirms an interruption; 0 confirms it at the speech start."""
    resume: float = 0.4
    """Silence after an unconfirmed interruption before the agent goes on."""
    barge_in: Literal["duck", "pause"] = "duck"
    """What the agent's voice does (server-owned playout) until an interruption is confirmed."""
    backchannels: frozenset[str] = BACKCHANNELS
    over_agent: Literal["queue", "drop"] = "queue"
    """When the agent may not be interrupted: answer what was said over it next, or ignore it."""
    merge: bool = True
    """When the user goes on before the agent's first sound: one user message of both parts, or two."""
    keep_empty: bool = False
    """Whether a turn without a recognised word still becomes an (unanswered) item, as OpenAI's clients expect."""
    idle: float | None = None
    """Seconds of mutual silence before the agent is prompted to speak."""
    captions: float | None = None
    """Voiced seconds between partial transcripts; None makes only the first, over the agent's speech."""
    stall: float = 1.5
    """Seconds without any input audio, in mid-turn, that count as the end of the turn."""


@dataclass(frozen=True, slots=True)
class Config:
    """The session's settings as the core sees them."""

    instructions: str = ""
    voice: str = ""
    speed: float = 1.0
    """0.25 to 1.5."""
    modality: Literal["audio", "text"] = "audio"
    playout: Literal["client", "server"] = "client"
    """Who plays the agent's audio: the client (and tells by truncate), or we (and know what was heard)."""
    model: str = ""
    language: str | None = None
    transcription_prompt: str = ""
    turn: Turn = field(default_factory=Turn)
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """auto, none, required, or a tool's name."""
    parallel_tool_calls: bool = True
    max_output_tokens: int | None = None
    temperature: float | None = None
    respond: bool = True
    """False makes a transcription session: it never answers."""
    lock_voice: bool = False
    """Refuse another voice once the agent was heard, as OpenAI does."""
    ahead: float = 30.0
    """Client-owned playout: seconds of audio made ahead of what the client can have played."""
    not_understood: str = ""
    """What the agent says when a turn could not be transcribed; empty says nothing."""
    idle_prompt: str = ""
    """An instruction for the answer that an idle period triggers."""
    context_tokens: int | None = None
    """Drop the oldest messages beyond this many (estimated) tokens; None keeps all. ``retention`` is the share kept."""
    retention: float = 1.0
    max_seconds: float | None = 3600.0
    grace: float = 3.0
    """Seconds the agent may finish its sentence in after ``max_seconds``."""
    idle_close: float | None = None
    """Seconds without speech, text or answer after which the session ends."""
    linger: float = 15.0
    """Seconds a session waits for a client that went away (rooms, WebRTC)."""
