from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import ConfigError
from antiphon.server.settings import Settings
from antiphon.server.settings_sources import fields_of, load_settings, markdown_table


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_later_sources_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, then variable, then flag; each leaves the others' settings alone."""
    file = write(tmp_path / "a.toml", "[server]\nport = 1001\nhost = '0.0.0.0'\ndrain_seconds = 3\n")
    monkeypatch.setenv("ANTIPHON_SERVER__PORT", "1002")
    monkeypatch.setenv("ANTIPHON_SERVER__HOST", "127.0.0.2")
    settings = load_settings(file, {"server": {"port": 1003, "host": None}, "log": {"level": None}})
    assert settings.server.port == 1003
    assert settings.server.host == "127.0.0.2"
    assert settings.server.drain_seconds == 3
    assert settings.log.level == "info"


def test_the_file_is_named_by_flag_then_variable_then_habit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().server.port == 7880
    write(tmp_path / "antiphon.toml", "server.port = 1")
    assert load_settings().server.port == 1
    monkeypatch.setenv("ANTIPHON_CONFIG", str(write(tmp_path / "other.toml", "server.port = 2")))
    assert load_settings().server.port == 2
    assert load_settings(write(tmp_path / "third.toml", "server.port = 3")).server.port == 3


def test_engines_are_listed_by_comma_and_tables_filled_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_ENGINES__LLM", "vllm, local")
    monkeypatch.setenv("ANTIPHON_ENGINES__OPENAI__VLLM__BASE_URL", "http://127.0.0.1:8000/v1")
    monkeypatch.setenv("ANTIPHON_ENGINES__SCRIPTED", '{"file": "x.toml"}')
    engines = load_settings(flags={"engines": {"tts": "scripted"}}).engines
    assert engines.llm == ("vllm", "local")
    assert engines.openai["vllm"].base_url == "http://127.0.0.1:8000/v1"
    assert engines.scripted == {"file": "x.toml"}
    assert engines.tts == ("scripted",)


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("ANTIPHON_SERVER__PROT", "unknown setting 'server.prot': did you mean 'server.port'"),
        ("ANTIPHON_SEVER__PORT", "unknown variable ANTIPHON_SEVER__PORT: .*'ANTIPHON_SERVER__PORT'"),
        ("ANTIPHON_PORT", "unknown variable ANTIPHON_PORT: did you mean 'ANTIPHON_SERVER__PORT'"),
        ("ANTIPHON_CONFG", "unknown variable ANTIPHON_CONFG: did you mean 'ANTIPHON_CONFIG'"),
    ],
)
def test_unknown_variables_name_the_nearest(variable: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigError, match=message):
        load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nprot = 1", "unknown setting 'server.prot': did you mean 'server.port'"),
        ("[serverr]\nport = 1", "unknown setting 'serverr': did you mean 'server'"),
        ("[limits]\nzzz = 1", "unknown setting 'limits.zzz': known are limits.audio_ahead_seconds, "),
        ("[server]\nport = 70000", "setting 'server.port': .*less than or equal to 65535, got 70000"),
        ("[server]\nport = 'x'", "setting 'server.port': .*valid integer.*, got 'x'"),
        ("[engines]\nllm = []", "setting 'engines.llm': .*at least 1"),
        ("[engines]\nllm = ['locl']", "'engines.llm' names the unknown engine 'locl': did you mean 'local'"),
        ("[log]\nlevel = 'loud'", "setting 'log.level': .*'debug', 'info', 'warning' or 'error', got 'loud'"),
        ("server = 3", "setting 'server': .*got 3"),
        ("[server\n", r"a\.toml is not a TOML file: .*line 1"),
        ("[engines.openai.local]\nmodel='x'", "'local' is the name of a built-in engine"),
    ],
)
def test_mistakes_in_the_file_are_explained(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(write(tmp_path / "a.toml", text))


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path / "a.toml", "[server]\nport = -1\nhots = 'x'\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_wrong_secret_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"engines\.openai\.x\.api_key") as caught:
        load_settings(write(tmp_path / "a.toml", "[engines.openai.x]\napi_key = 31415926"))
    assert "31415926" not in str(caught.value)


def test_a_missing_file_is_an_error_when_it_was_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no settings file"):
        load_settings(tmp_path / "missing.toml")


def test_json_that_is_none_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_ENGINES__OPENAI", "{")
    with pytest.raises(ConfigError, match=r"engines.*expected JSON"):
        load_settings()


def test_every_setting_says_what_it_means() -> None:
    rows = list(fields_of())
    assert len(rows) > 30
    assert [name for name, _, meaning in rows if not meaning.endswith((".", "`)"))] == []
    table = markdown_table().splitlines()
    assert len(table) == len(rows) + 2
    assert "| `server.port` | `ANTIPHON_SERVER__PORT` | `7880` |" in markdown_table()


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12))
def test_no_unknown_name_is_ever_accepted(name: str) -> None:
    if name in Settings.model_fields["server"].annotation.model_fields:  # type: ignore[union-attr]
        return
    with pytest.raises(ConfigError, match=f"unknown setting 'server.{name}'"):
        load_settings(flags={"server": {name: 1}})


def test_backchannels_are_listed_by_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "uh-huh" in load_settings().turn.backchannels
    monkeypatch.setenv("ANTIPHON_TURN__BACKCHANNELS", "genau, mhm")
    assert load_settings().turn.backchannels == {"genau", "mhm"}
