"""Audio on its way in and out: 16-bit little-endian mono PCM, and what Python programs hold it in."""

from __future__ import annotations

import array
import io
import math
import sys
import wave
from typing import IO, TYPE_CHECKING, Any

from antiphon.client.realtime.errors import AudioTypeError, AudioValueError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLE_RATE = 24_000
"""Samples a second of the protocol's PCM, both ways."""

EXPECTED = (
    "bytes, bytearray or memoryview of 16-bit little-endian PCM, an int16 array "
    "(numpy or array.array('h')), or a float array in -1..1"
)


def to_pcm16(audio: object, *, rate: int | None = None, target_rate: int = SAMPLE_RATE) -> bytes:
    """Give the 16-bit little-endian mono PCM bytes of `audio`.

    Args:
        audio: bytes, bytearray, memoryview (16-bit PCM, or a view of int16 or floats), array.array of type h, f or d,
            numpy array of int16 or floats; floats are in -1..1, and clipped to it. One channel: shape (n,), (n, 1)
            or (1, n).
        rate: samples a second of `audio` in Hz; None means that of the protocol, so nothing is resampled.
        target_rate: samples a second of the result in Hz.

    Raises:
        AudioTypeError: another type; the message says which are taken.
        AudioValueError: half a sample, more than one channel, NaN or infinity, or a rate that is no rate.
    """
    resample = rate is not None and _valid_rate(rate) != target_rate
    if isinstance(audio, bytes | bytearray) and not resample:
        return bytes(_whole_samples(audio))
    samples = _as_array(audio)
    if resample:
        import soxr

        samples = soxr.resample(samples, rate, target_rate)
    return _to_bytes(samples)


class StreamResampler:
    """Resamples a stream chunk by chunk, without a click at each border as single calls would give.

    Args:
        rate: samples a second of what comes in, in Hz.
        target_rate: samples a second of what goes out, in Hz.
    """

    def __init__(self, rate: int, target_rate: int = SAMPLE_RATE) -> None:
        import soxr

        self.rate = _valid_rate(rate)
        self._stream = soxr.ResampleStream(self.rate, target_rate, 1, dtype="float32")

    def feed(self, audio: object, *, last: bool = False) -> bytes:
        """Take a chunk (types as for `to_pcm16`), give the PCM that is ready: a filter's length behind.

        Args:
            audio: the chunk; `b""` is one too.
            last: give the rest as well; the stream is over then.
        """
        import numpy as np

        samples = _as_array(audio)
        if samples.dtype == np.int16:
            samples = samples.astype(np.float32) / 32768
        return _to_bytes(self._stream.resample_chunk(samples.astype(np.float32), last=last))


def pcm16_array(data: bytes | bytearray) -> NDArray[np.int16]:
    """View 16-bit little-endian PCM bytes as an int16 array, shape (n,), read-only.

    Half a sample at the end is left out.
    """
    import numpy as np

    array_ = np.frombuffer(bytes(data), dtype="<i2", count=len(data) // 2)
    array_.flags.writeable = False
    return array_


def pcm16_to_wav(data: bytes, rate: int = SAMPLE_RATE) -> bytes:
    """Give a WAV file (RIFF, 16 bit, mono) with this PCM."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(data)
    return file.getvalue()


def read_wav(source: str | bytes | IO[bytes]) -> tuple[NDArray[np.int16], int]:
    """Read a 16-bit WAV file, mixed down to mono: int16 array of shape (n,) and its rate in Hz.

    Args:
        source: path, the file's bytes, or an open binary file.

    Raises:
        AudioValueError: not a WAV file, or not one of 16 bits a sample.
    """
    import numpy as np

    try:
        with wave.open(io.BytesIO(source) if isinstance(source, bytes) else source) as wav:
            width, channels, rate = wav.getsampwidth(), wav.getnchannels(), wav.getframerate()
            frames = wav.readframes(wav.getnframes())
    except (wave.Error, EOFError) as error:
        raise AudioValueError(f"expected a WAV file with PCM, got something else: {error}") from error
    if width != 2:
        raise AudioValueError(f"expected a WAV file of 16 bits a sample, got {8 * width} bits")
    samples = np.frombuffer(frames, dtype="<i2")
    if channels > 1:
        samples = samples.reshape(-1, channels).mean(axis=1).astype(np.int16)
    return samples, rate


def g711_to_pcm16(data: bytes, law: str) -> bytes:
    """Expand G.711 to 16-bit little-endian PCM at the same 8 kHz.

    Args:
        data: one byte a sample.
        law: `ulaw` or `alaw` (ITU-T G.711).
    """
    import numpy as np

    codes = np.arange(256, dtype=np.int32)
    if law == "ulaw":
        inverted = ~codes & 0xFF
        magnitude = (((inverted & 0x0F) << 3) + 0x84 << ((inverted & 0x70) >> 4)) - 0x84
        table = np.where(inverted & 0x80, -magnitude, magnitude)
    elif law == "alaw":
        toggled = codes ^ 0x55
        segment = (toggled & 0x70) >> 4
        mantissa = ((toggled & 0x0F) << 4) + 8
        magnitude = np.where(segment == 0, mantissa, (mantissa + 0x100) << np.maximum(segment - 1, 0))
        table = np.where(toggled & 0x80, magnitude, -magnitude)
    else:
        raise AudioValueError(f'expected the law "ulaw" or "alaw", got {law!r}')
    return table.astype("<i2")[np.frombuffer(data, dtype=np.uint8)].tobytes()


def level_dbfs(data: bytes) -> float:
    """Give the RMS level of 16-bit PCM in dB relative to full scale: 0 is the loudest, -inf is silence."""
    import numpy as np

    samples = np.frombuffer(data, dtype="<i2", count=len(data) // 2)
    if not samples.size:
        return -math.inf
    rms = float(np.sqrt(np.mean(np.square(samples.astype(np.float64)))))
    return 20 * math.log10(rms / 32768) if rms else -math.inf


def _valid_rate(rate: object) -> int:
    if isinstance(rate, bool) or not isinstance(rate, int) or not 1000 <= rate <= 768_000:
        raise AudioValueError(f"expected a rate of 1000 to 768000 Hz as int, got {rate!r}")
    return rate


def _whole_samples(data: bytes | bytearray) -> bytes | bytearray:
    if len(data) % 2:
        raise AudioValueError(f"expected whole 16-bit samples, an even number of bytes, got {len(data)} bytes")
    return data


def _as_array(audio: object) -> NDArray[Any]:
    """Give a mono int16 or float array of shape (n,)."""
    import numpy as np

    if isinstance(audio, bytes | bytearray):
        return np.frombuffer(_whole_samples(audio), dtype="<i2").astype(np.int16, copy=False)
    if isinstance(audio, memoryview):
        if audio.format in ("b", "B", "c"):
            return _as_array(audio.tobytes())
        samples = np.asarray(audio)
    elif isinstance(audio, array.array):
        samples = np.asarray(audio)
    elif isinstance(audio, np.ndarray):
        samples = audio
    else:
        raise AudioTypeError(f"expected {EXPECTED}, got {type(audio).__name__}")
    if samples.dtype.kind != "f" and not (samples.dtype.kind == "i" and samples.dtype.itemsize == 2):
        raise AudioTypeError(f"expected {EXPECTED}, got {type(audio).__name__} of {samples.dtype}")
    if samples.ndim == 2 and 1 in samples.shape:
        samples = samples.reshape(-1)
    if samples.ndim != 1:
        raise AudioValueError(f"expected one channel, shape (n,), got shape {samples.shape}")
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise AudioValueError("expected floats in -1..1, got NaN or infinity")
    return samples.astype(np.int16 if samples.dtype.kind == "i" else samples.dtype, copy=False)


def _to_bytes(samples: NDArray[Any]) -> bytes:
    import numpy as np

    if samples.dtype.kind == "f":
        # Half-open range of int16: -1 is -32768 and 1 is 32767, as the reference client scales them.
        clipped = np.clip(samples, -1, 1)
        samples = np.where(clipped < 0, clipped * 0x8000, clipped * 0x7FFF).astype("<i2")
    elif sys.byteorder == "big":
        samples = samples.astype("<i2")
    return samples.tobytes()
