"""What a session consumed: counted where it is consumed, speculation apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

from antiphon.core.items import INPUT_RATE, OUTPUT_RATE, Usage


@dataclass(frozen=True, slots=True)
class Meter:
    usage: Usage = Usage()
    speculative: Usage = Usage()
    stt_samples: int = 0
    tts_characters: int = 0
    tts_samples: int = 0
    turns: int = 0
    responses: int = 0
    interruptions: int = 0

    @property
    def stt_seconds(self) -> float:
        return self.stt_samples / INPUT_RATE

    @property
    def tts_seconds(self) -> float:
        return self.tts_samples / OUTPUT_RATE

    def response(self, usage: Usage, *, heard: bool) -> Meter:
        """One more response's usage; ``heard`` False for an answer thrown away on trial."""
        if heard:
            return replace(self, usage=self.usage + usage, responses=self.responses + 1)
        return replace(self, speculative=self.speculative + usage)

    def spoken(self, characters: int, samples: int) -> Meter:
        """``characters`` given to the TTS and ``samples`` (24 kHz) had from it."""
        return replace(self, tts_characters=self.tts_characters + characters, tts_samples=self.tts_samples + samples)
