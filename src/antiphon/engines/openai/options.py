"""Options of an OpenAI-compatible endpoint: one table describes it for all the roles it is used in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from antiphon.engines.tables import from_table
from antiphon.errors import ConfigError

OPENAI_URL = "https://api.openai.com/v1"
_DEFAULT_MODELS = {"stt": "gpt-4o-mini-transcribe", "llm": "gpt-4.1-mini", "tts": "gpt-4o-mini-tts"}
_OPENAI_VOICES = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip

Role = Literal["stt", "llm", "tts"]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the endpoint's table may say."""

    base_url: str = OPENAI_URL
    api_key: str = ""
    """Without one, OpenAI itself is asked with the key of ``OPENAI_API_KEY``, others without a key."""
    model: str = ""
    """Needed for other endpoints than OpenAI's own."""
    connect_timeout: Seconds = 5.0
    timeout: Seconds = 60.0
    """Longest silence of the connection; the chain around the engine is less patient."""
    headers: dict[str, str] = {}
    extra: dict[str, Any] = {}
    """Further fields of every request's body."""

    models: tuple[str, ...] = ()
    """LLM: further models that a client may ask for by name."""
    temperature: float | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """What the endpoint calls the limit; the newer name for OpenAI itself, the older for others."""
    usage: bool = True
    """Ask for token counts (``stream_options``); some servers refuse that."""
    images: bool = True
    """Pass pictures on; without, the model is not shown them."""
    thoughts: bool = False
    """Say aloud what a reasoning model writes between ``<think>`` and ``</think>`` at the start of an answer."""

    language: str | None = None
    prompt: str = ""
    partials: bool = True
    """Transcribe while the user still speaks. Costs requests; without, interruptions go by duration only."""

    voice: str = ""
    voices: tuple[str, ...] = ()
    """Voices that a client may ask for; ``voice`` speaks in place of others."""
    sample_rate: Annotated[int, msgspec.Meta(ge=8000, le=48_000)] = 24_000
    """Of the raw PCM that the endpoint's speech comes as."""
    instructions: str = ""
    """How the voice should sound, for models that take it."""

    @property
    def own(self) -> bool:
        """Whether the endpoint is OpenAI's own."""
        return urlsplit(self.base_url).hostname == "api.openai.com"

    @property
    def address(self) -> str:
        """Scheme, host and port: what may be shown of ``base_url``."""
        url = urlsplit(self.base_url)
        return f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")

    def model_for(self, role: Role) -> str:
        """The model to ask for in a role."""
        return self.model or _DEFAULT_MODELS[role]

    @property
    def all_voices(self) -> tuple[str, ...]:
        """The default voice first."""
        known = self.voices or (_OPENAI_VOICES if self.own else ())
        return tuple(dict.fromkeys((self.voice or (known[0] if known else "alloy"), *known)))


def read_options(name: str, table: Mapping[str, Any]) -> Options:
    """Check an endpoint's table.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a wrong type, a URL that is none, a missing model.
    """
    options = from_table(table, Options, f"engine {name!r}", lax=True)
    try:
        url = urlsplit(options.base_url)
        sound = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError(f"engine {name!r}: base_url must be an http or https URL such as {OPENAI_URL}")
    if not options.own and not options.model:
        raise ConfigError(f"engine {name!r}: {options.address} is not OpenAI's own endpoint, so `model` must be set")
    return options
