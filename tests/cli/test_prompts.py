from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

Cli = Callable[..., tuple[int, str, str]]


def test_a_prompt_is_written_listed_shown_and_deleted(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "greeter.txt"
    file.write_text("Greet {{name}}\nwarmly, whatever they say to you, and ask how their day was so far.\n")
    code, out, err = cli("prompts", "create", str(file), "--voice", "amy")
    prompt_id = out.strip()
    assert code == 0
    assert re.fullmatch(r"pmpt_[0-9a-f]{24}", prompt_id)
    assert err == f"Wrote version 1 of {prompt_id}.\n"
    file.write_text("Greet.")
    assert cli("prompts", "create", str(file), "--id", prompt_id)[2] == f"Wrote version 2 of {prompt_id}.\n"

    _, out, _ = cli("prompts", "list")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [[prompt_id, "1"], [prompt_id, "2"]]
    assert "amy          Greet {{name}} warmly, whatever they say to you, and ask ..." in out
    assert cli("prompts", "show", prompt_id) == (0, "Greet.\n", "")
    assert cli("prompts", "show", prompt_id, "--version", "1")[1].startswith("Greet {{name}}\nwarmly")

    assert cli("prompts", "delete", prompt_id) == (0, f"Deleted 2 versions of {prompt_id}.\n", "")
    code, _, err = cli("prompts", "show", prompt_id)
    assert (code, err) == (2, f"antiphon: there is no prompt {prompt_id!r} in project 'proj_default'\n")


def test_standard_input(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("Grüße".encode())))
    assert cli("prompts", "create", "-", "--id", "pmpt_hi")[:2] == (0, "pmpt_hi\n")
    assert cli("prompts", "show", "pmpt_hi")[1] == "Grüße\n"


def test_files_that_are_no_prompt(cli: Cli, tmp_path: Path) -> None:
    assert cli("prompts", "create", "nowhere.txt")[0::2] == (2, "antiphon: nowhere.txt: No such file or directory\n")
    (tmp_path / "latin").write_bytes("Grüße".encode("latin-1"))
    assert cli("prompts", "create", "latin")[0::2] == (2, "antiphon: latin: expected UTF-8 text, got byte 0xfc\n")
