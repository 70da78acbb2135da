"""Reading audio of every kind, and refusing what is not whole."""

import logging
import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_psslm.data import audio
from espnet_psslm.data.audio import AudioError, AudioScpReader, read_audio, read_scp

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


def test_command(tmp_path: Path, tone: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.wav", tone, RATE)
    np.testing.assert_allclose(read_audio(f"cat {tmp_path}/a.wav |"), tone, atol=1e-4)
    with pytest.raises(AudioError, match="failed with status 3"):
        read_audio("exit 3 |")


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


def test_streamed_wav_of_unknown_length(tmp_path: Path, tone: np.ndarray) -> None:
    """Tools that write to a pipe cannot know the length: that is no truncation."""
    path = tmp_path / "a.wav"
    soundfile.write(path, tone, RATE)
    data = bytearray(path.read_bytes())
    place = data.index(b"data")
    data[place + 4 : place + 8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    assert read_audio(str(path)).shape == (8000,)


def test_unusable_files(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is no audio at all\n" * 50)
    soundfile.write(tmp_path / "none.wav", np.zeros(0, dtype=np.float32), RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), RATE, subtype="FLOAT")
    for name, reason in {
        "absent.wav": "no such file",
        "empty.wav": "the file is empty",
        "text.wav": "is not audio",
        "none.wav": "holds no samples",
        "nan.wav": "not finite",
    }.items():
        with pytest.raises(AudioError, match=reason):
            read_audio(str(tmp_path / name))


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
