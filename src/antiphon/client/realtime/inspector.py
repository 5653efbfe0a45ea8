"""The inspector: a terminal screen to try a Realtime server and to see everything that happens."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import DataTable, Footer, Header, Input, Static

from antiphon.client.realtime.api import Closed
from antiphon.client.realtime.audio import read_wav
from antiphon.client.realtime.client import RealtimeClient, RealtimeEvent
from antiphon.client.realtime.conversation import RealtimeConversation
from antiphon.client.realtime.errors import ConversationEventError, RealtimeError
from antiphon.client.realtime.event_log import EventLog, LogRow, delays, event_level, load_events, summary
from antiphon.client.realtime.items import Item
from antiphon.client.realtime.microphone import Microphone
from antiphon.client.realtime.session import DEFAULT_VAD

W = TypeVar("W", bound=Widget)

CHUNK_SECONDS = 0.1
FLOOR_DB = -60.0
FALL_DB = 3.0
BAR_CELLS = 30
HELP = (
    "text sends a message · /wav FILE · /mic · /respond · /cancel · /delete ID · /vad · /ptt · "
    "/instructions TEXT · /raw JSON · /save FILE · /connect · /disconnect"
)


@dataclass(frozen=True, slots=True)
class InspectorOptions:
    """What the inspector begins with.

    Attributes:
        log: file that gets the log at the end (and with Ctrl-S); None for `realtime-log.jsonl` with Ctrl-S only.
        replay: a saved log to show instead of a connection.
        speed: how fast to replay or to stream a WAV: 1 is real time, 0 at once.
        wav: file to stream once connected.
        microphone: begin with the microphone on.
    """

    log: Path | None = None
    replay: Path | None = None
    speed: float = 1.0
    wav: Path | None = None
    microphone: bool = False


class LevelBar(Static):
    """A voice's level: jumps up with the audio, falls by itself.

    Attributes:
        level: what is shown, in dB of full scale.
        peak: the highest so far.
    """

    def __init__(self, label: str, id: str) -> None:
        super().__init__(id=id)
        self._label = label
        self.level = FLOOR_DB
        self.peak = FLOOR_DB

    def on_mount(self) -> None:
        """Begin to fall."""
        self.set_interval(0.1, self._fall)
        self.show(FLOOR_DB)

    def show(self, level: float) -> None:
        """Show a level in dB of full scale."""
        self.level = max(FLOOR_DB, level)
        self.peak = max(self.peak, self.level)
        cells = round(BAR_CELLS * (1 - self.level / FLOOR_DB))
        number = f"{level:5.0f} dB" if math.isfinite(level) and level > FLOOR_DB else "   silent"
        self.update(f"{self._label:<6}{'█' * cells}{'░' * (BAR_CELLS - cells)} {number}")

    def _fall(self) -> None:
        if self.level > FLOOR_DB:
            self.show(self.level - FALL_DB)


class EventScreen(ModalScreen[None]):
    """One event in full."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "dismiss", "Close")]
    DEFAULT_CSS = "EventScreen { align: center middle; } EventScreen VerticalScroll { width: 90%; height: 90%; }"

    def __init__(self, row: LogRow) -> None:
        super().__init__()
        self._row = row

    def compose(self) -> ComposeResult:
        """Show the last event of the row."""
        body = json.dumps(self._row.last.event, indent=2, ensure_ascii=False)
        with VerticalScroll():
            yield Static(Text(body if len(body) < 20_000 else body[:20_000] + "\n…"), id="event")


class Inspector(App[None]):
    """The screen.

    Args:
        client: what to inspect; it is connected when the screen opens. None for a replay.
        options: what to begin with.
    """

    TITLE = "antiphon inspect"
    CSS = """
    #events { width: 3fr; }
    #side { width: 2fr; border-left: solid $primary; }
    #talk { height: 1fr; padding: 0 1; }
    LevelBar { height: 1; padding: 0 1; }
    #status { height: 1; background: $boost; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save log"),
        Binding("f2", "microphone", "Microphone"),
        Binding("f3", "respond", "Respond"),
        Binding("f4", "cancel", "Interrupt"),
        Binding("ctrl+l", "clear_log", "Clear log"),
        Binding("ctrl+q", "quit", "Quit"),
    ]

    def __init__(self, client: RealtimeClient | None, options: InspectorOptions | None = None) -> None:
        super().__init__()
        self.client = client
        self.options = options or InspectorOptions()
        self.log_book = EventLog()
        self.conversation = client.conversation if client is not None else RealtimeConversation()
        self._microphone: Microphone | None = None
        self._commands: dict[str, Callable[[str], Awaitable[object]]] = {
            "wav": self._wav,
            "mic": self._toggle_microphone,
            "respond": self._respond,
            "cancel": self._cancel,
            "delete": self._delete,
            "vad": self._vad,
            "ptt": self._ptt,
            "instructions": self._instructions,
            "raw": self._raw,
            "save": self._save,
            "connect": self._connect,
            "disconnect": self._disconnect,
        }

    # ------------------------------------------------------------------ the screen

    def compose(self) -> ComposeResult:
        """Lay out: events, conversation and levels, input."""
        yield Header(show_clock=False)
        with Horizontal():
            table: DataTable[str] = DataTable(id="events", cursor_type="row", zebra_stripes=True)
            yield table
            with Vertical(id="side"):
                with VerticalScroll(id="talk"):
                    yield Static(id="conversation")
                yield LevelBar("You", id="level-client")
                yield LevelBar("Agent", id="level-server")
        yield Static(id="status")
        yield Input(placeholder=HELP, id="input")
        yield Footer()

    async def on_mount(self) -> None:
        """Connect, or begin to replay."""
        for label, key in (("time", "time"), ("", "source"), ("event", "type"), ("n", "count"), ("", "summary")):
            self._table.add_column(label, key=key)
        self._find("#input", Input).focus()
        if self.options.replay is not None:
            self.run_worker(self._replay(self.options.replay), group="replay")
        elif self.client is not None:
            self._listen(self.client)
            self.run_worker(self._begin(), group="connect")

    async def on_unmount(self) -> None:
        """Leave nothing open."""
        self._stop_microphone()
        if self.client is not None:
            await self.client.disconnect()
        if self.options.log is not None:
            self.log_book.save(self.options.log)

    @property
    def _table(self) -> DataTable[str]:
        return self._find("#events", DataTable)

    def status(self, text: str) -> None:
        """Show one line above the input."""
        self._find("#status", Static).update(Text(text))

    def show_event(self, entry: RealtimeEvent) -> None:
        """Add an event to the table and the level bars."""
        if not self.is_mounted_on_screen:
            return
        new = self.log_book.append(entry)
        row, key = self.log_book.rows[-1], str(len(self.log_book.rows))
        if new:
            arrow = "→" if entry.source == "client" else "←"
            following = self._table.cursor_row >= self._table.row_count - 1
            self._table.add_row(entry.time[11:23], arrow, row.type, "", summary(entry.event), key=key)
            if following:
                self._table.move_cursor(row=self._table.row_count - 1)
        else:
            self._table.update_cell(key, "count", str(row.count), update_width=True)
            self._table.update_cell(key, "summary", summary(entry.event))
        level = event_level(entry.event)
        if level is not None:
            self._find(f"#level-{entry.source}", LevelBar).show(level)

    @property
    def is_mounted_on_screen(self) -> bool:
        """Whether there is still something to show events on."""
        return self.is_running and bool(self.screen_stack) and bool(self.screen_stack[0].query("#events"))

    def _find(self, selector: str, kind: type[W]) -> W:
        # On the main screen, also while an event is shown over it.
        return self.screen_stack[0].query_one(selector, kind)

    def show_conversation(self) -> None:
        """Write the conversation anew."""
        if not self.is_mounted_on_screen:
            return
        text = Text("\n").join(_line(item) for item in self.conversation.get_items())
        panel = self._find("#conversation", Static)
        panel.update(text)
        self._find("#talk", VerticalScroll).scroll_end(animate=False)

    async def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Show the event in full."""
        await self.push_screen(EventScreen(self.log_book.rows[event.cursor_row]))

    # ------------------------------------------------------------------ the client

    def _listen(self, client: RealtimeClient) -> None:
        client.on("realtime.event", self.show_event)
        client.on("conversation.updated", lambda event: self.show_conversation())
        client.on("error", lambda error: self.status(f"error: {error}") if self.is_mounted_on_screen else None)
        client.on("close", self._connection_closed)
        client.on("reconnecting", lambda event: self.status(f"reconnecting, try {event.attempt}"))
        client.on("reconnected", lambda event: self.status(f"reconnected, {event.replayed} items replayed"))

    def _connection_closed(self, event: Closed) -> None:
        if self.is_mounted_on_screen:
            self.status(f"closed with code {event.code} {event.reason}".rstrip())

    async def _begin(self) -> None:
        await self._attempt(self._connect(""))
        if self.options.wav is not None and self.client is not None and self.client.is_connected():
            await self._attempt(self._wav(str(self.options.wav)))
        if self.options.microphone and self.client is not None and self.client.is_connected():
            await self._attempt(self._toggle_microphone(""))

    async def _attempt(self, action: Awaitable[object]) -> None:
        """Do something; what goes wrong is shown, and the screen lives on."""
        try:
            await action
        except (RealtimeError, OSError, ValueError, TypeError) as error:
            self.status(f"error: {error}")

    async def _replay(self, path: Path) -> None:
        try:
            events = load_events(path)
        except (RealtimeError, OSError) as error:
            self.status(f"error: {error}")
            return
        for delay, entry in zip(delays(events), events, strict=True):
            if self.options.speed > 0:
                await asyncio.sleep(delay / self.options.speed)
            self.show_event(entry)
            kind = str(entry.event.get("type"))
            if entry.source == "server" and self.conversation.handles(kind):
                try:
                    self.conversation.process_event(entry.event)
                except ConversationEventError as error:
                    self.status(f"error: {error}")
                self.show_conversation()
        self.status(f"replayed {len(events)} events of {path}")

    # ------------------------------------------------------------------ input

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Do what was typed."""
        text = event.value.strip()
        event.input.value = ""
        if not text:
            return
        if text.startswith("/"):
            name, _, argument = text[1:].partition(" ")
            command = self._commands.get(name)
            if command is None:
                self.status(f"expected one of /{', /'.join(self._commands)}, got /{name}")
                return
            # In a worker: a WAV takes its time, and the screen must not wait for it.
            self.run_worker(self._attempt(command(argument.strip())), group=name, exclusive=name == "wav")
        else:
            self.run_worker(self._attempt(self._say(text)))

    def _need_client(self) -> RealtimeClient:
        if self.client is None:
            raise RealtimeError("this is a replay: there is no connection to send on")
        return self.client

    async def _say(self, text: str) -> None:
        await self._need_client().send_user_message_content(text)

    async def _connect(self, _: str) -> None:
        client = self._need_client()
        self.status(f"connecting to {client.realtime.url}")
        await client.connect()
        self.status(f"connected to {client.realtime.url} ({client.realtime.dialect})")

    async def _disconnect(self, _: str) -> None:
        self._stop_microphone()
        await self._need_client().disconnect()
        self.show_conversation()

    async def _wav(self, path: str) -> None:
        client = self._need_client()
        samples, rate = read_wav(str(_path(path)))
        step = round(rate * CHUNK_SECONDS)
        self.status(f"streaming {path}, {samples.size / rate:.1f} s")
        for start in range(0, samples.size, step):
            await client.append_input_audio(samples[start : start + step], rate=rate)
            if self.options.speed > 0:
                await asyncio.sleep(CHUNK_SECONDS / self.options.speed)
        if client.get_turn_detection_type() is None:
            await client.create_response()
        self.status(f"streamed {path}")

    async def _toggle_microphone(self, device: str) -> None:
        client = self._need_client()
        if self._microphone is not None:
            self._stop_microphone()
            if client.get_turn_detection_type() is None:
                await client.create_response()
            self.status("microphone off")
            return

        def captured(audio: bytes) -> None:
            if client.is_connected():
                client.append_input_audio(audio)

        self._microphone = Microphone(captured, device or None)
        self.status("microphone on")

    def _stop_microphone(self) -> None:
        if self._microphone is not None:
            self._microphone.close()
            self._microphone = None

    async def _respond(self, _: str) -> None:
        await self._need_client().create_response()

    async def _cancel(self, _: str) -> None:
        await self._need_client().cancel_response()

    async def _delete(self, item_id: str) -> None:
        await self._need_client().delete_item(item_id)

    async def _vad(self, _: str) -> None:
        await self._need_client().update_session(turn_detection=DEFAULT_VAD)

    async def _ptt(self, _: str) -> None:
        await self._need_client().update_session(turn_detection=None)

    async def _instructions(self, text: str) -> None:
        await self._need_client().update_session(instructions=text)

    async def _raw(self, text: str) -> None:
        event = json.loads(text)
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise RealtimeError('expected a client event like {"type": "response.cancel"}')
        kind = event.pop("type")
        await self._need_client().realtime.send(kind, event)

    async def _save(self, path: str) -> None:
        target = _path(path or self.options.log or "realtime-log.jsonl")
        self.status(f"saved {self.log_book.save(target)} events to {target}")

    async def action_save(self) -> None:
        """Save the log."""
        await self._attempt(self._save(""))

    async def action_microphone(self) -> None:
        """Switch the microphone."""
        await self._attempt(self._toggle_microphone(""))

    async def action_respond(self) -> None:
        """Ask for a response."""
        await self._attempt(self._respond(""))

    async def action_cancel(self) -> None:
        """Cancel the response."""
        await self._attempt(self._cancel(""))

    def action_clear_log(self) -> None:
        """Forget the events so far."""
        self.log_book.clear()
        self._table.clear()


def _path(text: str | Path) -> Path:
    return Path(text).expanduser()


def _line(item: Item) -> Text:
    who = {"user": "You", "assistant": "Agent"}.get(item.role or "", item.role or item.type)
    formatted = item.formatted
    if formatted.tool is not None:
        said = f"{formatted.tool.name}({formatted.tool.arguments})"
    else:
        said = formatted.text or formatted.transcript.strip() or formatted.output or ""
    seconds = formatted.audio.size / formatted.sample_rate
    notes = [f"{seconds:.1f} s"] if seconds else []
    notes += [item.status or ""] if item.status != "completed" else []
    notes += ["cut"] if item.truncated_ms is not None else []
    line = Text(f"{who}: ", style="bold").append(said or "…", style="not bold")
    return line.append(f"  ({', '.join(notes)})" if notes else "", style="dim not bold")
