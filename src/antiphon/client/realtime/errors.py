"""What can go wrong, as types: one tree, printed once, with the data as attributes.

```
RealtimeError
├── ConnectError              the socket could not be opened
├── ConnectionClosedError     the socket ended although nobody asked for it
├── RealtimeTimeoutError      a wait ran out (also a TimeoutError)
├── NotConnectedError         something was sent without a connection
├── AlreadyConnectedError     connect() on an open connection
├── SendBufferFullError       the network takes less than the caller sends
├── ServerError               the server said `error`
│   └── BadKeyError           ... because of the key
├── ConversationEventError    an event that does not fit the cache (also a ValueError)
├── UnknownItemError          an item id that is not in the cache (also a LookupError)
├── ItemKindError             an item of the wrong kind for the operation (also a ValueError)
├── ToolDefinitionError       a tool without name, twice the same, or unknown (also a ValueError)
├── AudioTypeError            audio of a type we do not take (also a TypeError)
├── AudioValueError           audio of the right type with an impossible content (also a ValueError)
└── CallbackError             one of the application's callbacks raised
```
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "AlreadyConnectedError",
    "AudioTypeError",
    "AudioValueError",
    "BadKeyError",
    "CallbackError",
    "ConnectError",
    "ConnectionClosedError",
    "ConversationEventError",
    "ItemKindError",
    "NotConnectedError",
    "RealtimeError",
    "RealtimeTimeoutError",
    "SendBufferFullError",
    "ServerError",
    "ToolDefinitionError",
    "UnknownItemError",
]

BAD_KEY_CODES = frozenset({"invalid_api_key", "missing_api_key", "expired_api_key"})
BAD_KEY_MESSAGES = ("Incorrect API key", "Missing bearer", "No API key")
BAD_KEY_STATUSES = frozenset({401, 403})
BAD_KEY_CLOSE_CODE = 3000


class RealtimeError(Exception):
    """Base of everything this package raises or dispatches as `error`."""


class ConnectError(RealtimeError):
    """The connection could not be opened.

    Attributes:
        url: where to, without the key.
        status: HTTP status of the refused upgrade, or None when there was no HTTP answer.
    """

    def __init__(self, url: str, why: str, status: int | None = None) -> None:
        super().__init__(f'Could not connect to "{url}": {why}')
        self.url = url
        self.status = status


class ConnectionClosedError(RealtimeError):
    """The connection ended although this side did not ask for it.

    Attributes:
        code: WebSocket close code (1006 when the peer vanished without a close frame).
        reason: text of the close frame, often empty.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"connection closed with code {code}" + (f": {reason}" if reason else ""))
        self.code = code
        self.reason = reason


class RealtimeTimeoutError(RealtimeError, TimeoutError):
    """A wait ran out of its time.

    Attributes:
        waited_for: event or condition that did not come.
        timeout: seconds that were granted.
    """

    def __init__(self, waited_for: str, timeout: float) -> None:
        super().__init__(f"waited {timeout:g} s for {waited_for}, it did not come")
        self.waited_for = waited_for
        self.timeout = timeout


class NotConnectedError(RealtimeError):
    """Something was to be sent, and there is no open connection."""


class AlreadyConnectedError(RealtimeError):
    """connect() was called while a connection is open."""


class SendBufferFullError(RealtimeError):
    """The bytes waiting to be sent passed the hard limit: await the sends, or `drain()`.

    Attributes:
        buffered: bytes waiting.
        limit: the hard limit in bytes.
    """

    def __init__(self, buffered: int, limit: int) -> None:
        super().__init__(
            f"{buffered} bytes wait to be sent, the limit is {limit}: "
            "await what the sending methods return, or call drain(), to go at the network's pace"
        )
        self.buffered = buffered
        self.limit = limit


class ServerError(RealtimeError):
    """The server sent an `error` event (or refused the upgrade with such a body).

    Attributes:
        type, code, param: as on the wire, None when absent.
        message: the server's text.
        event_id: id of the client event that caused it, None when the server does not say.
        event: the whole event as it came.
    """

    def __init__(self, error: Mapping[str, Any], event: Mapping[str, Any] | None = None) -> None:
        self.message = str(error.get("message") or "the server reported an error without a message")
        self.type: str | None = error.get("type")
        self.code: str | None = error.get("code")
        self.param: str | None = error.get("param")
        self.event_id: str | None = error.get("event_id")
        self.event = event
        details = ", ".join(f"{k} {v}" for k, v in (("code", self.code), ("param", self.param)) if v)
        super().__init__(f"{self.message} ({details})" if details else self.message)

    @staticmethod
    def from_event(event: Mapping[str, Any]) -> ServerError:
        """Make a ServerError, or a BadKeyError when that is what it is, of an `error` event."""
        error = event.get("error")
        body: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": error}
        about_key = body.get("code") in BAD_KEY_CODES or any(
            text in str(body.get("message")) for text in BAD_KEY_MESSAGES
        )
        return (BadKeyError if about_key else ServerError)(body, event)


class BadKeyError(ServerError):
    """The server does not accept the API key (or there is none and it wants one)."""


class ConversationEventError(RealtimeError, ValueError):
    """An event that cannot be applied to the cache; the cache is as it was before.

    Attributes:
        event: the event that did not fit.
    """

    def __init__(self, message: str, event: object = None) -> None:
        super().__init__(message)
        self.event = event


class UnknownItemError(RealtimeError, LookupError):
    """No item with this id is in the conversation.

    Attributes:
        item_id: the id asked for.
    """

    def __init__(self, item_id: str) -> None:
        super().__init__(f'Could not find item "{item_id}" in the conversation')
        self.item_id = item_id


class ItemKindError(RealtimeError, ValueError):
    """The item exists, and the operation is for another kind of item."""


class ToolDefinitionError(RealtimeError, ValueError):
    """A tool that cannot be added or removed."""


class AudioTypeError(RealtimeError, TypeError):
    """Audio of a type that is not taken; the message names the types that are."""


class AudioValueError(RealtimeError, ValueError):
    """Audio of a good type with an impossible content: odd bytes, several channels, NaN."""


class CallbackError(RealtimeError):
    """A callback raised; the exception is `__cause__`. The loop goes on.

    Attributes:
        event_name: event that was being delivered.
        callback: the callback that raised.
    """

    def __init__(self, event_name: str, callback: object, error: BaseException) -> None:
        name = getattr(callback, "__qualname__", repr(callback))
        super().__init__(f'callback {name} for "{event_name}" raised {type(error).__name__}: {error}')
        self.event_name = event_name
        self.callback = callback
        self.__cause__ = error
