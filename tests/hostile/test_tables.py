"""Kaldi's tables as editors, spreadsheets and other systems leave them."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_psslm.bin import asr_inference, compare, data2jsonl, filter_data, format_wav, score
from espnet_psslm.common.left_out import read_dropped
from espnet_psslm.data.kaldi import read_table
from tests.refusal import refusal

# What a table holds, and what is said of it.
TABLES = {
    "latin-1": (b"utt0 low\nutt1 m\xe4d\n", ":2: not UTF-8 (byte 0xe4 at 6)"),
    "latin-1 in an id": (b"\xfctt low\n", ":1: not UTF-8"),
    "cp1252": (b"utt0 it\x92s\n", ":1: not UTF-8"),
    "UTF-16": ("utt0 low\n".encode("utf-16"), ":1: not UTF-8"),
    "gzip": (b"\x1f\x8b\x08\x00", ":1: not UTF-8"),
    "an id twice": (b"utt0 low\nutt0 mid\n", ":2: utterance utt0 was there before"),
    "pipe": (os.mkfifo, "is a pipe"),
    "folder": (os.mkdir, "is a folder"),
    "none": (None, "does not exist"),
}  # fmt: skip


def make(path: Path, content) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content(path)


def hypotheses(folder: Path):
    (folder / "ref").write_text("utt0 low\nutt1 mid\n")
    options = ["--ref", "ref", "--hyp", "given", "--metric", "cer", "--output", "out"]
    return score.main, options


def references(folder: Path):
    (folder / "hyp").write_text("utt0 low\nutt1 mid\n")
    return score.main, ["--ref", "given", "--hyp", "hyp", "--metric", "cer", "--output", "out"]


def of_two(folder: Path):
    (folder / "ref").write_text("utt0 low\nutt1 mid\n")
    options = ["--ref", "ref", "--hyp_a", "ref", "--hyp_b", "given", "--metric", "wer"]
    return compare.main, [*options, "--output", "out"]


def to_format(folder: Path):
    (folder / "text").write_text("utt0 low\n")
    (folder / "wav.scp").symlink_to("given")
    return format_wav.main, ["--data_dir", ".", "--output_dir", "out", "--nj", "1"]


def texts(folder: Path):
    (folder / "wav.scp").write_text("utt0 0.wav\n")
    (folder / "text").symlink_to("given")
    return format_wav.main, ["--data_dir", ".", "--output_dir", "out", "--nj", "1"]


def transcripts(folder: Path):
    (folder / "text").symlink_to("given")
    return data2jsonl.main, ["--data_dir", ".", "--manifest", "out"]


def formatted(folder: Path):
    (folder / "text").write_text("utt0 low\n")
    (folder / "utt2num_samples").write_text("utt0 1600\n")
    (folder / "wav.scp").symlink_to("given")
    return filter_data.main, ["--data_dir", "."]


READERS = (hypotheses, references, of_two, to_format, texts, transcripts, formatted)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_the_file_and_its_line_are_named(tmp_path, capsys, monkeypatch, reader, name):
    monkeypatch.chdir(tmp_path)
    content, words = TABLES[name]
    make(tmp_path / "given", content)
    main, options = reader(tmp_path)
    said = refusal(main, options, capsys)
    assert words in said
    assert not (tmp_path / "out").is_file()


COUNTS = {
    "a word": "utt0 many\n",
    "a fraction": "utt0 1600.5\n",
    "no number": "utt0\n",
    "a number below zero": "utt0 -1\n",
    "a number of words": "utt0 1 600\n",
    "another utterance": "utt1 1600\n",
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_lengths_that_are_none(system, tmp_path, capsys, name):
    (tmp_path / "wav.scp").write_text(f"utt0 {system.folder}/0.wav\n")
    (tmp_path / "utt2num_samples").write_text(COUNTS[name])
    options = [*system.ctc, "--data_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")]
    assert f"{tmp_path}/utt2num_samples" in refusal(asr_inference.main, options, capsys)


def test_marks_line_ends_and_separators(tmp_path):
    """A byte order mark and CR LF are no text; Unicode's own separators are."""
    path = tmp_path / "text"
    path.write_bytes("\ufeffutt0 a\u2028b\r\n\r\nutt1 c\u0085d\u2029e\r\nutt2\r\n".encode())
    assert read_table(path) == {"utt0": "a\u2028b", "utt1": "c\u0085d\u2029e", "utt2": ""}


def test_the_others_go_on(tmp_path, monkeypatch):
    """Ids that are no names of files, audio that is none: the good one is formatted."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", 0.1 * np.ones(8000), 8000)
    Path("no.wav").write_text("no audio")
    os.mkfifo("pipe.wav")
    sources = {"../up": "a.wav", "/abs": "a.wav", "bad": "no.wav", "fifo": "pipe.wav"}
    sources |= {"gone": "gone.wav", "good": "a.wav", "up\ud7ff": "a.wav"}
    Path("wav.scp").write_text("".join(f"{utt} {path}\n" for utt, path in sources.items()))
    Path("text").write_text("".join(f"{utt} low\n" for utt in sources))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    format_wav.main(["--data_dir", ".", "--output_dir", "out", "--nj", "1"])
    assert set(read_table("out/wav.scp")) == set(sources) - {"bad", "fifo", "gone"}
    dropped = [entry.name for entry in read_dropped(Path("out"))]
    assert sorted(dropped) == ["bad", "fifo", "gone"]
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert all(path.is_relative_to(tmp_path / "out") for path in new)


def test_the_reason_that_is_given_is_the_true_one(tmp_path, capsys, monkeypatch):
    """Not that of a text that has no audio, where no audio can be read."""
    monkeypatch.chdir(tmp_path)
    Path("wav.scp").write_text("utt1 gone.wav\n")
    Path("text").write_text("utt0 low\nutt1 low\n")
    options = ["--data_dir", ".", "--output_dir", "out", "--nj", "1"]
    said = refusal(format_wav.main, options, capsys)
    assert "none of 1 recordings can be used, the first: gone.wav: no such file" in said
