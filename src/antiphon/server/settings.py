"""The one settings model of the server: what can be set, its default, and what it means.

Values come, later ones winning, from defaults, ``antiphon.toml``, ``ANTIPHON_...`` variables and command
line flags; :func:`antiphon.server.settings_sources.load_settings` reads them. The table in
``docs/operations.md`` is printed from this model by ``antiphon settings``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from antiphon.core.config import BACKCHANNELS

__all__ = [
    "DataSettings",
    "EngineSettings",
    "EnginesSettings",
    "LimitSettings",
    "LogSettings",
    "OpenAIEndpoint",
    "ServerSettings",
    "Settings",
    "TurnSettings",
]

Role = Literal["stt", "llm", "tts"]


def _names(value: object) -> object:
    """Read ``"a, b"`` as a list of names, as environment variables and flags give it."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return value


def _expand(path: Path) -> Path:
    return path.expanduser()


EngineNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names), Field(min_length=1)]
WordSet = Annotated[frozenset[str], NoDecode, BeforeValidator(_names)]
UserPath = Annotated[Path, AfterValidator(_expand)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class ServerSettings(_Section):
    """Where the server listens and whom it serves."""

    host: str = Field("127.0.0.1", description="Address to listen on; `0.0.0.0` for every interface.")
    port: int = Field(7880, ge=0, le=65535, description="TCP port to listen on; 0 picks a free one.")
    tls_cert: UserPath | None = Field(None, description="PEM file of the TLS certificate chain.")
    tls_key: UserPath | None = Field(None, description="PEM file of the TLS private key.")
    drain_seconds: float = Field(
        30.0, ge=0, description="How long running sessions may go on after SIGTERM before they are ended."
    )
    allow_anonymous: bool = Field(
        False, description="Serve callers without a key, in the default project. For a laptop, not a network."
    )
    allow_private_addresses: bool = Field(
        False,
        description="Let tools, webhooks and MCP servers named by clients reach private and loopback addresses.",
    )

    @model_validator(mode="after")
    def _tls_is_a_pair(self) -> ServerSettings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key must be set together")
        return self

    @property
    def tls(self) -> bool:
        """Whether the server speaks TLS."""
        return self.tls_cert is not None


class LimitSettings(_Section):
    """Bounds that keep one caller from using up the machine."""

    max_sessions: int = Field(200, ge=1, description="Sessions that may run at once.")
    session_seconds: float = Field(3600.0, gt=0, description="Longest a session may last.")
    idle_seconds: float = Field(
        600.0, gt=0, description="A session in which nobody spoke or sent anything for this long is ended."
    )
    max_message_bytes: int = Field(
        24 * 1024 * 1024,
        ge=1024,
        description="Largest WebSocket message that a client may send; 15 MiB of audio in base64 fit into the default.",
    )
    audio_ahead_seconds: float = Field(
        60.0, gt=0, description="How far audio is sent ahead of its playback to a client that plays by itself."
    )


class DataSettings(_Section):
    """Where things are kept."""

    data_dir: UserPath = Field(
        default_factory=lambda: platformdirs.user_data_path("antiphon", appauthor=False),
        description="Directory of the database. Default: the user's data directory.",
    )
    database_url: str | None = Field(
        None,
        description="SQLAlchemy URL, such as `postgresql+asyncpg://user@host/antiphon`. "
        "Default: SQLite in the file `antiphon.db` of `data_dir`.",
    )
    models_dir: UserPath = Field(
        default_factory=lambda: platformdirs.user_cache_path("antiphon", appauthor=False) / "models",
        description="Directory of the model files. Default: `models` in the user's cache directory.",
    )

    @property
    def resolved_database_url(self) -> str:
        """The database to open: the one that was set, or SQLite in the data directory."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'antiphon.db'}"


class OpenAIEndpoint(_Section):
    """One OpenAI-compatible endpoint. Options not listed here go to the engine as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)

    base_url: str = Field("https://api.openai.com/v1", description="URL of the API, up to and with `/v1`.")
    api_key: SecretStr | None = Field(None, description="Key that is sent to the endpoint; never logged.")
    model: str | None = Field(None, description="Model to ask for, in the role that the endpoint is used in.")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """One engine as the composition root builds it.

    Attributes:
        name: The name it was listed by.
        kind: `local`, `openai`, `scripted`, or the name of an entry point of a third party.
        options: What its table says; secrets are :class:`pydantic.SecretStr`.
    """

    name: str
    kind: str
    options: dict[str, Any]


class EnginesSettings(_Section):
    """Which engines answer; each list is tried in its order, the later ones are fallbacks."""

    stt: EngineNames = Field(("local",), description="Speech to text: engine names, first choice first.")
    llm: EngineNames = Field(("local",), description="Language model: engine names, first choice first.")
    tts: EngineNames = Field(("local",), description="Text to speech: engine names, first choice first.")
    ears: Literal["auto", "local", "scripted"] = Field(
        "auto",
        description="Whose VAD and turn detector listen; `auto`: the embedded ones, unless all engines are scripted.",
    )
    local: dict[str, Any] = Field(
        default_factory=dict, description="Options of the embedded engines (docs/engines.md)."
    )
    openai: dict[str, OpenAIEndpoint] = Field(
        default_factory=dict,
        description="OpenAI-compatible endpoints, one table `[engines.openai.NAME]` each; list them by NAME.",
    )
    scripted: dict[str, Any] = Field(
        default_factory=dict, description="Options of the scripted engines; `file` names the script."
    )
    plugins: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Options of engines from other packages, one table `[engines.plugins.NAME]` each, "
        "where NAME is the entry point's name.",
    )

    @model_validator(mode="after")
    def _tables_have_names_of_their_own(self) -> EnginesSettings:
        for taken in ("local", "scripted"):
            if taken in self.openai or taken in self.plugins:
                raise ValueError(f"{taken!r} is the name of a built-in engine: give the table another name")
        return self

    def known_names(self) -> tuple[str, ...]:
        """Names that a role may list without an entry point being looked up."""
        return ("local", "scripted", *self.openai, *self.plugins)

    def for_role(self, role: Role) -> tuple[EngineSettings, ...]:
        """The engines of a role, first choice first.

        Args:
            role: `stt`, `llm` or `tts`.

        Returns:
            One entry a listed name; a name without a table is taken for an entry point's.
        """
        names: tuple[str, ...] = getattr(self, role)
        return tuple(self._engine(name) for name in names)

    def _engine(self, name: str) -> EngineSettings:
        if name == "local":
            return EngineSettings(name, "local", dict(self.local))
        if name == "scripted":
            return EngineSettings(name, "scripted", dict(self.scripted))
        if name in self.openai:
            endpoint = self.openai[name]
            options = {key: value for key, value in endpoint if value is not None}
            return EngineSettings(name, "openai", options)
        return EngineSettings(name, name, dict(self.plugins.get(name, {})))


class TurnSettings(_Section):
    """Defaults of turn taking; a session may change its own (docs/turn-taking.md)."""

    detection: Literal["server_vad", "semantic_vad", "none"] = Field(
        "server_vad",
        description="What ends a turn: silence, silence weighed by Smart Turn, or the client (push to talk).",
    )
    threshold: float = Field(0.5, ge=0, le=1, description="Speech probability from which a frame is speech.")
    prefix_padding_ms: int = Field(300, ge=0, le=5000, description="Audio kept from before speech started.")
    silence_duration_ms: int = Field(500, ge=0, le=10000, description="Silence that ends a turn.")
    eagerness: Literal["low", "medium", "high", "auto"] = Field(
        "auto", description="How soon `semantic_vad` takes the turn."
    )
    interrupt_response: bool = Field(True, description="Whether speech may interrupt the agent.")
    interrupt_min_ms: int = Field(
        400,
        ge=0,
        le=10000,
        description="Speech over the agent's that confirms an interruption, where the server paces the agent's voice "
        "(not over OpenAI's WebSocket, whose clients stop playing by themselves).",
    )
    resume_ms: int = Field(
        400, ge=0, le=10000, description="Silence after an unconfirmed interruption before the agent goes on."
    )
    barge_in: Literal["duck", "pause"] = Field(
        "duck", description="What the agent's voice does until an interruption is confirmed."
    )
    backchannels: WordSet = Field(
        BACKCHANNELS,
        description='Words that only say "go on": an utterance of nothing else does not stop the agent.',
    )
    speculation_ms: int = Field(
        200, ge=0, le=10000, description="Silence after which an answer is prepared, unheard, ahead of the turn."
    )
    speech_while_uninterruptible: Literal["queue", "drop"] = Field(
        "queue", description="What becomes of speech during an answer that must not be interrupted."
    )


class LogSettings(_Section):
    """What is logged; never transcripts, audio or keys."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    format: Literal["console", "json"] = Field("console", description="Lines for people, or one JSON object a line.")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="ANTIPHON_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    server: ServerSettings = Field(default_factory=ServerSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    data: DataSettings = Field(default_factory=DataSettings)
    engines: EnginesSettings = Field(default_factory=EnginesSettings)
    turn: TurnSettings = Field(default_factory=TurnSettings)
    log: LogSettings = Field(default_factory=LogSettings)
