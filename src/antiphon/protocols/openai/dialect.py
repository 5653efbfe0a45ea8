"""The two spellings of the protocol. A connection speaks one of them, chosen at its handshake, and never mixes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BETA", "GA", "Dialect"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The names that differ between beta and GA.

    Attributes:
        name: ``ga`` or ``beta``.
        item_added: Events sent when an item enters the conversation in progress.
        item_done: The event sent when an item is final, or None where the dialect has none.
        text: Prefix of the events that stream written text.
        audio: Prefix of the events that stream speech.
        transcript: Prefix of the events that stream what the speech says.
        text_part: Type of an assistant's written content part.
        audio_part: Type of an assistant's spoken content part.
    """

    name: str
    item_added: str
    item_done: str | None
    text: str
    audio: str
    transcript: str
    text_part: str
    audio_part: str

    @property
    def beta(self) -> bool:
        """Whether this is the older dialect."""
        return self.name == "beta"


GA = Dialect(
    "ga",
    "conversation.item.added",
    "conversation.item.done",
    "response.output_text",
    "response.output_audio",
    "response.output_audio_transcript",
    "output_text",
    "output_audio",
)
BETA = Dialect(
    "beta",
    "conversation.item.created",
    None,
    "response.text",
    "response.audio",
    "response.audio_transcript",
    "text",
    "audio",
)
