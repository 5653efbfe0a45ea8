from __future__ import annotations

import warnings

import numpy as np
import pytest

from antiphon.audio import g711
from antiphon.audio.pcm import PCM

EVERY_SAMPLE: PCM = np.arange(-32768, 32768).astype(np.int16)
EVERY_CODE = bytes(range(256))


def test_against_the_reference_of_the_standard_library() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop", reason="Python 3.13 dropped it")
    assert g711.ulaw_encode(EVERY_SAMPLE) == audioop.lin2ulaw(EVERY_SAMPLE.tobytes(), 2)
    assert g711.alaw_encode(EVERY_SAMPLE) == audioop.lin2alaw(EVERY_SAMPLE.tobytes(), 2)
    assert g711.ulaw_decode(EVERY_CODE).tobytes() == audioop.ulaw2lin(EVERY_CODE, 2)
    assert g711.alaw_decode(EVERY_CODE).tobytes() == audioop.alaw2lin(EVERY_CODE, 2)


def test_published_values() -> None:
    """Ends and middle of the decoder output tables 1a and 2a of ITU-T G.711."""
    assert g711.ulaw_decode(b"\x00\x80\x7f\xff").tolist() == [-32124, 32124, 0, 0]
    assert g711.alaw_decode(b"\xd5\x55\xaa\x2a").tolist() == [8, -8, 32256, -32256]


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_round_trip_error_is_half_a_step(law: str) -> None:
    encode, decode = getattr(g711, f"{law}_encode"), getattr(g711, f"{law}_decode")
    error = np.abs(decode(encode(EVERY_SAMPLE)).astype(int) - EVERY_SAMPLE)
    loud = np.abs(EVERY_SAMPLE.astype(int))
    in_range = loud < 32124
    assert (error[in_range] <= (loud[in_range] + 132) / 32 + 4).all()
    assert error.max() <= 644


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_codes_survive_decoding(law: str) -> None:
    encode, decode = getattr(g711, f"{law}_encode"), getattr(g711, f"{law}_decode")
    again = encode(decode(EVERY_CODE))
    assert np.array_equal(decode(again), decode(EVERY_CODE))
    assert encode(np.zeros(0, np.int16)) == b""


def test_strided_input_is_encoded() -> None:
    stereo = np.repeat(EVERY_SAMPLE[::8, None], 2, axis=1)
    assert g711.ulaw_encode(stereo[:, 1]) == g711.ulaw_encode(EVERY_SAMPLE[::8].copy())
