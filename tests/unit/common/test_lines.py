"""Only a line feed ends a line, and a byte order mark is part of none: in every reader."""

import json
from pathlib import Path

import pytest

from espnet_psslm.acoustic.hot_words import read_hot_words
from espnet_psslm.bin.join_jobs import join
from espnet_psslm.bin.split_data import split
from espnet_psslm.bin.train_units import read_sentences as read_unit_sentences
from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.common.lines import read_lines, split_lines
from espnet_psslm.data.audio import read_scp
from espnet_psslm.data.convert import to_data_dir, to_rows
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.data.prepare import CorpusSet, read_sentences
from espnet_psslm.data.shards import Shards, find_shards
from espnet_psslm.recipe.adaptation.domain import _parse
from espnet_psslm.score.files import read_references
from espnet_psslm.text.prompt import read_prompt_file
from espnet_psslm.text.spelled import read_unit_file

BOM = "\ufeff"
TEXTS = ["one\u2028two", "one\u2029two", "one\u0085two", "one two"]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = [
        {"key": f"k{i}", "utt": f"k{i}", "task": "ASR", "target": text, "GT": text}
        for i, text in enumerate(TEXTS)
    ]
    folder = tmp_path / "data"
    folder.mkdir()
    write_jsonl(folder / "psslm.jsonl", rows)
    return folder / "psslm.jsonl"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_marks_and_carriage_returns(tmp_path: Path) -> None:
    path = write(tmp_path / "x", f"{BOM}a\r\n\nb\u2028c{BOM}")
    assert list(read_lines(path)) == [(1, "a"), (2, ""), (3, f"b\u2028c{BOM}")]
    for text in ("", "a", "a\n", "a\n\nb\u2028c\n"):
        assert "".join(split_lines(text)) == text
    assert split_lines("a\n\nb\u2028c\n") == ["a\n", "\n", "b\u2028c\n"]


def test_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_bytes(b"utt0 a.flac\nutt1 caf\xe9.flac\n")
    for read in (read_table, read_scp):
        with pytest.raises(ValueError, match=r"wav.scp:2: not UTF-8 \(byte 0xe9 at 8\)"):
            read(tmp_path / "wav.scp")


def test_separators_are_text_where_jobs_are_joined(manifest: Path, tmp_path: Path) -> None:
    for job in range(1, split(manifest.parent, tmp_path / "jobs", nj=3) + 1):
        rows = read_manifest(tmp_path / f"jobs/{job}/psslm.jsonl").values()
        lines = "".join(f"{row['key']} {row['target']}\n" for row in rows)
        write(tmp_path / f"jobs/{job}/text", lines)
    join(manifest.parent, tmp_path, nj=3)
    assert (tmp_path / "psslm.jsonl").read_text() == manifest.read_text()
    assert list(read_table(tmp_path / "text").values()) == TEXTS


def test_separators_are_text_in_tables_and_manifests(manifest: Path, tmp_path: Path) -> None:
    assert list(read_references(manifest).values()) == TEXTS
    to_data_dir(manifest, tmp_path / "made")
    assert [row["target"] for row in to_rows(tmp_path / "made")] == TEXTS
    assert len(Shards([manifest]).read(0)) == 4
    assert [row["target"] for _, row in _parse(manifest)] == TEXTS


def test_separators_are_text_in_prompts_and_sentences(tmp_path: Path) -> None:
    prompts = [{"task": "ASR", "prompt": text} for text in TEXTS]
    write_jsonl(tmp_path / "prompts.jsonl", prompts)
    assert read_prompt_file(tmp_path / "prompts.jsonl") == prompts
    path = write(tmp_path / "text", BOM + "".join(f"{text}\n" for text in TEXTS))
    sentences = CorpusSet()
    read_sentences(path, into=sentences, normalize=str.strip)
    assert [utterance.text for utterance in sentences.utterances.values()] == TEXTS
    assert [row["text"] for _, row in _parse(path)] == TEXTS
    assert read_unit_sentences(path, kaldi_text=False) == TEXTS
    assert read_hot_words(path) == ["one two"] * 4


def test_mark_is_no_part_of_what_comes_first(tmp_path: Path) -> None:
    table = write(tmp_path / "wav.scp", f"{BOM}utt0 a.flac\nutt1\tb.flac\n")
    assert read_table(table) == read_scp(table) == {"utt0": "a.flac", "utt1": "b.flac"}
    row = json.dumps({"key": "a", "task": "ASR", "target": "one", "GT": "one", "prompt": "p"})
    path = write(tmp_path / "x.jsonl", f"{BOM}{row}\n\n{row.replace('"a"', '"b"')}\n")
    assert list(read_manifest(path)) == list(read_references(path)) == ["a", "b"]
    assert len(read_prompt_file(path)) == 2
    shards = write(tmp_path / "list", f"{BOM}x.jsonl\n")
    assert find_shards(str(shards)) == [path]
    assert read_unit_file(write(tmp_path / "units", f"{BOM}a\nb\n"))[1:3] == ["a", "b"]
