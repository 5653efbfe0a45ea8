from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.engines.scripted import (
    Call,
    Clause,
    LlmScript,
    Rule,
    Script,
    ScriptError,
    SttScript,
    TtsScript,
    TurnScript,
    Utterance,
    VadScript,
    default_script,
    load_script,
    parse_script,
)
from antiphon.errors import ConfigError

FILE = """
[stt]
delay = 0.1
[[stt.utterance]]
text = "hello"
[[stt.utterance]]
max_seconds = 0.5
text = "stop"

[llm]
default = "echo"
[[llm.rule]]
match = "weather"
call_tools = [{ name = "get_weather", arguments = { city = "Paris" } }]
[[llm.rule]]
after_tool = "get_weather"
text = "sunny"

[tts]
frequency = 330
voices = { high = 440 }
[[tts.rule]]
call = 3
fail = "crashed"
after = 0.5

[vad]
dbfs = -30

[turn]
probabilities = [0.1, 1]
"""


def test_a_file_says_what_objects_say(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text(FILE)
    assert load_script(path) == Script(
        stt=SttScript(delay=0.1, utterances=(Utterance(text="hello"), Utterance(max_seconds=0.5, text="stop"))),
        llm=LlmScript(
            default="echo",
            rules=(
                Rule(match="weather", calls=(Call(name="get_weather", arguments={"city": "Paris"}),)),
                Rule(after_tool="get_weather", text="sunny"),
            ),
        ),
        tts=TtsScript(frequency=330, voices={"high": 440}, rules=(Clause(call=3, fail="crashed", after=0.5),)),
        vad=VadScript(dbfs=-30),
        turn=TurnScript(probabilities=(0.1, 1)),
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"lm": {}}, r"unknown field `lm` \(did you mean `llm`\?\)"),
        ({"llm": {"rule": [{"macth": "x"}]}}, r"unknown field `macth` - at `\$\.llm\.rule\[0\]` .*`match`"),
        ({"llm": {"rule": [{"zzzzzz": "x"}]}}, r"unknown field `zzzzzz` - at `\$\.llm\.rule\[0\]`$"),
        ({"llm": {"rule": [{"regex": "("}]}}, r"not a regular expression.*rule\[0\]"),
        ({"llm": {"rule": [{"fail": "explode"}]}}, r"Invalid enum value 'explode' - at `\$\.llm\.rule\[0\]\.fail`"),
        ({"stt": {"delay": -1}}, r">= 0.*\$\.stt\.delay"),
        ({"tts": {"frequency": "high"}}, r"Expected `int`.*\$\.tts\.frequency"),
        ({"turn": {"probabilities": [1.5]}}, r"<= 1"),
    ],
)
def test_what_is_wrong_and_where(table: dict[str, object], message: str) -> None:
    with pytest.raises(ScriptError, match=message) as caught:
        parse_script(table, "here")
    assert str(caught.value).startswith("here: ")
    assert isinstance(caught.value, ConfigError)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"cannot read the script .*missing\.toml: No such file"):
        load_script(tmp_path / "missing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[stt\n")
    with pytest.raises(ScriptError, match=r"broken\.toml is not TOML"):
        load_script(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(ScriptError, match=r"broken\.toml is not TOML"):
        load_script(broken)


def test_the_built_in_script_is_sound() -> None:
    script = default_script()
    assert script.stt.repeat
    assert any(call.name == "get_weather" for rule in script.llm.rules for call in rule.calls)
