"""The command as a person calls it, in virtual time with scripted engines; at the end once with the embedded ones."""

from __future__ import annotations

import asyncio
import json
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.audio.files import write_wav
from antiphon.audio.pcm import PCM, level
from antiphon.audio.resample import resample
from antiphon.cli.app import run
from antiphon.cli.call.setup import CallOptions, open_engines, read_settings
from antiphon.core.speech import normalised
from antiphon.engines.ports import SttRequest

SCRIPT = """
[stt]
delay = 0.05
repeat = true
[[stt.utterance]]
text = "{heard}"
partial = "{heard}"
[llm]
delay = 0.1
default = "I am well, thank you. I have been thinking about bridges, and about the rivers that flow under them."
after_tool = "It is {{output}}."
{rule}
[tts]
delay = 0.05
"""


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTIPHON_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def speech(path: Path, spans: Sequence[tuple[float, float]], seconds: float) -> Path:
    pcm = np.zeros(round(seconds * 16_000), np.int16)
    for start, end in spans:
        span = slice(round(start * 16_000), round(end * 16_000))
        pcm[span] = 8000 * np.sin(np.arange(span.stop - span.start) * 0.12)
    write_wav(path, [pcm], 16_000)
    return path


def script(path: Path, heard: str = "Hello, how are you today?", rule: str = "") -> Path:
    path.write_text(SCRIPT.format(heard=heard, rule=rule))
    return path


def converse(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run(["converse", "--fast", "--json", *map(str, arguments)]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def channels(path: Path) -> tuple[PCM, PCM]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 24_000)
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return frames[:, 0], frames[:, 1]


def span(pcm: PCM, start: float, end: float) -> PCM:
    return pcm[round(start * 24_000) : round(end * 24_000)]


def test_a_turn_is_answered_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = speech(tmp_path / "in.wav", [(0.5, 2.0)], 2.5)
    told = converse(capsys, recording, "--script", script(tmp_path / "s.toml"), "--out", tmp_path / "call.wav")
    assert told["schema"] == "antiphon.call/1"
    assert told["engines"] == {"stt": "scripted", "llm": "scripted", "tts": "scripted"}
    user, agent = told["turns"]
    assert (user["who"], user["text"], user["outcome"]) == ("user", "Hello, how are you today?", "completed")
    assert (user["start"], user["end"]) == (pytest.approx(0.5, abs=0.05), pytest.approx(2.0, abs=0.05))
    assert agent["heard"] == agent["text"].strip() == told["transcripts"][1]["text"]
    assert agent["outcome"] == "completed"
    assert [word["text"] for word in agent["words"]] == agent["heard"].split()
    (latency,) = told["latencies"]
    assert latency["voice_to_voice"] == pytest.approx(agent["start"] - 2.0, abs=0.05)
    assert 0.4 < latency["end_of_turn"] < 0.6
    assert latency["response_id"] == agent["id"]
    shares = told["timeline"]
    assert shares["user"] + shares["agent"] + shares["silence"] == pytest.approx(told["seconds"], abs=0.01)
    assert sum(s["end"] - s["start"] for s in shares["segments"]) == pytest.approx(told["seconds"], abs=0.01)
    assert told["usage"]["turns"] == told["usage"]["responses"] == 1
    assert {"SpeechStarted", "TranscriptDone", "PlayoutStopped", "Ended"} <= {e["type"] for e in told["events"]}

    left, right = channels(tmp_path / "call.wav")
    assert level(span(left, 0.6, 1.9)) > -20
    assert level(span(left, 2.1, told["seconds"])) < -80
    assert level(span(right, 0, agent["start"])) == -100
    assert level(span(right, agent["start"] + 0.1, agent["end"] - 0.1)) == pytest.approx(-20, abs=1)
    assert level(span(right, agent["end"] + 0.05, told["seconds"])) == -100


def test_an_interruption_is_heard_in_the_file_and_kept_in_the_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = speech(tmp_path / "in.wav", [(0.2, 1.2), (4.0, 5.5)], 6.0)
    told = converse(capsys, recording, "--script", script(tmp_path / "s.toml"), "--out", tmp_path / "call.wav")
    (cut,) = told["interruptions"]
    first = next(turn for turn in told["turns"] if turn["who"] == "agent")
    assert 4.2 < cut["at"] < 4.8
    assert first["outcome"] == "interrupted"
    assert first["heard"] == cut["text"]
    assert first["text"].startswith(first["heard"])
    assert 10 < len(first["heard"]) < len(first["text"])
    assert [word["text"] for word in first["words"]] == first["heard"].split()
    assert all(a["end"] <= b["start"] + 1e-6 for a, b in zip(first["words"], first["words"][1:], strict=False))
    assert first["words"][-1]["end"] <= cut["at"] + 0.05
    assert [turn["who"] for turn in told["turns"]] == ["user", "agent", "user", "agent"]
    assert told["turns"][-1]["outcome"] == "completed"

    _, right = channels(tmp_path / "call.wav")
    full = level(span(right, 2.5, 3.9))
    assert level(span(right, 4.15, cut["at"] - 0.02)) == pytest.approx(full - 15, abs=1)
    assert level(span(right, cut["at"] + 0.05, told["turns"][-1]["start"])) == -100


def test_a_cough_is_a_false_interruption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = speech(tmp_path / "in.wav", [(0.2, 1.2), (4.0, 4.15)], 4.5)
    told = converse(capsys, recording, "--script", script(tmp_path / "s.toml"), "--out", tmp_path / "call.wav")
    assert told["interruptions"] == []
    assert len(told["false_interruptions"]) == 1
    (agent,) = (turn for turn in told["turns"] if turn["who"] == "agent")
    assert agent["heard"] == agent["text"].strip()


def test_tools_from_a_file_are_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tools.py").write_text(
        'def get_weather(city: str) -> str:\n    """The weather in a city."""\n    return f"sunny in {city}"\n'
    )
    rule = '[[llm.rule]]\nmatch = "weather"\ncall_tools = [{ name = "get_weather", arguments = { city = "Paris" } }]\n'
    told = converse(
        capsys,
        speech(tmp_path / "in.wav", [(0.2, 1.2)], 1.5),
        *("--script", script(tmp_path / "s.toml", "What is the weather?", rule)),
        *("--tools", tmp_path / "tools.py"),
    )
    (tool,) = told["tools"]
    assert (tool["name"], json.loads(tool["arguments"]), tool["output"]) == (
        "get_weather",
        {"city": "Paris"},
        "sunny in Paris",
    )
    assert told["transcripts"][-1]["text"] == "It is sunny in Paris."


def test_several_recordings_wait_for_the_answer_in_between(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = speech(tmp_path / "in.wav", [(0.2, 1.2)], 1.5)
    told = converse(capsys, recording, recording, "--script", script(tmp_path / "s.toml"), "--greeting", "Good day.")
    assert told["title"] == "in.wav, in.wav"
    assert [turn["who"] for turn in told["turns"]] == ["agent", "user", "agent", "user", "agent"]
    assert told["turns"][0]["heard"] == "Good day."
    assert told["interruptions"] == []
    assert all(a["end"] <= b["start"] for a, b in zip(told["turns"], told["turns"][1:], strict=False))


def test_shown_live_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = speech(tmp_path / "in.wav", [(0.5, 2.0)], 2.5)
    picture, inputs = tmp_path / "call.svg", tmp_path / "session.jsonl"
    arguments = ["--script", script(tmp_path / "s.toml"), "--plot", picture, "--record", inputs]
    assert run(["converse", str(recording), "--fast", *map(str, arguments)]) == 0
    shown = capsys.readouterr().out
    for expected in (
        "user   Hello, how are you today?",
        "agent  I am well, thank you.",
        "voice to voice 0.5",
        "silence",
        "median" if "median" in shown else "latency, seconds",
        "1 turns, 1 responses, 0 interruptions",
        "call.svg",
    ):
        assert expected in shown
    assert "bridges" in picture.read_text()
    assert run(["replay", str(inputs)]) == 0
    assert "every effect the same" in capsys.readouterr().out


def test_an_agent_that_says_nothing_is_given_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hangs = '[[llm.rule]]\nmatch = "hello"\nfail = "hang"\n'
    recording = speech(tmp_path / "in.wav", [(0.2, 1.2)], 1.5)
    path = script(tmp_path / "s.toml", rule=hangs)
    assert run(["converse", str(recording), "--fast", "--script", str(path), "--idle", "3"]) == 0
    assert "the agent said nothing for 3 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.wav"], "none.wav: there is no such file"),
        (["in.wav", "--engine", "mtt=local"], "--engine: expected NAME or one of stt=NAME"),
        (["in.wav", "--engine", "locl"], "local"),
        (["in.wav", "--script", "none.toml"], "none.toml"),
        (["in.wav", "--script", "s.toml", "--out", "no/call.wav"], "no/call.wav: cannot be written"),
        (["in.wav", "--script", "s.toml", "--plot", "call.tiffany"], "call.tiffany"),
        (["in.wav", "--script", "s.toml", "--tools", "none.py"], "none.py: there is no such file of tools"),
    ],
)
def test_what_is_wrong_is_told(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech(tmp_path / "in.wav", [(0.2, 0.8)], 1.0)
    script(tmp_path / "s.toml")
    assert run(["converse", "--fast", *arguments]) != 0
    assert message in capsys.readouterr().err


def test_missing_models_are_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTIPHON_DATA__MODELS_DIR", str(tmp_path / "models"))
    speech(tmp_path / "in.wav", [(0.2, 0.8)], 1.0)
    assert run(["converse", "in.wav"]) == 1
    assert "antiphon models fetch" in capsys.readouterr().err


@pytest.fixture
def samples() -> Path:
    """The directory of recorded people, fetched with the models."""
    return read_settings(CallOptions()).data.models_dir / "samples"


@pytest.mark.models
def test_a_real_voice_is_understood_and_interrupts(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = converse(capsys, samples / "beckett.wav", "--out", tmp_path / "call.wav", "--record", tmp_path / "in.jsonl")
    words = " ".join(turn["text"] for turn in told["turns"] if turn["who"] == "user").lower()
    assert "tried" in words
    assert "again" in words
    answers = [turn for turn in told["turns"] if turn["who"] == "agent" and turn["heard"]]
    assert answers
    assert all(0.3 < latency["voice_to_voice"] < 8 for latency in told["latencies"])
    _, right = channels(tmp_path / "call.wav")
    assert all(level(span(right, turn["start"], turn["end"])) > -50 for turn in answers)
    assert run(["replay", str(tmp_path / "in.jsonl")]) == 0


@pytest.mark.models
def test_the_right_channel_says_what_the_agent_is_said_to_have_said(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    greeting = "Good morning. How can I help you with your garden today?"
    told = converse(capsys, samples / "clone-test.wav", "--greeting", greeting, "--out", tmp_path / "call.wav")
    first = told["turns"][0]
    assert (first["who"], first["heard"], first["outcome"]) == ("agent", greeting, "completed")
    _, right = channels(tmp_path / "call.wav")
    heard = resample(span(right, first["start"], first["end"]), 24_000, 16_000)
    assert asyncio.run(transcribed(heard)) >= {"good", "morning", "help", "you", "garden", "today"}


async def transcribed(pcm: PCM) -> set[str]:
    async with open_engines(read_settings(CallOptions())) as engines:
        return set(normalised(await engines.stt.transcribe(SttRequest(pcm))))
