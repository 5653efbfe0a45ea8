"""The script that deterministic engines play: its types, and how it is read from a TOML file.

Every type can be built in Python as well; ``docs/engines.md`` describes the file. Seconds are floats, levels dBFS,
probabilities 0 to 1, ordinals count from 1. ``times`` is how often an entry may be used, 0 meaning without end.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from antiphon.engines.tables import from_table
from antiphon.errors import ConfigError

Fault = Literal["timeout", "unavailable", "crashed", "bad_output", "rejected", "hang", "rubbish", "truncated"]
"""How a scripted call goes wrong: an ``EngineError`` of that kind; ``hang``: never answers; ``rubbish``: answers what
the port does not allow; ``truncated``: the stream just ends."""

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Ordinal = Annotated[int, msgspec.Meta(ge=1)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ScriptError(ConfigError):
    """A script has an unknown key, a wrong type or a value out of range."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Utterance(_Entry, frozen=True):
    """What STT answers. With a condition it is a rule; without, the next in the sequence, used by one call."""

    text: str = ""
    partial: str | None = None
    """The answer to partial requests; ``text`` when absent."""
    delay: Seconds | None = None
    fail: Fault | None = None
    """Final requests only: a partial never fails."""
    min_seconds: Seconds | None = None
    max_seconds: Seconds | None = None
    min_dbfs: float | None = None
    max_dbfs: float | None = None
    call: Ordinal | None = None
    """Matches the engine's n-th final request."""
    times: Count = 0
    """How often a rule may be used; the sequence uses each of its entries once."""

    @property
    def conditional(self) -> bool:
        """Whether this is a rule rather than part of the sequence."""
        conditions = (self.min_seconds, self.max_seconds, self.min_dbfs, self.max_dbfs, self.call)
        return any(c is not None for c in conditions)


class SttScript(_Entry, frozen=True, rename={"utterances": "utterance"}):
    """Rules are tried first, then the sequence, then ``words`` spoken in tones, then ``default``."""

    utterances: tuple[Utterance, ...] = ()
    repeat: bool = False
    """Start the sequence anew when it is used up."""
    words: tuple[str, ...] = ()
    """A vocabulary of :class:`~antiphon.engines.scripted.tones.Tones`: the transcript is what the audio says in it."""
    default: str = ""
    delay: Seconds = 0.0


class Call(_Entry, frozen=True):
    """A tool call; ``arguments`` is a table, or JSON text (which need not be valid)."""

    name: str
    arguments: str | dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def json(self) -> str:
        """The arguments as the LLM would write them."""
        return self.arguments if isinstance(self.arguments, str) else msgspec.json.encode(self.arguments).decode()


class Rule(_Entry, frozen=True, rename={"calls": "call_tools"}):
    """An LLM answer and when it is given: all conditions that are set must hold.

    A rule without ``after_tool`` is not considered when the history ends with a tool's output. A rule whose tools were
    not all offered is passed over unless ``unoffered``.
    """

    match: str | None = None
    """Case-insensitive part of the last user text."""
    regex: str | None = None
    """Searched in the last user text, case-insensitive."""
    instructions: str | None = None
    """Case-insensitive part of the instructions."""
    turn: Ordinal | None = None
    """How many user messages the history holds."""
    call: Ordinal | None = None
    """The engine's n-th request."""
    after_tool: str | None = None
    """The history ends with the output of this tool, ``*`` for any."""
    output: str | None = None
    """Case-insensitive part of those outputs."""
    times: Count = 0
    text: str = ""
    """Words to say; ``{text}``, ``{output}`` and ``{turn}`` are filled in."""
    calls: tuple[Call, ...] = ()
    unoffered: bool = False
    delay: Seconds | None = None
    token_delay: Seconds | None = None
    fail: Fault | None = None
    after: Count = 0
    """Tokens given before it fails."""
    finish: Literal["stop", "length", "content_filter"] = "stop"

    def __post_init__(self) -> None:
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"regex {self.regex!r} is not a regular expression: {error}") from error


class LlmScript(_Entry, frozen=True, rename={"rules": "rule"}):
    """The first rule that matches answers; without one ``default`` does (``after_tool`` to a tool's output)."""

    rules: tuple[Rule, ...] = ()
    default: str = "You said: {text}"
    after_tool: str = "The tool says: {output}"
    delay: Seconds = 0.0
    """Before the first token."""
    token_delay: Seconds = 0.0
    """Before each further token; a token is a word with the space after it, or a piece of a call's arguments."""


class Clause(_Entry, frozen=True):
    """How one TTS request differs from the rest: the first that matches (all conditions set must hold)."""

    match: str | None = None
    """Case-insensitive part of the text."""
    call: Ordinal | None = None
    """The engine's n-th request."""
    times: Count = 0
    delay: Seconds | None = None
    chunk_delay: Seconds | None = None
    fail: Fault | None = None
    after: Seconds = 0.0
    """Seconds of audio given before it fails."""


class TtsScript(_Entry, frozen=True, rename={"rules": "rule"}):
    """Every character of the text takes ``1 / chars_per_second`` of a sine tone."""

    rules: tuple[Clause, ...] = ()
    chars_per_second: Annotated[float, msgspec.Meta(gt=0)] = 15.0
    frequency: Annotated[int, msgspec.Meta(ge=20, le=11_000)] = 220
    """Hz, whole, of the default voice."""
    voices: dict[str, Annotated[int, msgspec.Meta(ge=20, le=11_000)]] = {}
    """Further voices: name to frequency."""
    dbfs: Annotated[float, msgspec.Meta(ge=-90, le=0)] = -20.0
    """RMS level of the tone."""
    chunk: Annotated[float, msgspec.Meta(ge=0.001)] = 0.2
    """Seconds of audio a chunk."""
    delay: Seconds = 0.0
    """Before the first chunk."""
    chunk_delay: Seconds = 0.0
    """Before each further chunk."""
    words: bool = True
    """Whether word timings are given."""


class VadScript(_Entry, frozen=True):
    """Energy decides: a frame at or above ``dbfs`` (RMS) is speech."""

    dbfs: float = -45.0


class TurnScript(_Entry, frozen=True):
    """Probabilities in order, then ``default`` for ever."""

    probabilities: tuple[Probability, ...] = ()
    default: Probability = 1.0
    delay: Seconds = 0.0


class Script(_Entry, frozen=True):
    """All five engines' parts."""

    stt: SttScript = SttScript()
    llm: LlmScript = LlmScript()
    tts: TtsScript = TtsScript()
    vad: VadScript = VadScript()
    turn: TurnScript = TurnScript()


def parse_script(table: Mapping[str, Any], source: str = "script") -> Script:
    """Check a table, as TOML gives it, and make it a script.

    Raises:
        ScriptError: names the place in the table, and the nearest known key for an unknown one.
    """
    return from_table(table, Script, source, keys=_known_keys(), error=ScriptError)


def load_script(path: Path) -> Script:
    """Read a script file.

    Raises:
        ScriptError: it cannot be read, is not TOML, or :func:`parse_script` refuses it.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScriptError(f"cannot read the script {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScriptError(f"the script {path} is not TOML: {error}") from error
    return parse_script(table, str(path))


def default_script() -> Script:
    """A small talkative agent that asks ``get_weather`` when it is offered: what plays when no file is named."""
    text = (resources.files(__package__) / "default.toml").read_text(encoding="utf-8")
    return parse_script(tomllib.loads(text), "the built-in script")


def _known_keys() -> Iterator[str]:
    for struct in (Script, SttScript, Utterance, LlmScript, Rule, Call, TtsScript, Clause, VadScript, TurnScript):
        yield from struct.__struct_encode_fields__
