"""Recordings in and out: whatever FFmpeg reads, by PyAV; WAV files, by the standard library."""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from antiphon.audio.pcm import PCM
from antiphon.errors import InputFileError, UsageError

# PyAV is imported where a file is read: it brings 15 MB of FFmpeg, which a server needs for uploads only.
if TYPE_CHECKING:
    import av
    from av.audio.frame import AudioFrame
    from av.container import InputContainer

SPEECH_RATE = 16_000
_NOTHING: PCM = np.zeros(0, np.int16)


def read_speech(source: str | PathLike[str] | BinaryIO, rate: int = SPEECH_RATE) -> PCM:
    """Read the first audio stream of a file of any format, rate and number of channels.

    Args:
        source: A path, or a seekable binary file.
        rate: Samples per second wanted.

    Returns:
        Mono samples, channels mixed down, shape [n] with n > 0. Packets that are damaged are left out.

    Raises:
        InputFileError: The file is missing, unreadable, damaged throughout, of no known format, without audio, or
            empty.
    """
    import av

    name = str(getattr(source, "name", "the audio")) if not isinstance(source, str | PathLike) else fspath(source)
    try:
        with av.open(fspath(source) if isinstance(source, PathLike) else source, "r") as container:
            if not container.streams.audio:
                kinds = ", ".join(sorted({stream.type or "unknown" for stream in container.streams})) or "no"
                raise InputFileError(f"{name}: expected a recording of speech, got {kinds} streams and no audio")
            speech = np.concatenate([_NOTHING, *_resampled(_decoded(container, name), rate)])
    except av.FFmpegError as error:
        raise InputFileError(f"{name}: {_reason(error)}") from error
    except OSError as error:
        raise InputFileError(f"{name}: cannot be read: {error.strerror or error}") from error
    if not len(speech):
        raise InputFileError(f"{name}: the audio stream is empty: it holds no samples")
    return speech


def _decoded(container: InputContainer, name: str) -> Iterator[AudioFrame]:
    """The frames; a damaged packet is passed over, as players do, unless all are."""
    import av

    sound, damaged = False, 0
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            damaged += 1
            continue
        for frame in frames:
            sound = True
            yield frame
    if damaged and not sound:
        raise InputFileError(f"{name}: the file is damaged: none of its {damaged} packets of audio can be decoded")


def _resampled(frames: Iterator[AudioFrame], rate: int) -> Iterator[PCM]:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    frame: AudioFrame | None
    for frame in frames:
        for out in resampler.resample(frame):
            yield out.to_ndarray()[0]
    for out in resampler.resample(None):
        yield out.to_ndarray()[0]


def _reason(error: av.FFmpegError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError | IsADirectoryError):
        return f"cannot be read: {error.strerror}"
    return f"not an audio file that can be read ({error.strerror})"


def write_wav(path: str | PathLike[str], channels: Sequence[PCM], rate: int) -> None:
    """Write a 16-bit WAV file of one channel or more; the shorter ones are padded with silence.

    Args:
        path: Where to; an existing file is replaced.
        channels: Mono samples each; for stereo left, then right.
        rate: Samples per second, of all channels.

    Raises:
        UsageError: The file cannot be written there.
    """
    frames = np.zeros((max(map(len, channels)), len(channels)), "<i2")
    for column, samples in enumerate(channels):
        frames[: len(samples), column] = samples
    try:
        with Path(path).open("wb") as file, wave.open(file, "wb") as out:
            out.setnchannels(len(channels))
            out.setsampwidth(2)
            out.setframerate(rate)
            out.writeframes(frames.tobytes())
    except OSError as error:
        raise UsageError(f"{fspath(path)}: cannot be written: {error.strerror or error}") from error
