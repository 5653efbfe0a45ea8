from __future__ import annotations

import sys

import numpy as np
import pytest

from antiphon.audio.pcm import PCM
from antiphon.cli.app import run
from antiphon.cli.call.soundcard import Outlet, import_sounddevice
from antiphon.errors import UsageError

FRAME: PCM = np.full(480, 1000, np.int16)


def taken(outlet: Outlet, samples: int) -> list[int]:
    out = np.full((samples, 1), 7, np.int16)
    outlet.fill(out)
    return [int(sample) for sample in out[:, 0]]


def test_it_waits_for_a_cushion_and_then_flows() -> None:
    outlet = Outlet(24_000, 0.01)
    assert outlet.latency == pytest.approx(0.07)
    outlet.play(FRAME, 0.0)
    assert taken(outlet, 480) == [0] * 480
    outlet.play(FRAME, 0.02)
    outlet.play(FRAME, 0.04)
    assert taken(outlet, 1000) == [1000] * 1000
    assert taken(outlet, 1000) == [1000] * 440 + [0] * 560


def test_after_a_pause_it_gathers_a_cushion_again() -> None:
    outlet = Outlet(24_000, 0.0)
    for n in range(3):
        outlet.play(FRAME, n * 0.02)
    taken(outlet, 3000)
    outlet.play(FRAME, 1.0)
    assert taken(outlet, 100) == [0] * 100


def test_every_channel_hears_it_at_the_card_s_rate() -> None:
    outlet = Outlet(48_000, 0.0)
    for n in range(10):
        outlet.play(FRAME, n * 0.02)
    out = np.zeros((4800, 2), np.int16)
    outlet.fill(out)
    assert out[2400:].tolist() == [[1000, 1000]] * 2400


def test_without_sounddevice_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(UsageError, match=r"antiphon\[talk\]"):
        import_sounddevice()
    assert run(["talk"]) == 2
    assert "antiphon[talk]" in capsys.readouterr().err
