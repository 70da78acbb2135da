"""Units, their models and prompts that are broken, by the commands that read them."""

import json
import os

import pytest

from espnet_psslm.bin import psslm_inference, psslm_train, train_units
from tests.refusal import refusal

GIT_LFS = b"version https://git-lfs.github.com/spec/v1\n"
# Option of the bridge, content, and what is said.
GIVEN = {
    "garbage as bpe.model": ("bpemodel", b"\x00\x01pieces", "no SentencePiece model"),
    "empty bpe.model": ("bpemodel", b"", "is empty"),
    "bpe.model by git-lfs": ("bpemodel", GIT_LFS, "git lfs pull"),
    "web page as bpe.model": ("bpemodel", b"<html>", "a web page"),
    "bpe.model is a folder": ("bpemodel", os.mkdir, "is a folder"),
    "bpe.model is a pipe": ("bpemodel", os.mkfifo, "is a pipe"),
    "no bpe.model": ("bpemodel", None, "does not exist"),
    "empty units": ("token_list", b"", "token list must start with"),
    "units in latin-1": ("token_list", b"<blank>\n<unk>\n\xe4\n<sos/eos>\n", ":3: not UTF-8"),
    "units without blank": ("token_list", b"<unk>\na\nb\n<sos/eos>\n", "must start with"),
    "units twice": ("token_list", b"<blank>\n<unk>\na\na\n<sos/eos>\n", "more than once"),
    "other units": ("token_list", b"<blank>\n<unk>\na\nb\n<sos/eos>\n", "not in the token list"),
    "units are a pipe": ("token_list", os.mkfifo, "is a pipe"),
    "no prompts in it": ("prompt_file", b"\n\n", "no prompt in it"),
    "prompts as text": ("prompt_file", b"Transcribe.\n", ":1: no JSON"),
    "prompts in latin-1": ("prompt_file", b'{"task": "ASR", "prompt": "\xfc"}\n', "not UTF-8"),
    "list as prompt": ("prompt_file", b'["ASR"]\n', ":1: "),
    "number as prompt": ("prompt_file", b"7\n", ":1: "),
    "no task": ("prompt_file", b'{"prompt": "x"}\n', ":1: lacks 'task'"),
    "no prompt": ("prompt_file", b'{"task": "ASR"}\n', ":1: lacks 'prompt'"),
    "task is a number": ("prompt_file", b'{"task": 7, "prompt": "x"}\n', ":1: "),
    "half a character": ("prompt_file", b'{"task": "ASR", "prompt": "\\ud800"}\n', "half a char"),
    "deep": ("prompt_file", b'{"task":' * 99999 + b"1" + b"}" * 99999, "nested too deeply"),
    "examples are text": (
        "prompt_file", b'{"task": "ASR", "prompt": "x", "examples": ["a"]}\n', ":1: an example"
    ),
    "labels are text": (
        "prompt_file", b'{"task": "ASR", "prompt": "x", "labels": "a"}\n', ":1: labels must be"
    ),
    "prompts are a pipe": ("prompt_file", os.mkfifo, "is a pipe"),
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_the_file_is_named(system, tmp_path, capsys, name):
    option, content, words = GIVEN[name]
    path = tmp_path / "given"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content(path)
    command = system.bridge_command(tmp_path, **{option: str(path)})
    said = refusal(psslm_train.main, command, capsys)
    assert words in said and (str(path) in said or name == "other units")


TEXTS = {
    "empty": (b"", ()),
    "blank lines": (b"\n \n", ()),
    "latin-1": (b"utt0 low\nutt1 m\xe4d\n", ("given:2: not UTF-8",)),
    "UTF-16": ("utt0 low\n".encode("utf-16"), ("not UTF-8",)),
    "too few letters for the units": (b"utt0 a\n", ("vocab_size",)),
    "pipe": (os.mkfifo, ("is a pipe",)),
    "folder": (os.mkdir, ("is a folder",)),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_make_no_units(tmp_path, capsys, name):
    content, words = TEXTS[name]
    path = tmp_path / "given"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    options = ["--text", str(path), "--kaldi_text", "true", "--vocab_size", "50"]
    said = refusal(train_units.main, [*options, "--output_dir", str(tmp_path / "units")], capsys)
    assert all(word in said for word in words)
    assert not (tmp_path / "units/tokens.txt").exists()


def test_a_task_without_a_prompt_goes_last(system, tmp_path, capsys):
    """The rows of other tasks are answered."""
    rows = [
        {"key": "a", "task": "ASR", "target": "low", "GT": "low"},
        {"key": "b", "task": "asr", "target": "low", "GT": "low"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [*system.bridge, "--oracle", "true", "--device", "cpu", "--beam_size", "1"]
    options += ["--manifest", str(path), "--output_dir", str(tmp_path), "--max_new_tokens", "2"]
    said = refusal(psslm_inference.main, options, capsys)
    assert "1 of 2 rows" in said and f"{path}:2" in said and "did you mean 'ASR'" in said
    assert (tmp_path / "ASR/1best_recog/text").read_text().split()[0] == "a"
