"""What the cache holds: items with their formatted view, and responses."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from antiphon.client.realtime import audio as pcm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AUDIO_PARTS = ("audio", "output_audio", "input_audio")
TEXT_PARTS = ("text", "output_text", "input_text")
BYTES_PER_SECOND = {"pcm16": 48_000, "g711_ulaw": 8_000, "g711_alaw": 8_000}


@dataclass(slots=True)
class Tool:
    """A function call as the model writes it.

    Attributes:
        name: name of the function.
        call_id: what the output has to name.
        arguments: JSON text, complete when the item is completed.
        type: always `function`.
    """

    name: str
    call_id: str
    arguments: str = ""
    type: str = "function"


class Formatted:
    """The view of an item that applications show and play.

    Attributes:
        text: what was written, all text parts together.
        transcript: what was said, all audio parts together; a single space for a user's audio without words.
        tool: the call, for an item of type function_call.
        output: the text of an item of type function_call_output.
        file: a WAV file with the audio, once the item is completed (or incomplete) and has some.
        audio_format: pcm16, g711_ulaw or g711_alaw: what `audio_bytes` holds.
    """

    __slots__ = ("_array", "_audio", "audio_format", "file", "output", "text", "tool", "transcript")

    def __init__(self, audio_format: str = "pcm16") -> None:
        self.text = ""
        self.transcript = ""
        self.tool: Tool | None = None
        self.output: str | None = None
        self.file: bytes | None = None
        self.audio_format = audio_format
        self._audio = bytearray()
        self._array: NDArray[np.int16] | None = None

    @property
    def audio(self) -> NDArray[np.int16]:
        """The audio as int16 samples, mono, shape (n,), read-only, at `sample_rate` Hz."""
        if self._array is None:
            self._array = pcm.pcm16_array(self._pcm())
        return self._array

    @property
    def audio_bytes(self) -> bytes:
        """The audio as it came, in `audio_format`."""
        return bytes(self._audio)

    @property
    def sample_rate(self) -> int:
        """Samples a second of `audio` in Hz."""
        return pcm.SAMPLE_RATE if self.audio_format == "pcm16" else 8_000

    def _pcm(self) -> bytes:
        if self.audio_format == "pcm16":
            return bytes(self._audio)
        return pcm.g711_to_pcm16(bytes(self._audio), self.audio_format.removeprefix("g711_"))

    def append_audio(self, data: bytes) -> None:
        """Add audio in `audio_format`."""
        self._audio += data
        self._array = None

    def cut_audio(self, ms: int) -> None:
        """Keep the first `ms` milliseconds, whole samples."""
        # floor(ms * rate / 1000) samples, as the server counts them.
        per_second = BYTES_PER_SECOND[self.audio_format]
        sample_bytes = 2 if self.audio_format == "pcm16" else 1
        del self._audio[ms * (per_second // sample_bytes) // 1000 * sample_bytes :]
        self._array = None

    def write_file(self) -> None:
        """Set `file` from the audio, None when there is none."""
        self.file = pcm.pcm16_to_wav(self._pcm(), self.sample_rate) if self._audio else None

    def __repr__(self) -> str:
        return (
            f"Formatted(text={self.text!r}, transcript={self.transcript!r}, audio={len(self._audio)} bytes, "
            f"tool={self.tool!r}, output={self.output!r})"
        )


class Item:
    """One item of the conversation; the cache keeps it up to date.

    Attributes:
        raw: the item in the wire's own shape, as far as the server told.
        formatted: the view to show and play.
        truncated_ms: where it was cut, None when it was not.
    """

    __slots__ = ("formatted", "raw", "truncated_ms")

    def __init__(self, raw: dict[str, Any], audio_format: str = "pcm16") -> None:
        self.raw = raw
        self.formatted = Formatted(audio_format)
        self.truncated_ms: int | None = None

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.raw["id"])

    @property
    def type(self) -> str:
        """`message`, `function_call`, `function_call_output`, or a type of MCP's."""
        return str(self.raw.get("type"))

    @property
    def role(self) -> str | None:
        """`user`, `assistant` or `system` for a message, else None."""
        return self.raw.get("role")

    @property
    def status(self) -> str | None:
        """`in_progress`, `completed` or `incomplete`."""
        return self.raw.get("status")

    @property
    def content(self) -> list[dict[str, Any]]:
        """Parts of a message in the wire's shape, without the audio; empty for other types."""
        content: list[dict[str, Any]] = self.raw.setdefault("content", [])
        return content

    @property
    def call_id(self) -> str | None:
        """For a function call or its output, what ties them together."""
        return self.raw.get("call_id")

    @property
    def name(self) -> str | None:
        """Name of the function of a call."""
        return self.raw.get("name")

    @property
    def arguments(self) -> str | None:
        """Arguments of a call, JSON text."""
        return self.raw.get("arguments")

    @property
    def output(self) -> str | None:
        """Text of a function call's output."""
        return self.raw.get("output")

    def part(self, index: int) -> dict[str, Any] | None:
        """Give the content part at `index`, None when there is none."""
        content = self.content
        return content[index] if 0 <= index < len(content) else None

    def __repr__(self) -> str:
        kind = self.role or self.type
        return f"Item(id={self.id!r}, {kind}, status={self.status!r}, {self.formatted!r})"


@dataclass(frozen=True)
class Delta:
    """What an event added to an item; exactly one of the fields is set.

    Attributes:
        audio_bytes: audio in the item's format.
        transcript, text, arguments: text.
        audio_format: pcm16, g711_ulaw or g711_alaw.
    """

    audio_bytes: bytes | None = None
    transcript: str | None = None
    text: str | None = None
    arguments: str | None = None
    audio_format: str = "pcm16"

    @cached_property
    def audio(self) -> NDArray[np.int16] | None:
        """The audio as int16 samples, mono, shape (n,), read-only; None when this is not about audio."""
        if self.audio_bytes is None:
            return None
        if self.audio_format == "pcm16":
            return pcm.pcm16_array(self.audio_bytes)
        return pcm.pcm16_array(pcm.g711_to_pcm16(self.audio_bytes, self.audio_format.removeprefix("g711_")))


@dataclass(slots=True)
class Response:
    """One response of the model.

    Attributes:
        raw: the response object of the last event about it.
        output: its items in order, also those of an out-of-band response, which are in no conversation.
    """

    raw: dict[str, Any]
    output: list[Item] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The response's id."""
        return str(self.raw["id"])

    @property
    def status(self) -> str | None:
        """`in_progress`, `completed`, `cancelled`, `failed` or `incomplete`."""
        return self.raw.get("status")

    @property
    def out_of_band(self) -> bool:
        """Whether it belongs to no conversation (`conversation_id` is null)."""
        return "conversation_id" in self.raw and self.raw["conversation_id"] is None
