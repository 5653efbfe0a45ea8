"""``antiphon talk`` on a sound card made of two callbacks."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from antiphon.cli.app import run

RATE = 48_000


class PortAudioError(Exception):
    pass


class Stream:
    """A device's stream: once started, `turn` is called with its callback on the loop, 0.2 s later."""

    latency = 0.01

    def __init__(self, turn: Callable[[Any], None], callback: Any) -> None:
        self._turn, self._callback = turn, callback
        self.open = True

    def start(self) -> None:
        asyncio.get_running_loop().call_later(0.2, lambda: self._turn(self._callback))

    def close(self) -> None:
        self.open = False


class Card:
    """What `sounddevice` offers: a person who says a second's tone at once, and then hangs up."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.played = np.zeros((960, 1), np.int16)

    def query_devices(self, device: str | int | None, kind: str) -> dict[str, Any]:
        if device is not None:
            raise PortAudioError(f"no {kind} device {device!r}")
        return {"default_samplerate": float(RATE)}

    def InputStream(self, rate: int, block: int, *_: object, callback: Any) -> Stream:
        assert (rate, block) == (RATE, 960)
        return self._stream(self._speak, callback)

    def OutputStream(self, rate: int, block: int, *_: object, callback: Any) -> Stream:
        return self._stream(lambda wanted: wanted(self.played, 960, None, None), callback)

    def _stream(self, turn: Callable[[Any], None], callback: Any) -> Stream:
        self.streams.append(Stream(turn, callback))
        return self.streams[-1]

    def _speak(self, heard: Any) -> None:
        tone = (8000 * np.sin(np.arange(RATE) * 0.05)).astype(np.int16)
        for block in tone.reshape(-1, 960, 1):
            heard(block, 960, None, None)
        asyncio.get_running_loop().call_later(0.05, signal.raise_signal, signal.SIGINT)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Card:
    card = Card()
    monkeypatch.setitem(sys.modules, "sounddevice", card)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text('[stt]\ndefault = "Hello"\n[llm]\ndefault = "Good day to you."\n')
    return card


def test_a_person_is_heard_and_the_agent_played(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["talk", "--script", "s.toml", "--greeting", "Good morning to you.", "--json", "--out", "call.wav"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["title"], told["reason"]) == ("talk", "closed")
    assert {turn["who"] for turn in told["turns"]} == {"user", "agent"}
    assert card.played.any()
    assert not any(stream.open for stream in card.streams)
    assert Path("call.wav").stat().st_size > 24_000


def test_shown_live(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["talk", "--script", "s.toml"]) == 0
    assert "speak; Ctrl-C ends the call" in capsys.readouterr().out


def test_a_device_that_is_not_there(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["talk", "--script", "s.toml", "--microphone", "7"]) == 2
    assert "cannot be opened: no input device 7" in capsys.readouterr().err


def test_portaudio_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Missing(SimpleNamespace):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    assert run(["talk"]) == 2
    assert "libportaudio2" in capsys.readouterr().err
