"""What this protocol needs of the runtime and the platform, which provide it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from antiphon.audio.pcm import PCM
from antiphon.core.config import Config
from antiphon.core.conversation import Conversation
from antiphon.core.events import Event
from antiphon.core.items import AudioRef
from antiphon.platform.secrets import ClientSecret

__all__ = ["Manager", "Secrets", "Session", "SessionState"]


class SessionState(Protocol):
    @property
    def config(self) -> Config: ...

    @property
    def conversation(self) -> Conversation: ...

    @property
    def active_response_id(self) -> str | None: ...


class Session(Protocol):
    """``runtime.Session``, as far as it is used here."""

    @property
    def id(self) -> str: ...

    @property
    def state(self) -> SessionState: ...

    @property
    def heard_samples(self) -> int: ...

    def start(self) -> None: ...

    def do(self, command: type[Any], **fields: Any) -> None: ...

    def hear(self, pcm: PCM) -> None: ...

    def clip(self, pcm: PCM) -> AudioRef: ...

    def audio(self, ref: AudioRef) -> PCM: ...

    def synthesized(self, job: str, start: int, end: int) -> PCM: ...


class Manager(Protocol):
    """``runtime.SessionManager``, as far as it is used here."""

    def open(
        self,
        config: Config,
        observer: Callable[[Event], None],
        *,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        tenant: str = "",
    ) -> Session: ...


class Secrets(Protocol):
    """``platform.ClientSecrets``."""

    async def create(
        self, project_id: str, session_config: Mapping[str, Any], ttl: float = 600.0
    ) -> tuple[str, ClientSecret]: ...

    async def redeem(self, value: str) -> ClientSecret | None: ...
