"""Engines that fail under a running server, and starts that cannot be: seen from outside."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.engines.local.catalogue import CATALOGUE
from antiphon.engines.local.models import default_models_dir, state

from ..protocols.openai.attacked import SCRIPTED, Target, alive, attacked, call, children_of


def models_dir() -> Path:
    given = os.environ.get("ANTIPHON_DATA__MODELS_DIR")
    directory = Path(given) if given else default_models_dir()
    if any(state(directory, model) != "ready" for model in CATALOGUE):
        pytest.skip(f"the models are not in {directory}: run 'antiphon models fetch'")
    return directory


ENDED = {"failed", "incomplete"}
FAULTS: tuple[tuple[str, str, set[str]], ...] = (
    ("llm", 'fail = "unavailable"', {"failed"}),
    ("llm", 'fail = "crashed"\nafter = 3', ENDED),
    ("llm", 'fail = "rubbish"', {"failed"}),
    ("llm", 'fail = "truncated"\nafter = 3', ENDED),
    ("llm", 'fail = "hang"', {"failed"}),
    ("llm", 'fail = "hang"\nafter = 3', ENDED),
    ("tts", 'fail = "unavailable"', {"failed"}),
    ("tts", 'fail = "crashed"\nafter = 0.2', ENDED),
    ("tts", 'fail = "rubbish"', {"failed"}),
    ("tts", 'fail = "truncated"\nafter = 0.2', {"completed"}),  # no TTS tells its end: a short voice is a short voice
    ("tts", 'fail = "hang"', {"failed"}),
    ("tts", 'fail = "hang"\nafter = 0.2', ENDED),
)


def trouble(n: int) -> str:
    """The word that brings a fault about."""
    return f"trouble-{chr(97 + n)}"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server whose engines fail in a way of its own for each of the words."""
    directory = tmp_path_factory.mktemp("faults")
    script = '[llm]\ndefault = "You said {text}"\n'
    for n, (role, fault, _) in enumerate(FAULTS):
        text = 'text = "that is a thing to talk about"\n' if role == "llm" else ""
        script += f'[[{role}.rule]]\nmatch = "{trouble(n)}"\n{text}{fault}\n'
    (directory / "script.toml").write_text(script)
    (directory / "antiphon.toml").write_text(
        '[engines.scripted]\nfile = "script.toml"\nanswer_timeout = 0.3\nchunk_timeout = 0.3\nretries = 0\n'
    )
    with attacked(directory, "--config", "antiphon.toml") as target:
        yield target
        assert target.reaches("antiphon_sessions_active", 0)


@pytest.mark.parametrize("n", range(len(FAULTS)), ids=lambda n: " ".join(FAULTS[n][:2]).replace("\n", " "))
async def test_an_engine_at_fault_ends_the_response_once_and_the_session_lives(faulty: Target, n: int) -> None:
    async with call(faulty) as caller:
        answer = await caller.answer(trouble(n))
        assert answer["status"] in FAULTS[n][2]
        if answer["status"] == "failed":
            assert answer["status_details"]["error"]["type"]
        assert await caller.lives()
        assert (await caller.answer("all good?"))["status"] == "completed"
        told = [event["response"]["id"] for event in caller.heard if event["type"] == "response.done"]
        assert len(told) == len(set(told)) == 3
        assert "error" not in {event["type"] for event in caller.heard}, "it is no bare error"


@pytest.mark.models
async def test_an_engine_process_killed_in_mid_call_costs_at_most_one_answer(tmp_path: Path) -> None:
    directory = models_dir()
    with attacked(tmp_path, engines=(), ANTIPHON_DATA__MODELS_DIR=str(directory)) as target:
        async with call(target) as caller:
            assert (await caller.answer("hello"))["status"] == "completed"
            victims = children_of(target.process.pid)
            assert victims
            await caller.say("tell me a long story")
            await caller.send("response.create")
            await caller.until("response.output_audio_transcript.delta", "response.done")
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            done = (await caller.until("response.done"))["response"]
            assert done["status"] in ("failed", "incomplete", "completed")
            assert (await caller.answer("are you there?"))["status"] == "completed", "the call goes on"
            assert len([event for event in caller.heard if event["type"] == "response.done"]) == 3
        assert not [pid for pid in victims if alive(pid)]
        assert children_of(target.process.pid)
        assert await target.idle()


def refused(directory: Path, *flags: str, **variables: str) -> str:
    """What a start that must fail says."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    done = subprocess.run(
        [sys.executable, "-m", "antiphon.cli", "serve", "--port", "0", *flags],
        cwd=directory,
        env=own | {"ANTIPHON_DATA__DATA_DIR": str(directory / "data")} | variables,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1, done.stderr
    assert "listens" not in done.stdout
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("antiphon: ")
    return done.stderr


@pytest.mark.parametrize("place", ["file", "device"])
def test_a_data_directory_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    if place == "file":
        (tmp_path / "data").write_text("in the way")
        found = tmp_path / "data"
    else:
        found = Path("/proc/1/data")  # nobody can make a directory there, not even root
    said = refused(tmp_path, *SCRIPTED, ANTIPHON_DATA__DATA_DIR=str(found))
    assert str(found) in said


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "antiphon.db").symlink_to("/dev/full")
    assert "antiphon.db" in refused(tmp_path, *SCRIPTED)


@pytest.mark.models
@pytest.mark.parametrize("harm", ["missing", "truncated", "changed"])
def test_a_model_file_that_is_missing_or_damaged(tmp_path: Path, harm: str) -> None:
    copy = tmp_path / "models"
    shutil.copytree(models_dir(), copy, copy_function=os.link)
    victim = next(path for path in sorted((copy / "silero-vad").rglob("*.onnx")))
    data = victim.read_bytes()
    victim.unlink()
    if harm != "missing":
        victim.write_bytes(data[:-1] if harm == "truncated" else data[:-1] + bytes([data[-1] ^ 1]))
    said = refused(tmp_path, ANTIPHON_DATA__MODELS_DIR=str(copy))
    assert str(victim) in said
    assert "antiphon models fetch" in said
    assert {"missing": "missing", "truncated": "expected", "changed": "expected SHA-256"}[harm] in said


async def test_nothing_is_left_when_the_server_is_told_to_stop_while_it_starts(tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "antiphon.cli", "serve", "--port", "0", *SCRIPTED),
        cwd=tmp_path,
        env=own | {"ANTIPHON_DATA__DATA_DIR": str(tmp_path / "data")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    database = tmp_path / "data"
    while not database.exists() and process.returncode is None:
        await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=0.005)
    process.terminate()
    _, said = await process.communicate()
    assert process.returncode in (0, -signal.SIGTERM)
    assert b"Traceback" not in said
