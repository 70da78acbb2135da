"""Audio that PyAV reads: whole, joined, cut, and what is none."""

import io
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from espnet_psslm.samples.audio_file import read_audio_file
from espnet_psslm.samples.containers import _samples

RATE = 16000
rng = np.random.default_rng(0)
NOISE = (0.2 * rng.standard_normal(RATE) * np.linspace(0.1, 1, RATE)).astype(np.float32)
PADDING_S = 0.15  # at most, that an encoder of mp3 adds


def seconds(data: bytes) -> float:
    samples, rate = read_audio_file(io.BytesIO(data))
    assert samples.dtype == np.float32 and samples.ndim == 2 and np.abs(samples).max() < 2
    return len(samples) / rate


def mp3(mode: str, rate: int = RATE) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, NOISE, rate, format="MP3", bitrate_mode=mode)
    return stream.getvalue()


def without_tag(data: bytes) -> bytes:
    """Without the first frame, which holds the length: as encoders write into a pipe."""
    assert b"Xing" in data[:200] or b"Info" in data[:200]
    return data[data.index(data[:2], 4) :]


# A title of 3,000 bytes, as long as a small picture. The size has seven bits a byte.
ID3 = b"ID3\x03\x00\x00" + bytes([0, 0, 3000 >> 7, 3000 & 127]) + b"TIT2" + bytes(2996)


@pytest.mark.parametrize("id3", [b"", ID3])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_without_a_length_tag(mode: str, id3: bytes) -> None:
    data = id3 + without_tag(mp3(mode))
    assert 1 <= seconds(data) < 1 + PADDING_S
    assert 2 <= seconds(data + data) < 2 + 2 * PADDING_S


def test_joined_mp3s() -> None:
    """With tags, which count the first one alone, and of two rates."""
    for first, second in ((16000, 16000), (16000, 24000), (24000, 16000)):
        both = RATE / first + RATE / second
        assert both <= seconds(mp3("VARIABLE", first) + mp3("CONSTANT", second)) < both + 0.3


def encoded(path: Path, codec: str, **options: str) -> bytes:
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=48000 if codec == "libopus" else RATE)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray((NOISE * 32767).astype(np.int16)[None], "s16", "mono")
        frame.rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


KINDS = {
    "end.m4a": ("aac", {}),
    "start.m4a": ("aac", {"movflags": "faststart"}),
    "parts.m4a": ("aac", {"movflags": "empty_moov+default_base_moof", "frag_duration": "200000"}),
    "a.mp4": ("libopus", {"movflags": "faststart"}),
    "a.webm": ("libopus", {}),
    "a.mkv": ("pcm_s16le", {}),
    "a.opus": ("libopus", {"page_duration": "200000"}),
    "a.aiff": ("pcm_s16be", {}),
    "tagged.mp3": ("libmp3lame", {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_whole_or_said_to_be_cut(tmp_path: Path, name: str) -> None:
    codec, options = KINDS[name]
    data = encoded(tmp_path / name, codec, **options)
    assert -0.02 < seconds(data) - 1 < 0.1  # what encoders pad is not always cut off
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(ValueError, match="truncated"):
            seconds(data[: int(share * len(data))])


def test_ogg_joined(tmp_path: Path) -> None:
    data = encoded(tmp_path / "a.opus", "libopus")
    assert seconds(data + data) == pytest.approx(2, abs=0.02)


def test_webm_of_unknown_length(tmp_path: Path) -> None:
    """As browsers record it."""
    assert seconds(encoded(tmp_path / "a.webm", "libopus", live="1")) == pytest.approx(1, abs=0.01)


def test_flac_of_unknown_length() -> None:
    stream = io.BytesIO()
    soundfile.write(stream, NOISE, RATE, format="FLAC")
    data = bytearray(stream.getvalue())
    data[21] &= 0xF0  # 36 bits of STREAMINFO, the number of samples
    data[22:26] = bytes(4)
    samples, rate = read_audio_file(io.BytesIO(data))
    assert rate == RATE
    np.testing.assert_allclose(samples[:, 0], NOISE, atol=1e-4)
    with pytest.raises(ValueError, match="truncated"):
        seconds(data[: len(data) // 2])


@pytest.mark.parametrize("kind", ["u8", "s16", "s16p", "s32", "fltp", "dbl"])
def test_full_scale_of_every_kind_of_sample(kind: str) -> None:
    dtype = np.dtype(av.audio.frame.format_dtypes[kind])
    pair = np.array([[-1.0, 0.5], [0.0, 0.25], [0.5, -0.5]])
    if dtype == np.uint8:
        values = pair * 128 + 128
    else:
        values = pair * (-float(np.iinfo(dtype).min) if dtype.kind == "i" else 1)
    values = values.astype(dtype)
    layout = values.T if kind.endswith("p") else values.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(layout), kind, "stereo")
    np.testing.assert_array_equal(_samples(frame), pair)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/x.ts\n", "of a kind that is read"),
        (b"ffconcat version 1.0\nfile 'a.wav'\n", "of a kind that is read"),
        (b"\xff\xfb" * 3000, "is not audio|no samples|no sense"),
        (b"no audio at all\n" * 99, "is not audio"),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + bytes(16) + b"data\4\0\0\0abcd", "is not|holds"),
    ],
)
def test_what_is_no_audio(tmp_path: Path, data: bytes, reason: str) -> None:
    """Lists of files are not followed."""
    (tmp_path / "a.m3u8").write_bytes(data)
    with (tmp_path / "a.m3u8").open("rb") as file, pytest.raises(ValueError, match=reason):
        read_audio_file(file)


def test_without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "espnet_psslm.samples.containers")
    with pytest.raises(ValueError, match="pip install av"):
        seconds(mp3("CONSTANT"))
