from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.cli.app import run
from antiphon.core.config import Config
from antiphon.core.inputs import Close, CreateResponse, TextGenerated
from antiphon.core.session import open_session, step
from antiphon.runtime.recording import Recording


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    state, done = open_session(Config(), seed="0123456789", at=0.0)
    recording = Recording.begin(Config(), "0123456789", 0.0, done)
    for given in (CreateResponse(at=1.0), TextGenerated(at=1.5, job="job_none", delta="Hi"), Close(at=2.0)):
        state, done = step(state, given)
        recording.add(given, done)
    path = tmp_path / "session.jsonl"
    recording.write(path)
    return path


def test_the_same_effects(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay", str(recorded)]) == 0
    assert "3 inputs over 2.0 s, every effect the same" in capsys.readouterr().out


def alter(path: Path, line: int, **changes: object) -> None:
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    lines[line - 1].update(changes)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in lines))


def test_the_first_difference_is_told(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alter(recorded, 3, out="0" * 16, effects=["Duck"])
    assert run(["replay", str(recorded)]) == 1
    told = capsys.readouterr().err
    assert "line 3: input 2 of 3, TextGenerated at 1.500 s" in told
    assert "expected Duck" in told
    assert "got      none" in told


def test_a_difference_in_contents_says_so(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alter(recorded, 2, out="0" * 16)
    assert run(["replay", str(recorded)]) == 1
    told = capsys.readouterr().err
    assert "the same names: their contents differ" in told
    assert "ResponseStarted" in told


def test_a_difference_at_the_opening(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alter(recorded, 1, opened="0" * 16)
    assert run(["replay", str(recorded)]) == 1
    assert "opening the session already has other effects" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), ("", "is empty"), ('{"a": 1}\n', "is not a recording"), ("nonsense\n", "line 1")],
)
def test_what_is_no_recording(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "session.jsonl"
    if content is not None:
        path.write_text(content)
    assert run(["replay", str(path)]) == 2
    assert message in capsys.readouterr().err
