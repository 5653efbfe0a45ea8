from __future__ import annotations

import queue
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from antiphon.engines.local import wire
from antiphon.engines.local.options import LocalOptions
from antiphon.engines.local.worker import Worker
from antiphon.engines.ports import PCM

COMMAND = [sys.executable, "-P", "-m", "antiphon.engines.local.worker"]


def test_the_first_frame_must_start_it() -> None:
    done = subprocess.run(COMMAND, input=wire.frame(wire.Ping(1)), capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"its first frame must be Start" in done.stderr


def test_it_answers_pings_and_ends_with_its_input(tmp_path: Path) -> None:
    private_dir = tmp_path / "private"
    private_dir.mkdir()
    start = wire.Start(0, str(tmp_path), LocalOptions().as_dict(), str(private_dir))
    sent = wire.frame(start) + wire.frame(wire.Ping(7)) + wire.frame(wire.Ping(8))[:-1]
    done = subprocess.run(COMMAND, input=sent, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stdout == wire.frame(wire.Pong(0)) + wire.frame(wire.Pong(7, 0.0))
    assert done.stderr == b""
    assert not private_dir.exists(), "a server that was killed cannot sweep it"


@pytest.mark.models
def test_a_partial_is_not_queued_behind_other_speech(models_dir: Path, tmp_path: Path, beckett: PCM) -> None:
    replies: queue.Queue[wire.Reply] = queue.Queue()
    options = LocalOptions(threads=1).as_dict()
    worker = Worker(wire.Start(0, str(models_dir), options, str(tmp_path)), replies.put)
    speech = beckett.tobytes()
    worker.take(wire.Transcribe(1, speech))
    worker.take(wire.Transcribe(2, speech, partial=True))
    assert replies.get(timeout=60) == wire.Done(2)
    text = replies.get(timeout=60)
    assert isinstance(text, wire.Words)
    assert text.id == 1
    assert replies.get(timeout=60) == wire.Done(1)
    worker.take(wire.Cancel(1))
    worker.take(wire.Transcribe(3, speech, partial=True))
    text = replies.get(timeout=60)
    assert isinstance(text, wire.Words)
    assert "fail better" in text.text


@pytest.mark.models
def test_a_failure_in_a_model_is_told_and_the_next_request_works(
    models_dir: Path, tmp_path: Path, beckett: PCM, capfd: pytest.CaptureFixture[str]
) -> None:
    replies: queue.Queue[wire.Reply] = queue.Queue()
    worker = Worker(wire.Start(0, str(models_dir), LocalOptions(threads=1).as_dict(), str(tmp_path)), replies.put)
    worker.take(wire.Transcribe(1, b"odd"))
    failed = replies.get(timeout=60)
    assert isinstance(failed, wire.Failed)
    assert (failed.id, failed.kind) == (1, "bad_output")
    assert "multiple of element size" in failed.message
    assert "Traceback" in capfd.readouterr().err
    worker.take(wire.Transcribe(2, np.zeros(16_000, np.int16).tobytes()))
    assert replies.get(timeout=60) == wire.Words(2, "")


@pytest.mark.models
@pytest.mark.parametrize(("package", "engine"), [("piper", "tts"), ("xllamacpp", "llm")])
def test_a_package_that_is_not_installed_is_named(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, engine: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    replies: queue.Queue[wire.Reply] = queue.Queue()
    worker = Worker(wire.Start(0, str(models_dir), LocalOptions(threads=1).as_dict(), str(tmp_path)), replies.put)
    worker.take(wire.Load(1, engine))
    failed = replies.get(timeout=60)
    assert isinstance(failed, wire.Failed)
    assert failed.kind == "unavailable"
    assert package in failed.message
    assert "pip install 'antiphon[local]'" in failed.message


@pytest.mark.models
def test_it_speaks_in_windows_until_it_is_told_to_stop(models_dir: Path, tmp_path: Path) -> None:
    replies: queue.Queue[wire.Reply] = queue.Queue()
    worker = Worker(wire.Start(0, str(models_dir), LocalOptions(threads=1).as_dict(), str(tmp_path)), replies.put)
    worker.take(wire.Speak(1, "A rather long story. " * 100, "", 1.0))
    assert isinstance(replies.get(timeout=60), wire.Sound)
    worker.take(wire.Cancel(1))
    worker.take(wire.Speak(2, "Hello.", "", 0.0))
    while (reply := replies.get(timeout=60)).id == 1:
        assert isinstance(reply, wire.Sound), "a stopped speech has no end"
    while not isinstance(reply, wire.Done):
        assert isinstance(reply, wire.Sound)
        assert reply.id == 2
        reply = replies.get(timeout=60)
    assert reply.id == 2
