from __future__ import annotations

import io
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from antiphon.audio.files import read_speech, write_wav
from antiphon.audio.pcm import PCM, level
from antiphon.errors import InputFileError, UsageError


def tone(rate: int, seconds: float = 1.0) -> PCM:
    return (8000 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)).astype(np.int16)


def encode(path: Path, codec: str, rate: int, layout: str, fmt: str) -> None:
    channels = 2 if layout == "stereo" else 1
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.repeat(tone(rate), channels)[None], format="s16", layout=layout)
        frame.sample_rate = rate
        convert = av.AudioResampler(format=fmt, layout=layout, rate=rate, frame_size=stream.codec_context.frame_size)
        for piece in [*convert.resample(frame), *convert.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_of_any_rate(tmp_path: Path, rate: int, channels: int) -> None:
    write_wav(tmp_path / "in.wav", [tone(rate)] * channels, rate)
    speech = read_speech(tmp_path / "in.wav")
    assert abs(len(speech) - 16_000) <= 20
    spectrum = np.abs(np.fft.rfft(speech[:16_000]))
    assert abs(int(spectrum.argmax()) * 16_000 / min(len(speech), 16_000) - 440) < 2
    assert level(speech) == pytest.approx(level(tone(16_000)), abs=0.3)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate", "layout", "fmt"),
    [
        ("flac", "flac", 44_100, "stereo", "s16"),
        ("ogg", "libopus", 48_000, "mono", "flt"),
        ("mp3", "libmp3lame", 44_100, "stereo", "s16p"),
        ("m4a", "aac", 48_000, "mono", "fltp"),
    ],
)
def test_compressed_formats(tmp_path: Path, suffix: str, codec: str, rate: int, layout: str, fmt: str) -> None:
    path = tmp_path / f"in.{suffix}"
    encode(path, codec, rate, layout, fmt)
    speech = read_speech(str(path))
    assert abs(len(speech) - 16_000) < 1600
    assert level(speech) == pytest.approx(level(tone(16_000)), abs=1)


def test_other_rate_and_file_objects(tmp_path: Path) -> None:
    write_wav(tmp_path / "in.wav", [tone(16_000)], 16_000)
    data = io.BytesIO((tmp_path / "in.wav").read_bytes())
    assert len(read_speech(data, 24_000)) == pytest.approx(24_000, abs=20)


def test_a_video_s_sound_is_read_and_a_mute_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mute.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10, width=16, height=16)
        stream.pix_fmt = "yuv420p"
        out.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        out.mux(stream.encode(None))
    with pytest.raises(InputFileError, match="got video streams and no audio"):
        read_speech(path)


def test_unreadable_files_say_why(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"none\.wav: there is no such file"):
        read_speech(tmp_path / "none.wav")
    with pytest.raises(InputFileError, match="cannot be read"):
        read_speech(tmp_path)
    (tmp_path / "text.wav").write_bytes(b"this is no audio at all, but some words" * 40)
    with pytest.raises(InputFileError, match="not an audio file"):
        read_speech(tmp_path / "text.wav")
    (tmp_path / "nothing.wav").write_bytes(b"")
    with pytest.raises(InputFileError, match="not an audio file"):
        read_speech(tmp_path / "nothing.wav")


def test_damage_costs_no_more_than_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "in.mp3"
    encode(path, "libmp3lame", 44_100, "mono", "s16p")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = b"\xff" * 1500
    path.write_bytes(data)
    assert 8000 < len(read_speech(path)) < 18_000


def test_a_file_damaged_throughout_says_so(tmp_path: Path) -> None:
    path = tmp_path / "in.flac"
    encode(path, "flac", 44_100, "mono", "s16")
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xf8", 42)
    data[frame + 12 :] = b"\x55" * (len(data) - frame - 12)
    path.write_bytes(data)
    with pytest.raises(InputFileError, match=r"in\.flac: the file is damaged: none of its \d+ packets"):
        read_speech(path)


def test_a_wav_without_samples(tmp_path: Path) -> None:
    write_wav(tmp_path / "empty.wav", [np.zeros(0, np.int16)], 16_000)
    with pytest.raises(InputFileError, match="holds no samples"):
        read_speech(tmp_path / "empty.wav")


def test_stereo_is_written_left_first_and_padded(tmp_path: Path) -> None:
    left, right = np.array([1, 2, 3], np.int16), np.array([-1], np.int16)
    write_wav(tmp_path / "out.wav", [left, right], 24_000)
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 24_000, 2)
        assert np.frombuffer(file.readframes(10), "<i2").reshape(-1, 2).tolist() == [[1, -1], [2, 0], [3, 0]]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_wav(tmp_path / "no" / "out.wav", [tone(8000)], 8000)
