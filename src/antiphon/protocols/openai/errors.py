"""What a client is told when it asks for something that cannot be done."""

from __future__ import annotations

from typing import Any

from antiphon.errors import AntiphonError

__all__ = ["WireError", "error_event"]


class WireError(AntiphonError):
    """A client event, session or REST body that is refused; the session goes on unchanged.

    Attributes:
        code: As in the contract's error table, such as ``invalid_value``; None where the service has none.
        message: What was expected and what came.
        param: Dotted path of the field at fault, such as ``session.audio.output.speed``.
        event_id: The client's id of the event that was refused.
        type: ``invalid_request_error`` or ``server_error``.
    """

    def __init__(
        self,
        code: str | None,
        message: str,
        param: str | None = None,
        event_id: str | None = None,
        type: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.event_id = event_id
        self.type = type

    def body(self) -> dict[str, Any]:
        """The ``error`` object of REST answers: ``message``, ``type``, ``param`` and ``code``."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}


def error_event(error: WireError) -> dict[str, Any]:
    """The ``error`` server event; all five keys are always there, null or not (strict clients need the keys)."""
    return {
        "type": "error",
        "error": {
            "type": error.type,
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "event_id": error.event_id,
        },
    }
