"""What the REST routes are built from, and how a refusal leaves them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import Request

from antiphon.engines.ports import EngineError, Llm, Stt, Tts
from antiphon.errors import ApiError
from antiphon.platform.keys import Principal
from antiphon.protocols.openai.errors import WireError
from antiphon.protocols.openai.ports import Secrets
from antiphon.protocols.openai.settings import RealtimeSettings

__all__ = ["Engines", "Service", "api_error", "engine_error", "refusing"]


class Engines(Protocol):
    """``runtime.Engines``, as far as it is used here."""

    @property
    def stt(self) -> Stt: ...

    @property
    def llm(self) -> Llm: ...

    @property
    def tts(self) -> Tts: ...


@dataclass(frozen=True, slots=True)
class Service:
    """What routes need; looked up at each request, since the server makes it after the routes.

    Attributes:
        caller: A FastAPI dependency that gives the caller or raises ``ApiError`` 401.
        engines: The engines of the application that a request came to.
        secrets: Where client secrets are kept.
        settings: Defaults of sessions; names of models.
    """

    caller: Callable[..., Awaitable[Principal]]
    engines: Callable[[Request], Engines]
    secrets: Callable[[Request], Secrets]
    settings: RealtimeSettings = field(default_factory=RealtimeSettings)

    @property
    def models(self) -> tuple[str, ...]:
        """The names that ``GET /v1/models`` lists."""
        names = (self.settings.model, self.settings.transcription_model, *self.settings.models)
        return tuple(dict.fromkeys(names))


def api_error(error: WireError) -> ApiError:
    """The HTTP form of a refused body."""
    return ApiError(400, error.message, type=error.type, code=error.code, param=error.param)


_STATUS = {"timeout": 504, "rejected": 502, "bad_output": 502}


def engine_error(error: EngineError) -> ApiError:
    """The HTTP form of a failed engine: 504 too slow, 502 it refused or answered rubbish, 503 it is not there."""
    return ApiError(_STATUS.get(error.kind, 503), str(error), type="server_error", code=f"engine_{error.kind}")


@contextmanager
def refusing() -> Iterator[None]:
    """Turn refusals and engine failures inside the block into HTTP errors."""
    try:
        yield
    except WireError as error:
        raise api_error(error) from None
    except EngineError as error:
        raise engine_error(error) from None


def json_body(example: dict[str, Any]) -> dict[str, Any]:
    """``openapi_extra`` of a route that reads its JSON body itself."""
    return {
        "requestBody": {
            "required": False,
            "content": {"application/json": {"schema": {"type": "object"}, "example": example}},
        }
    }
