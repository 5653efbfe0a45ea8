"""G.711 mu-law and A-law (ITU-T G.711, 1988), by table: one byte a sample, 8 kHz by convention.

Encoding follows the reference of ITU-T G.191 (and so Python's former ``audioop``): mu-law rounds from 14 bits, A-law
truncates from 13.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from antiphon.audio.pcm import PCM

_Bytes = NDArray[np.uint8]

RATE = 8000
"""Samples per second that G.711 is specified for."""

# The first magnitude of each segment: in 14 bits with the bias of 33 for mu-law, in 13 bits for A-law.
_MU_BIAS = 33
_MU_TOP = 0x1FFF
_MU_SEGMENTS = np.array([0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000])
_A_SEGMENTS = np.array([0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1000])


def _ulaw_decode_table() -> PCM:
    code = ~np.arange(256, dtype=np.uint8)
    segment, step = (code >> 4) & 7, (code & 15).astype(np.int32)
    magnitude = (((step << 3) + 0x84) << segment.astype(np.int32)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_decode_table() -> PCM:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    segment, step = ((code >> 4) & 7).astype(np.int32), (code & 15).astype(np.int32) << 4
    linear = step + 8  # segment 0 is linear; the others carry an implied leading bit
    magnitude = np.where(segment == 0, linear, (step + 0x108) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _samples_by_bit_pattern() -> NDArray[np.int32]:
    return np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)


def _ulaw_encode_table() -> _Bytes:
    sample = _samples_by_bit_pattern() >> 2
    magnitude = np.minimum(np.abs(sample) + _MU_BIAS, _MU_TOP)
    segment = np.searchsorted(_MU_SEGMENTS, magnitude, side="right")
    step = (magnitude >> (segment + 1)) & 15
    mask = np.where(sample < 0, 0x7F, 0xFF)
    code: _Bytes = (((segment << 4) | step) ^ mask).astype(np.uint8)
    return code


def _alaw_encode_table() -> _Bytes:
    sample = _samples_by_bit_pattern() >> 3
    magnitude = np.where(sample < 0, -sample - 1, sample)
    segment = np.searchsorted(_A_SEGMENTS, magnitude, side="right")
    step = (magnitude >> np.maximum(segment, 1)) & 15
    mask = np.where(sample < 0, 0x55, 0xD5)
    code: _Bytes = (((segment << 4) | step) ^ mask).astype(np.uint8)
    return code


_ULAW_DECODE = _ulaw_decode_table()
_ALAW_DECODE = _alaw_decode_table()
_ULAW_ENCODE = _ulaw_encode_table()
_ALAW_ENCODE = _alaw_encode_table()


def ulaw_decode(data: bytes | bytearray | memoryview) -> PCM:
    """Decode mu-law: one sample a byte, -32124 to 32124."""
    return _ULAW_DECODE[np.frombuffer(data, np.uint8)]


def ulaw_encode(pcm: PCM) -> bytes:
    """Encode as mu-law; the error is at most half a step of the sample's segment."""
    return _ULAW_ENCODE[pcm.view(np.uint16)].tobytes()


def alaw_decode(data: bytes | bytearray | memoryview) -> PCM:
    """Decode A-law: one sample a byte, -32256 to 32256."""
    return _ALAW_DECODE[np.frombuffer(data, np.uint8)]


def alaw_encode(pcm: PCM) -> bytes:
    """Encode as A-law; the error is at most half a step of the sample's segment."""
    return _ALAW_ENCODE[pcm.view(np.uint16)].tobytes()
