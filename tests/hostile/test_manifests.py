"""Manifests with one row, or a whole file, that no command can use."""

import json
import os
from pathlib import Path

import pytest

from espnet_psslm.bin import jsonl2data, psslm_inference, psslm_train, score
from tests.refusal import refusal, sampled

GOOD = {"key": "utt00-ASR", "task": "ASR", "target": "low", "GT": "low"}
LAST = {"key": "utt02-ASR", "task": "ASR", "target": "high", "GT": "high"}


def row(**changes: object) -> bytes:
    """The second row, as JSON; None leaves a field out."""
    whole = {"key": "utt01-ASR", "task": "ASR", "target": "mid", "GT": "mid"} | changes
    kept = {name: value for name, value in whole.items() if value is not None}
    return json.dumps(kept).encode()


# What stands in line 2, and what is said of it.
LINES = {
    "half a row": (row()[:40], "no JSON"),
    "text": (b"utt01 mid", "no JSON"),
    "single quotes": (b"{'key': 'utt01-ASR'}", "no JSON"),
    "two rows": (row() + row(key="utt09"), "no JSON"),
    "latin-1": (row().replace(b"mid", b"m\xe4d"), "not UTF-8"),
    "a zero byte": (row() + b"\0", "no JSON"),
    "list": (b"[1, 2]", "list in place of an object"),
    "number": (b"7", "int in place of an object"),
    "null": (b"null", "NoneType in place of an object"),
    "nested deeply": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    "huge number": (b'{"key": ' + b"9" * 5000 + b"}", "digits"),
    "half a character": (row(target="m\ud800d"), "half a character"),
    "half a character in its key": (row(key="utt\udc80"), "half a character"),
    "half a character elsewhere": (row(note=["\udfff"]), "half a character"),
    "no key": (row(key=None), "'key' is missing"),
    "no task": (row(task=None), "'task' is missing"),
    "no target": (row(target=None), "'target' is missing"),
    "number as key": (row(key=7), "type int"),
    "number as task": (row(task=1.5), "type float"),
    "number as target": (row(target=7), "type int"),
    "list as target": (row(target=["mid"]), "type list"),
    "object as target": (row(target={"a": "b"}), "type dict"),
    "empty target": (row(target=" "), "is empty"),
    "empty key": (row(key=""), "is empty"),
    "key of two words": (row(key="utt 01"), "white space"),
    "key that leads elsewhere": (row(key="../utt01"), "has '/'"),
    "task that leads elsewhere": (row(task="../ASR"), "has '/', or begins"),
    "hidden task": (row(task=".ASR"), "has '/', or begins"),
    "key twice": (row(key=GOOD["key"]), "was there before"),
}  # fmt: skip


def manifest(path: Path, line: bytes) -> Path:
    path.write_bytes(b"\n".join([json.dumps(GOOD).encode(), line, json.dumps(LAST).encode(), b""]))
    return path


@pytest.mark.parametrize("name", LINES)
def test_scoring_names_line_and_reason(tmp_path, capsys, name):
    line, words = LINES[name]
    ref = manifest(tmp_path / "ref.jsonl", line)
    (tmp_path / "hyp").write_text("utt00-ASR low\n")
    output = tmp_path / "score.json"
    command = ["--ref", ref, "--hyp", tmp_path / "hyp", "--metric", "wer", "--output", output]
    said = refusal(score.main, [str(word) for word in command], capsys)
    assert f"{ref}:2: " in said and words in said and "; " in said
    assert not output.exists()


@pytest.mark.parametrize("name", sampled(LINES))
def test_a_training_names_line_and_reason(system, tmp_path, capsys, name):
    line, words = LINES[name]
    path = manifest(tmp_path / "train.jsonl", line)
    rows = [[str(path), "sample", "psslm_jsonl"]]
    command = system.bridge_command(tmp_path, train_data_path_and_name_and_type=rows)
    said = refusal(psslm_train.main, command, capsys)
    assert f"{path}:2: " in said and words in said
    assert not list((tmp_path / "exp").glob("*.pth"))


@pytest.mark.parametrize("name", sampled(LINES, first=2))
def test_the_other_rows_are_answered(system, tmp_path, capsys, name):
    line, words = LINES[name]
    path = manifest(tmp_path / "test.jsonl", line)
    options = ["--oracle", "true", "--device", "cpu", "--max_new_tokens", "2", "--beam_size", "1"]
    command = [*system.bridge, *options, "--manifest", str(path), "--output_dir", str(tmp_path)]
    psslm_inference.main([*command, "--max_skipped", "0.5"])
    answers = (tmp_path / "ASR/1best_recog/text").read_text().splitlines()
    assert [answer.split()[0] for answer in answers] == [GOOD["key"], LAST["key"]]
    [skipped] = (tmp_path / "skipped.txt").read_text().splitlines()
    assert words in skipped and "2" in skipped


FILES = {
    "empty": (b"", "holds no row"),
    "blank lines": (b"\n \n\t\n", "holds no row"),
    "UTF-16": (json.dumps(GOOD).encode("utf-16"), "not UTF-8"),
    "web page": (b"<!DOCTYPE html>\n<html></html>\n", ":1: no JSON"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ":1: no JSON"),
    "zip": (b"PK\x03\x04\xff\xfe\n", ":1: "),
    "one JSON list": (b"[\n" + json.dumps(GOOD).encode() + b"\n]\n", ":1: no JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_that_is_no_manifest(tmp_path, capsys, name):
    content, words = FILES[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    command = ["--manifest", str(path), "--data_dir", str(tmp_path / "data")]
    said = refusal(jsonl2data.main, command, capsys)
    assert f"{path}:" in said and words in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [(os.mkfifo, "is a pipe"), (os.mkdir, "is a folder"), (lambda path: None, "does not exist")],
)
@pytest.mark.parametrize("command", ["score", "train", "decode", "adapt"])
def test_what_is_no_file_is_not_waited_for(system, tmp_path, capsys, command, make, words):
    path = tmp_path / "rows.jsonl"
    make(path)
    if command == "score":
        options = ["--ref", str(path), "--hyp", str(path), "--metric", "wer"]
        said = refusal(score.main, [*options, "--output", str(tmp_path / "score.json")], capsys)
    elif command == "train":
        rows = [[str(path), "sample", "psslm_jsonl"]]
        options = system.bridge_command(tmp_path, train_data_path_and_name_and_type=rows)
        said = refusal(psslm_train.main, options, capsys)
    elif command == "decode":
        options = [*system.bridge, "--manifest", str(path), "--output_dir", str(tmp_path)]
        said = refusal(psslm_inference.main, options, capsys)
    else:
        from espnet_psslm.bin import adapt

        options = ["--model", str(system.folder / "model.zip"), "--text", str(path)]
        said = refusal(adapt.main, [*options, "--output", str(tmp_path / "new.zip")], capsys)
    assert f"{path} {words}" in said


def test_marks_and_blank_lines_are_no_rows(tmp_path, capsys):
    """A byte order mark before, a carriage return behind, and nothing between are no fault."""
    lines = [json.dumps(GOOD), "", " \t", json.dumps(LAST)]
    (tmp_path / "ref.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    (tmp_path / "hyp").write_bytes(b"\xef\xbb\xbfutt00-ASR low\r\n\r\nutt02-ASR high\r\n")
    command = ["--ref", "ref.jsonl", "--hyp", "hyp", "--metric", "wer", "--output", "score.json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        score.main(command)
    assert json.loads((tmp_path / "score.json").read_text())["num_utts"] == 2
