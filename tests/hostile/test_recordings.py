"""Recordings as phones, browsers, pipes and disks leave them, each among good ones."""

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.unit.samples.test_containers import ID3, KINDS, NOISE, RATE, encoded, mp3, without_tag


def wav(samples: np.ndarray = NOISE, rate: int = RATE, subtype: str = "PCM_16") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", subtype=subtype)
    return stream.getvalue()


def sized(size: int) -> bytes:
    """A wav whose header announces so many bytes."""
    data = bytearray(wav())
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", size)
    return bytes(data)


def container(name: str) -> bytes:
    codec, options = KINDS[name]
    return encoded(Path(f"made.{name.partition('.')[2]}"), codec, **options)


def changed(value: float) -> np.ndarray:
    samples = NOISE.copy()
    samples[100] = value
    return samples


# One second each, whatever their name says.
WHOLE = {
    "constant.mp3": lambda: without_tag(mp3("CONSTANT")),
    "variable.mp3": lambda: without_tag(mp3("VARIABLE")),
    "titled.mp3": lambda: ID3 + without_tag(mp3("VARIABLE")),
    "end.m4a": lambda: container("end.m4a"),
    "start.m4a": lambda: container("start.m4a"),
    "parts.m4a": lambda: container("parts.m4a"),
    "PHONE.M4A": lambda: container("end.m4a"),
    "m4a.wav": lambda: container("end.m4a"),
    "noname": lambda: container("start.m4a"),
    "a.webm": lambda: container("a.webm"),
    "a.opus": lambda: container("a.opus"),
    "sox_pipe.wav": lambda: sized(0x7FFFF000),
    "zero_size.wav": lambda: sized(0),
    "largest_size.wav": lambda: sized(0xFFFFFFFF),
    "odd_rate.wav": lambda: wav(np.repeat(NOISE, 3)[:44101], 44101),
    "stereo.wav": lambda: wav(np.stack([NOISE, NOISE], axis=1)),
    "eight_bits.wav": lambda: wav(subtype="PCM_U8"),
    "ok: 100 %.wav": lambda: wav(),
}
# What is said of those that cannot be answered.
UNUSABLE = {
    "int16_scale.wav": (lambda: wav(NOISE * 20000, subtype="FLOAT"), "where 1 is full scale"),
    "nan.wav": (lambda: wav(changed(np.nan), subtype="FLOAT"), "not finite"),
    "infinite.wav": (lambda: wav(changed(-np.inf), subtype="FLOAT"), "not finite"),
    "no_samples.wav": (lambda: wav(NOISE[:0]), "holds no samples"),
    "cut.wav": (lambda: wav()[:9000], "truncated"),
    "cut.m4a": (lambda: container("start.m4a")[:4000], "truncated"),
    "cut_before_its_index.m4a": (lambda: container("end.m4a")[:4000], "truncated"),
    "cut.flac": (lambda: flac()[:9000], "truncated"),
    "empty.wav": (lambda: b"", "the file is empty"),
    "page.wav": (lambda: b"<!DOCTYPE html>\n<html></html>\n", "is not audio"),
    "lfs.wav": (lambda: b"version https://git-lfs.github.com/spec/v1\noid", "is not audio"),
    "list.m3u8": (lambda: b"#EXTM3U\n#EXTINF:9,\n/etc/passwd\n", "is not audio"),
    "slow.wav": (lambda: wav()[:24] + struct.pack("<I", 7) + wav()[28:], "7 Hz"),
}


def flac() -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, NOISE, RATE, format="FLAC")
    return stream.getvalue()


@pytest.fixture
def others(answered):
    """Write one beside two good ones, and answer all three; returns rows by file, and the rest."""

    def run(name: str, data: bytes):
        Path(name).write_bytes(data)
        for good in ("before.wav", "behind.wav"):
            Path(good).write_bytes(wav())
        status, out, err = answered("before.wav", name, "behind.wav", "--format", "json")
        rows = {row["file"]: row for row in map(json.loads, out.splitlines())}
        assert {"before.wav", "behind.wav"} <= rows.keys()
        assert "Traceback" not in err
        return status, rows, err

    return run


@pytest.mark.parametrize("name", WHOLE)
def test_heard_whole(tmp_path, monkeypatch, others, name):
    monkeypatch.chdir(tmp_path)
    status, rows, _ = others(name, WHOLE[name]())
    assert status == 0
    assert int(rows[name]["text"]) / RATE == pytest.approx(1, abs=0.16)


@pytest.mark.parametrize("name", UNUSABLE)
def test_named_with_the_reason(tmp_path, monkeypatch, others, caplog, name):
    monkeypatch.chdir(tmp_path)
    make, reason = UNUSABLE[name]
    status, rows, err = others(name, make())
    assert status == 1 and name not in rows
    assert err.splitlines()[-1].endswith("error: 1 of 3 files failed")
    [said] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert (
        said.startswith(f"{name}: ")
        and said.count(name) == 1
        and reason in said
        and "\n" not in said
    )


PIPED = {
    "end.m4a": lambda: container("end.m4a"),
    "a.webm": lambda: container("a.webm"),
    "sox_pipe.wav": lambda: sized(0x7FFFF000),
    "a.mp3": lambda: without_tag(mp3("VARIABLE")),
}


@pytest.mark.parametrize("name", PIPED)
def test_heard_through_a_pipe(tmp_path, monkeypatch, answered, name):
    """``cat a.m4a | espnet-psslm transcribe -``."""
    monkeypatch.chdir(tmp_path)
    data = PIPED[name]()
    cat = "import sys; sys.stdout.buffer.write(open('given', 'rb').read())"
    Path("given").write_bytes(data)
    with subprocess.Popen([sys.executable, "-c", cat], stdout=subprocess.PIPE) as writer:
        kept = os.dup(0)
        os.dup2(writer.stdout.fileno(), 0)
        try:
            status, out, _ = answered("-", "--format", "json")
        finally:
            os.dup2(kept, 0)
            os.close(kept)
    assert status == 0
    assert int(json.loads(out)["text"]) / RATE == pytest.approx(1, abs=0.16)
