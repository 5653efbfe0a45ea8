"""Event sequences as the contract gives them, per dialect, and a WebSocket server that plays them."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

Event = dict[str, Any]

CODE_BAD_KEY = 3000
SECOND = b"\x01\x02" * 24_000


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Wire:
    """Builds the events of one dialect, with ids of its own."""

    def __init__(self, dialect: str = "ga") -> None:
        self.dialect = dialect
        self._numbers = itertools.count(1)

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers)}"

    def event(self, event_type: str, **fields: Any) -> Event:
        return {"event_id": self.new_id("event"), "type": event_type, **fields}

    def name(self, ga: str) -> str:
        """The dialect's name of a streaming event, from the GA name."""
        return ga if self.dialect == "ga" else ga.replace("output_text", "text").replace("output_audio", "audio")

    @property
    def text_part(self) -> str:
        return "output_text" if self.dialect == "ga" else "text"

    @property
    def audio_part(self) -> str:
        return "output_audio" if self.dialect == "ga" else "audio"

    def session(self, kind: str = "created", **fields: Any) -> Event:
        session: Event = {"id": "sess_1", "object": "realtime.session", **fields}
        if self.dialect == "ga":
            session["type"] = "realtime"
        return self.event(f"session.{kind}", session=session)

    def item(self, item: Event, previous: str | None = None) -> list[Event]:
        """An item that is complete at once (user, system, tool output)."""
        item = {"object": "realtime.item", "status": "completed", **item}
        item.setdefault("id", self.new_id("item"))
        if self.dialect == "beta":
            return [self.event("conversation.item.created", item=item, previous_item_id=previous)]
        return [
            self.event("conversation.item.added", item=item, previous_item_id=previous),
            self.event("conversation.item.done", item=item, previous_item_id=previous),
        ]

    def user_text(self, text: str, item_id: str = "item_user", previous: str | None = None) -> list[Event]:
        content = [{"type": "input_text", "text": text}]
        return self.item({"id": item_id, "type": "message", "role": "user", "content": content}, previous)

    def user_audio(self, item_id: str = "item_user", transcript: str | None = None) -> list[Event]:
        content = [{"type": "input_audio", "transcript": transcript}]
        return self.item({"id": item_id, "type": "message", "role": "user", "content": content})

    def transcribed(self, item_id: str, transcript: str) -> Event:
        return self.event(
            "conversation.item.input_audio_transcription.completed",
            item_id=item_id,
            content_index=0,
            transcript=transcript,
            usage={"type": "duration", "seconds": 1},
        )

    # -------------------------------------------------------------- responses

    def response_created(self, response_id: str = "resp_1", *, out_of_band: bool = False) -> Event:
        response: Event = {
            "id": response_id,
            "object": "realtime.response",
            "status": "in_progress",
            "output": [],
            "conversation_id": None if out_of_band else "conv_1",
        }
        return self.event("response.created", response=response)

    def response_done(self, response_id: str = "resp_1", status: str = "completed", *items: Event) -> Event:
        response = {"id": response_id, "object": "realtime.response", "status": status, "output": list(items)}
        return self.event("response.done", response=response)

    def start(
        self, item: Event, response_id: str = "resp_1", *, in_conversation: bool = True, previous: str | None = None
    ) -> list[Event]:
        """output_item.added, then the item in progress."""
        item = {"object": "realtime.item", "status": "in_progress", **item}
        events = [self.event("response.output_item.added", response_id=response_id, output_index=0, item=item)]
        if in_conversation:
            name = "conversation.item.added" if self.dialect == "ga" else "conversation.item.created"
            events.append(self.event(name, item=item, previous_item_id=previous))
        return events

    def finish(
        self, item: Event, response_id: str = "resp_1", *, status: str = "completed", in_conversation: bool = True
    ) -> list[Event]:
        """The item's end: conversation.item.done (GA), response.output_item.done."""
        item = {"object": "realtime.item", **item, "status": status}
        events = []
        if self.dialect == "ga" and in_conversation:
            events.append(self.event("conversation.item.done", item=item, previous_item_id=None))
        events.append(self.event("response.output_item.done", response_id=response_id, output_index=0, item=item))
        return events

    def part_event(self, ga_name: str, item_id: str, response_id: str, **fields: Any) -> Event:
        return self.event(
            self.name(ga_name),
            item_id=item_id,
            response_id=response_id,
            output_index=0,
            content_index=0,
            **fields,
        )

    def text_stream(self, item_id: str, response_id: str, *words: str) -> list[Event]:
        def part(text: str) -> Event:
            return {"type": "text", "text": text}

        return [
            self.part_event("response.content_part.added", item_id, response_id, part=part("")),
            *(self.part_event("response.output_text.delta", item_id, response_id, delta=word) for word in words),
            self.part_event("response.output_text.done", item_id, response_id, text="".join(words)),
            self.part_event("response.content_part.done", item_id, response_id, part=part("".join(words))),
        ]

    def audio_stream(self, item_id: str, response_id: str, audio: bytes, *words: str) -> list[Event]:
        part = {"type": "audio", "transcript": ""}
        events = [self.part_event("response.content_part.added", item_id, response_id, part=part)]
        size = 2 * max(1, len(audio) // 2 // max(1, len(words)))
        for index, word in enumerate(words):
            end = len(audio) if index == len(words) - 1 else (index + 1) * size
            chunk = audio[index * size : end]
            events += [
                self.part_event("response.output_audio_transcript.delta", item_id, response_id, delta=word),
                self.part_event("response.output_audio.delta", item_id, response_id, delta=b64(chunk)),
            ]
        return [
            *events,
            self.part_event("response.output_audio.done", item_id, response_id),
            self.part_event("response.output_audio_transcript.done", item_id, response_id, transcript="".join(words)),
            self.part_event(
                "response.content_part.done",
                item_id,
                response_id,
                part={"type": "audio", "transcript": "".join(words)},
            ),
        ]

    def text_turn(self, *words: str, item_id: str = "item_text", response_id: str = "resp_1") -> list[Event]:
        message = {"id": item_id, "type": "message", "role": "assistant"}
        final = {**message, "content": [{"type": self.text_part, "text": "".join(words)}]}
        return [
            self.response_created(response_id),
            self.event("rate_limits.updated", rate_limits=[]),
            *self.start({**message, "content": []}, response_id),
            *self.text_stream(item_id, response_id, *words),
            *self.finish(final, response_id),
            self.response_done(response_id, "completed", final),
        ]

    def audio_turn(
        self, *words: str, audio: bytes = SECOND, item_id: str = "item_audio", response_id: str = "resp_1"
    ) -> list[Event]:
        message = {"id": item_id, "type": "message", "role": "assistant"}
        final = {**message, "content": [{"type": self.audio_part, "transcript": "".join(words)}]}
        return [
            self.response_created(response_id),
            *self.start({**message, "content": []}, response_id),
            *self.audio_stream(item_id, response_id, audio, *words),
            *self.finish(final, response_id),
            self.response_done(response_id, "completed", final),
        ]

    def tool_turn(
        self,
        name: str,
        *pieces: str,
        call_id: str = "call_1",
        item_id: str = "item_call",
        response_id: str = "resp_1",
        status: str = "completed",
    ) -> list[Event]:
        call = {"id": item_id, "type": "function_call", "name": name, "call_id": call_id}
        arguments = "".join(pieces)
        ids = {"response_id": response_id, "item_id": item_id, "output_index": 0, "call_id": call_id}
        return [
            self.response_created(response_id),
            *self.start({**call, "arguments": ""}, response_id),
            *(self.event("response.function_call_arguments.delta", **ids, delta=piece) for piece in pieces),
            self.event("response.function_call_arguments.done", **ids, name=name, arguments=arguments),
            *self.finish({**call, "arguments": arguments}, response_id),
            self.response_done(response_id, status),
        ]

    def error(self, message: str, code: str | None = None, event_id: str | None = None) -> Event:
        error = {
            "type": "invalid_request_error",
            "code": code,
            "message": message,
            "param": None,
            "event_id": event_id,
        }
        return self.event("error", error=error)


class Peer:
    """One connection of the scripted server."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def send(self, *events: Event) -> None:
        for event in events:
            await self.socket.send(json.dumps(event))


Handler = Callable[["ScriptedServer", Peer, Event], Awaitable[None]]


class ScriptedServer:
    """Speaks one dialect: session and item events by the contract, and for each response.create the next script.

    `answers` holds event sequences; without one a response.create is only recorded. `received` has every client event,
    `arrived` is notified with each.
    """

    def __init__(self, wire: Wire, key: str | None = None) -> None:
        self.wire = wire
        self.key = key
        self.answers: deque[list[Event]] = deque()
        self.received: list[Event] = []
        self.peers: list[Peer] = []
        self.requests: list[Any] = []
        self.subprotocols: list[str | None] = []
        self.handlers: dict[str, Handler] = {}
        self.greet = True
        self.arrived = asyncio.Condition()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        port = next(iter(self._server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}/v1/realtime"

    @property
    def types(self) -> list[str]:
        return [str(event["type"]) for event in self.received]

    def sent(self, event_type: str) -> list[Event]:
        return [event for event in self.received if event["type"] == event_type]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was received (or who came) fulfils the condition."""
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(condition)

    async def until_received(self, event_type: str, count: int = 1) -> Event:
        await self.until(lambda: len(self.sent(event_type)) >= count)
        return self.sent(event_type)[count - 1]

    async def send(self, *events: Event) -> None:
        await self.peers[-1].send(*events)

    async def __aenter__(self) -> ScriptedServer:
        self._server = await serve(
            self._connection,
            "127.0.0.1",
            0,
            max_size=2**26,
            compression=None,
            select_subprotocol=self._select_subprotocol,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @staticmethod
    def _select_subprotocol(_: ServerConnection, offered: Any) -> Subprotocol | None:
        return Subprotocol("realtime") if "realtime" in offered else None

    def _shown_key(self, socket: ServerConnection) -> str | None:
        assert socket.request is not None
        headers = socket.request.headers
        bearer = headers.get("Authorization", "").removeprefix("Bearer ")
        offered = [entry.strip() for entry in headers.get("Sec-WebSocket-Protocol", "").split(",")]
        prefix = "openai-insecure-api-key."
        in_protocol: Iterator[str] = (entry.removeprefix(prefix) for entry in offered if entry.startswith(prefix))
        return bearer or next(in_protocol, None)

    async def _connection(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self.requests.append(socket.request)
        self.subprotocols.append(socket.subprotocol)
        self.peers.append(peer)
        async with self.arrived:
            self.arrived.notify_all()
        try:
            if self.key is not None and self._shown_key(socket) != self.key:
                await peer.send(self.wire.error("Incorrect API key provided: sk-xx.", "invalid_api_key"))
                await socket.close(CODE_BAD_KEY, "invalid_request_error.invalid_api_key")
                return
            if self.greet:
                await peer.send(self.wire.session())
            async for message in socket:
                await self._received(peer, json.loads(message))
        except ConnectionClosed:
            return

    async def _received(self, peer: Peer, event: Event) -> None:
        async with self.arrived:
            self.received.append(event)
            self.arrived.notify_all()
        handler = self.handlers.get(str(event["type"]))
        if handler is not None:
            await handler(self, peer, event)
        elif event["type"] == "session.update":
            await peer.send(self.wire.session("updated", **event["session"]))
        elif event["type"] == "conversation.item.create":
            item = {**event["item"]}
            item["content"] = [
                {key: value for key, value in part.items() if key != "audio"} for part in item.get("content", [])
            ]
            for part in item["content"]:
                if part["type"] == "input_audio":
                    part.setdefault("transcript", None)
            if item["type"] != "message":
                del item["content"]
            await peer.send(*self.wire.item(item))
        elif event["type"] == "input_audio_buffer.commit":
            item_id = self.wire.new_id("item")
            await peer.send(
                self.wire.event("input_audio_buffer.committed", item_id=item_id, previous_item_id=None),
                *self.wire.user_audio(item_id),
            )
        elif event["type"] == "response.create" and self.answers:
            await peer.send(*self.answers.popleft())
        elif event["type"] == "conversation.item.delete":
            await peer.send(self.wire.event("conversation.item.deleted", item_id=event["item_id"]))
        elif event["type"] == "conversation.item.truncate":
            fields = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
            await peer.send(self.wire.event("conversation.item.truncated", **fields))


class ThreadedServer:
    """A ScriptedServer on a loop of its own."""

    def __init__(self, wire: Wire) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.script = self.run(self._start(wire))

    async def _start(self, wire: Wire) -> ScriptedServer:
        return await ScriptedServer(wire).__aenter__()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=20)

    def stop(self) -> None:
        self.run(self.script.__aexit__())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
