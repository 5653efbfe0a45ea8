"""A client of the OpenAI Realtime API, the Python twin of OpenAI's reference client. Usable alone.

```python
async with RealtimeClient(url="ws://localhost:8000/v1/realtime", api_key=key) as client:
    client.update_session(instructions="You are a great, upbeat friend.")
    client.send_user_message_content("How are you?")
    item = await client.wait_for_next_completed_item()
```
"""

from __future__ import annotations

from antiphon.client.realtime.api import Closed, RealtimeAPI, Reconnecting
from antiphon.client.realtime.audio import StreamResampler, to_pcm16
from antiphon.client.realtime.client import (
    ConversationInterrupted,
    ConversationUpdated,
    ItemEvent,
    RealtimeClient,
    RealtimeEvent,
    Reconnected,
)
from antiphon.client.realtime.connection import Reconnect
from antiphon.client.realtime.conversation import ConversationChange, RealtimeConversation
from antiphon.client.realtime.errors import (
    AlreadyConnectedError,
    AudioTypeError,
    AudioValueError,
    BadKeyError,
    CallbackError,
    ConnectError,
    ConnectionClosedError,
    ConversationEventError,
    ItemKindError,
    NotConnectedError,
    RealtimeError,
    RealtimeTimeoutError,
    SendBufferFullError,
    ServerError,
    ToolDefinitionError,
    UnknownItemError,
)
from antiphon.client.realtime.events import RealtimeEventHandler
from antiphon.client.realtime.items import Delta, Formatted, Item, Response, Tool
from antiphon.client.realtime.models import ServerEvent, typed_event
from antiphon.client.realtime.session import DEFAULT_VAD, Dialect
from antiphon.client.realtime.stream import EventStream
from antiphon.client.realtime.sync import SyncRealtimeClient
from antiphon.client.realtime.utils import Sent

__all__ = [
    "DEFAULT_VAD",
    "AlreadyConnectedError",
    "AudioTypeError",
    "AudioValueError",
    "BadKeyError",
    "CallbackError",
    "Closed",
    "ConnectError",
    "ConnectionClosedError",
    "ConversationChange",
    "ConversationEventError",
    "ConversationInterrupted",
    "ConversationUpdated",
    "Delta",
    "Dialect",
    "EventStream",
    "Formatted",
    "Item",
    "ItemEvent",
    "ItemKindError",
    "NotConnectedError",
    "RealtimeAPI",
    "RealtimeClient",
    "RealtimeConversation",
    "RealtimeError",
    "RealtimeEvent",
    "RealtimeEventHandler",
    "RealtimeTimeoutError",
    "Reconnect",
    "Reconnected",
    "Reconnecting",
    "Response",
    "SendBufferFullError",
    "Sent",
    "ServerError",
    "ServerEvent",
    "StreamResampler",
    "SyncRealtimeClient",
    "Tool",
    "ToolDefinitionError",
    "UnknownItemError",
    "to_pcm16",
    "typed_event",
]
