from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable

import pytest

from antiphon.cli.app import COMMANDS

Cli = Callable[..., tuple[int, str, str]]


def test_help_lists_every_installed_command_with_what_it_does(cli: Cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    listed = {line.split()[0]: line.split()[1:] for line in out.partition("Commands:")[2].splitlines() if line}
    installed = [name for name in COMMANDS if importlib.util.find_spec(f"antiphon.cli.{name}") is not None]
    assert list(listed) == installed
    assert {"serve", "keys", "settings", "doctor", "version"} <= set(installed)
    assert all(listed.values())


@pytest.mark.parametrize("name", [name for name in COMMANDS if importlib.util.find_spec(f"antiphon.cli.{name}")])
def test_every_command_has_help(cli: Cli, name: str) -> None:
    code, out, _ = cli(name, "--help")
    assert code == 0
    assert f"antiphon {name}" in out


def test_no_arguments_show_the_help(cli: Cli) -> None:
    code, out, err = cli()
    assert code == 2
    assert "Commands:" in out + err


def test_an_unknown_command_is_a_wrong_call(cli: Cli) -> None:
    code, _, err = cli("sreve")
    assert code == 2
    assert "No such command 'sreve'" in err


def test_an_expected_error_is_a_message_not_a_traceback(cli: Cli) -> None:
    code, out, err = cli("keys", "list", "--config", "missing.toml")
    assert (code, out) == (2, "")
    assert err == ("antiphon: there is no settings file missing.toml: name one with --config or ANTIPHON_CONFIG\n")


def test_a_traceback_is_there_for_the_asking(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from antiphon.errors import ConfigError

    monkeypatch.setenv("ANTIPHON_TRACEBACK", "1")
    with pytest.raises(ConfigError, match="no settings file"):
        cli("keys", "list", "--config", "missing.toml")


def test_version(cli: Cli) -> None:
    code, out, _ = cli("version")
    assert code == 0
    assert out.startswith("antiphon 0.1.0 (Python 3.")


@pytest.mark.parametrize("call", [["version"], ["keys", "--help"]])
def test_a_command_does_not_pay_for_the_others(call: list[str]) -> None:
    code = (
        "import sys\n"
        "from antiphon.cli.app import run\n"
        f"run({call!r})\n"
        "heavy = {'fastapi', 'sqlalchemy', 'openai', 'onnxruntime', 'numpy', 'alembic', 'mcp', 'matplotlib'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
