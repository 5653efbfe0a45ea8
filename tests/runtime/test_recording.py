from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.core import effects as fx
from antiphon.core import inputs as inp
from antiphon.core.config import Config
from antiphon.core.items import Message, Text, Tool, Usage
from antiphon.core.session import open_session, step
from antiphon.errors import InputFileError
from antiphon.runtime.recording import Recording, Step, digest, replay

CONFIG = Config(instructions="Be bright: ü", tools=(Tool("f", run="server"),))
INPUTS: tuple[inp.Input, ...] = (
    inp.AddItem(at=0.5, item=Message("", "user", (Text("hello"),))),
    inp.CreateResponse(at=0.6, metadata=(("a", "b"),)),
    inp.VoiceOn(at=0.7, sample=512),
    inp.TextGenerated(at=0.8, job="job_seed000003", delta="Hi."),
    inp.Synthesized(at=0.9, job="job_seed000004", samples=100, words=(inp.Word("Hi.", 90),)),
    inp.GenerationDone(at=1.0, job="job_seed000003", usage=Usage(1, 2, 3)),
    inp.Configure(at=1.1, config=replace(CONFIG, voice="x")),
    inp.Close(at=2.0, reason="done"),
)


def recorded(*inputs: inp.Input) -> Recording:
    state, effects = open_session(CONFIG, seed="seed0000", at=0.0)
    out = Recording.begin(CONFIG, "seed0000", 0.0, effects)
    for i in inputs:
        state, effects = step(state, i)
        out.add(i, effects)
    return out


def test_a_recording_survives_its_file_and_replays(tmp_path: Path) -> None:
    recording = recorded(*INPUTS)
    recording.write(tmp_path / "call.jsonl")
    again = Recording.read(tmp_path / "call.jsonl")
    assert again == recording
    assert replay(again) is None
    assert len((tmp_path / "call.jsonl").read_text().splitlines()) == 1 + len(INPUTS)


def test_the_first_difference_is_found() -> None:
    recording = recorded(*INPUTS)
    past = recording.steps[1]
    recording.steps[1] = Step(replace(past.input, at=0.61), past.digest, past.effects)
    assert replay(recording) is None, "the time alone changes no effect here"
    recording.steps[0] = Step(
        inp.AddItem(at=0.5, item=Message("", "user", (Text("goodbye"),))), recording.steps[0].digest, ()
    )
    difference = replay(recording)
    assert difference is not None and difference.index == 0
    assert isinstance(difference.input, inp.AddItem) and difference.got
    other = Recording(Config(), "seed0000", 0.0, recording.opened)
    opening = replay(other)
    assert opening is not None and opening.index == -1 and opening.input is None


def test_digests_tell_effects_apart() -> None:
    effects: list[tuple[fx.Effect, ...]] = [(), (fx.Duck(),), (fx.Pause(),), (fx.Cancel("a"),), (fx.Cancel("b"),)]
    assert len({digest(e) for e in effects}) == len(effects)
    with pytest.raises(TypeError, match="no part of the core's vocabulary"):
        digest((object(),))  # type: ignore[arg-type]


def test_digests_do_not_depend_on_the_process() -> None:
    program = (
        "from antiphon.core.config import Config\n"
        "from antiphon.core.session import open_session\n"
        "from antiphon.runtime.recording import digest\n"
        "print(digest(open_session(Config(), seed='seed0000', at=0.0)[1]))"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert outs == {digest(open_session(Config(), seed="seed0000", at=0.0)[1]) + "\n"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"RIFF....", "line 1"),
        (b"[]\n", "is not a recording"),
        (b'{"antiphon":99}\n', "is not a recording"),
        (b'{"antiphon":1,"seed":"s","at":0,"opened":"x"}\n', "line 1"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputFileError, match=words):
        Recording.read(tmp_path / "file")


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    recorded(*INPUTS).write(tmp_path / "call.jsonl")
    lines = (tmp_path / "call.jsonl").read_bytes().splitlines()
    for damage in (
        b"{",
        b'{"in":{"$":"Nonsense"},"out":"","effects":[]}',
        b'{"in":{"$":"Tick"},"out":"","effects":[]}',
    ):
        (tmp_path / "call.jsonl").write_bytes(b"\n".join([*lines[:3], damage, *lines[4:]]))
        with pytest.raises(InputFileError, match="line 4"):
            Recording.read(tmp_path / "call.jsonl")
    with pytest.raises(InputFileError, match="cannot read"):
        Recording.read(tmp_path / "missing")
