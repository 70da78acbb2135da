"""Reading audio of every kind, and refusing what is not whole."""

import contextlib
import errno
import io
import logging
import os
import struct
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_psslm.data import audio
from espnet_psslm.data.audio import (
    AudioError,
    AudioScpReader,
    read_audio,
    read_open_file,
    read_recording,
    read_scp,
    resample,
)

RATE = 16000


@pytest.fixture
def tone() -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 300 * np.arange(8000) / RATE)).astype(np.float32)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "_said", set())


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_lossless_files(tmp_path: Path, tone: np.ndarray, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, tone, RATE)
    samples = read_audio(str(path))
    assert samples.dtype == np.float32 and samples.shape == (8000,)
    np.testing.assert_allclose(samples, tone, atol=1e-4)


def test_mp3(tmp_path: Path, tone: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.mp3", tone, RATE)
    samples = read_audio(str(tmp_path / "a.mp3"))
    assert abs(len(samples) - 8000) < 2400 and np.abs(samples).max() == pytest.approx(0.5, abs=0.1)


def test_commands_run_where_they_are_allowed(tmp_path: Path, tone: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.wav", tone, RATE)
    found = read_recording(f"cat {tmp_path}/a.wav |", allow_pipes=True)
    np.testing.assert_allclose(found.samples, tone, atol=1e-4)
    assert (found.rate, found.channels) == (RATE, 1)
    with pytest.raises(AudioError, match=r"exit 3 \|: failed with status 3"):
        read_recording("exit 3 |", allow_pipes=True)


@pytest.mark.parametrize("end", ["|", " |", " | "])
def test_commands_run_nowhere_else(tmp_path: Path, end: str) -> None:
    command = f"touch {tmp_path}/EXECUTED{end}"
    (tmp_path / "wav.scp").write_text(f"utt {command}\n")
    for read in (read_audio, read_recording):
        with pytest.raises(AudioError, match="no such file. Commands run from a wav.scp alone"):
            read(command)
    with pytest.raises(AudioError, match="utterance 'utt'.*--allow_pipes true"):
        AudioScpReader(tmp_path / "wav.scp")["utt"]
    assert not (tmp_path / "EXECUTED").exists()


def test_a_file_is_a_file_whatever_it_is_called(tmp_path: Path, tone: np.ndarray) -> None:
    name = "touch EXECUTED |"
    for folder in (tmp_path, Path()):
        soundfile.write(tmp_path / "a.wav", tone, RATE)
        (tmp_path / "a.wav").rename(tmp_path / name)
        source = str(tmp_path / name) if folder == tmp_path else name
        with contextlib.chdir(tmp_path):
            found = read_recording(source, allow_pipes=True)
        assert len(found.samples) == 8000
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_open_file_that_cannot_seek(tone: np.ndarray) -> None:
    ours, theirs = os.pipe()
    with open(ours, "rb") as stream, open(theirs, "wb") as writer:
        content = io.BytesIO()
        soundfile.write(content, tone, RATE, format="WAV")
        writer.write(content.getvalue())
        writer.close()
        np.testing.assert_allclose(read_open_file(stream, name="x"), tone, atol=1e-4)
        with pytest.raises(AudioError, match="^standard input: the file is empty"):
            read_open_file(stream, name="standard input")


@pytest.mark.parametrize("writer", [{}, {"write_function": "soundfile"}])
def test_archive(tmp_path: Path, tone: np.ndarray, writer: dict[str, str]) -> None:
    """RIFF in an archive, and kaldiio's own container: float32 in [-1, 1], the right entry."""
    ints = (tone * 32767).astype(np.int16)
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp", **writer) as write:
        write("first", (RATE, ints))
        write("second", (RATE, ints[::-1].copy()))
    reader = AudioScpReader(tmp_path / "a.scp")
    assert list(reader) == ["first", "second"] and len(reader) == 2
    np.testing.assert_allclose(reader["first"], tone, atol=1e-4)
    np.testing.assert_allclose(reader["second"], tone[::-1], atol=1e-4)
    whole = (tmp_path / "a.ark").read_bytes()
    (tmp_path / "a.ark").write_bytes(whole[:-100])
    with pytest.raises(AudioError, match="utterance 'second'.*truncated"):
        reader["second"]


def test_feature_archive_is_not_audio(tmp_path: Path) -> None:
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp") as write:
        write("utt", np.zeros((4, 80), dtype=np.float32))
    with pytest.raises(AudioError, match="no wav or flac starts there"):
        AudioScpReader(tmp_path / "a.scp")["utt"]


def test_resampled_and_mixed_down_are_said_once(
    tmp_path: Path, tone: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone, -tone, tone], axis=1), 8000)
    with caplog.at_level(logging.WARNING):
        samples = [read_audio(str(tmp_path / "a.wav")) for _ in range(2)]
    assert samples[0].shape == (16000,) and samples[0].dtype == np.float32
    assert np.abs(samples[0]).max() == pytest.approx(0.5 / 3, abs=0.02)
    assert len(caplog.messages) == 2
    assert "3 channels is mixed down to one" in caplog.messages[0]
    assert "8000 Hz is resampled to 16000 Hz" in caplog.messages[1]


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated(tmp_path: Path, tone: np.ndarray, kind: str, share: float) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, tone, RATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(AudioError, match="truncated"):
        read_audio(str(path))


@pytest.mark.parametrize("size", [0, 0x7FFF0000, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_streamed_wav_of_unknown_length(tmp_path: Path, tone: np.ndarray, size: int) -> None:
    """Tools that write to a pipe cannot know the length: that is no truncation."""
    path = tmp_path / "a.wav"
    soundfile.write(path, tone, RATE)
    data = bytearray(path.read_bytes())
    place = data.index(b"data")
    data[place + 4 : place + 8] = struct.pack("<I", size)
    path.write_bytes(data)
    assert read_audio(str(path)).shape == (8000,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 23170.0, -101.0])
def test_samples_that_are_no_sound(tmp_path: Path, tone: np.ndarray, value: float) -> None:
    """Infinite ones, and 16-bit integers as floating point: never guessed at."""
    tone[-1] = value
    soundfile.write(tmp_path / "a.wav", tone, RATE, subtype="FLOAT")
    reason = "up to .* where 1 is full scale" if np.isfinite(value) else "that are not finite"
    with pytest.raises(AudioError, match=f"a.wav: holds samples {reason}"):
        read_audio(f"{tmp_path}/a.wav")


def test_floats_above_full_scale_are_kept(tmp_path: Path, tone: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.wav", 3 * tone, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(f"{tmp_path}/a.wav"), 3 * tone)


def test_unusable_files(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is no audio at all\n" * 50)
    soundfile.write(tmp_path / "none.wav", np.zeros(0, dtype=np.float32), RATE)
    for name, reason in {
        "absent.wav": "no such file",
        "empty.wav": "the file is empty",
        "text.wav": "is not audio",
        "none.wav": "holds no samples",
    }.items():
        with pytest.raises(AudioError, match=reason):
            read_audio(str(tmp_path / name))


def test_sources_that_the_system_refuses(tmp_path: Path) -> None:
    os.symlink("loop", tmp_path / "loop")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    for source, reason in {
        "x" * 5000: "cannot be read .*too long",
        f"{'x' * 5000}.ark:7": "cannot be read .*too long",
        f"{tmp_path}/loop": "cannot be read",
        f"{tmp_path}/file/below.wav": "cannot be read",
        f"{tmp_path}/fifo": "no regular file",
        f"{tmp_path}/fifo:0": "no regular file",
        str(tmp_path): "no regular file",
        f"{tmp_path}/absent.ark:7": "no such file",
        "a\0b.wav": r"'a\\x00b.wav': embedded null",
        "a\nb.wav": r"'a\\nb.wav': no such file",
        "\ud800.wav": "can't encode",
        "": "no such file",
    }.items():
        with pytest.raises(AudioError, match=reason):
            read_audio(source)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_faults_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "a.wav").touch()
    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(AudioError, match=rf"a.wav: cannot be read \({os.strerror(number)}\)"):
        read_audio(f"{tmp_path}/a.wav")


def test_absurd_headers(tmp_path: Path, tone: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.flac", tone, RATE)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] |= 0x0F  # STREAMINFO: the 36 bits of the number of samples
    data[22:26] = b"\xff" * 4
    (tmp_path / "a.flac").write_bytes(data)
    with pytest.raises(AudioError, match="a.flac: .*(memory|truncated)"):
        read_audio(f"{tmp_path}/a.flac")
    soundfile.write(tmp_path / "a.wav", tone, RATE)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    for rate in (1, 999, 1_000_001, 2**31 - 1):
        data[24:28] = struct.pack("<I", rate)
        (tmp_path / "a.wav").write_bytes(data)
        with pytest.raises(AudioError, match=f"a.wav: a sampling rate of {rate} Hz, where 1000"):
            read_audio(f"{tmp_path}/a.wav")
    (tmp_path / "a.raw").write_bytes(b"abc" * 100)
    with pytest.raises(AudioError, match="a.raw: is not audio"):
        read_audio(f"{tmp_path}/a.raw")


def test_memory_that_is_lacking(
    tmp_path: Path, tone: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    soundfile.write(tmp_path / "a.wav", tone, RATE)
    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(AudioError, match="a.wav: more samples than fit into memory"):
        read_audio(f"{tmp_path}/a.wav")


@pytest.mark.parametrize("rate", [44101, 15999, 8000, 48000])
def test_any_rate_is_cheap_and_right(rate: int) -> None:
    seconds = 5
    at_rate = np.sin(2 * np.pi * 440 * np.arange(rate * seconds) / rate).astype(np.float32)
    started = time.monotonic()
    found = resample(at_rate, rate, RATE)
    assert time.monotonic() - started < 5
    assert found.dtype == np.float32 and abs(len(found) - RATE * seconds) <= 1
    wanted = np.sin(2 * np.pi * 440 * np.arange(len(found)) / RATE)
    np.testing.assert_allclose(found[800:-800], wanted[800:-800], atol=1e-3)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("a x.wav\na y.wav\n", ":2: utterance 'a' comes twice"),
        ("a\n", ":1: 'a' has no value"),
        ("\n", "holds no utterance"),
    ],
)
def test_bad_scp(tmp_path: Path, lines: str, reason: str) -> None:
    (tmp_path / "wav.scp").write_text(lines)
    with pytest.raises(ValueError, match=reason):
        read_scp(tmp_path / "wav.scp")
