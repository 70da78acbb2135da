"""Files of other makers: language models, encoders, n-grams, Steps, statistics."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from espnet_psslm.bin import (
    asr_inference,
    asr_train,
    compare,
    psslm_inference,
    psslm_train,
    simulation_stats,
    train_units,
)
from tests.refusal import refusal, sampled

GARBAGE = b"\x00\x01\x02 garbage"


def changed_copy(folder: Path, target: Path, name: str, content: bytes | None) -> Path:
    """A folder with one file of it changed, or left out."""
    shutil.copytree(folder, target)
    (target / name).unlink()
    if content is not None:
        (target / name).write_bytes(content)
    return target


WEIGHTS = {
    "configuration is no JSON": ("config.json", b"{"),
    "configuration of nothing": ("config.json", b"{}"),
    "configuration in latin-1": ("config.json", b'{"model_type": "\xe4"}'),
    "configuration of an unknown kind": ("config.json", b'{"model_type": "nothing"}'),
    "no configuration": ("config.json", None),
    "weights are garbage": ("model.safetensors", GARBAGE),
    "weights are empty": ("model.safetensors", b""),
    "weights are a git-lfs pointer": ("model.safetensors", b"version https://git-lfs.github"),
    "no weights": ("model.safetensors", None),
}  # fmt: skip
TOKENIZER = {
    "tokenizer is garbage": ("tokenizer.json", GARBAGE),
    "tokenizer is empty": ("tokenizer.json", b""),
    "tokenizer is of something else": ("tokenizer.json", b'{"a": 1}'),
    "no tokenizer": ("tokenizer.json", None),
}  # fmt: skip


@pytest.mark.parametrize("name", sampled(WEIGHTS | TOKENIZER))
def test_language_models(system, tmp_path, capsys, name):
    file, content = (WEIGHTS | TOKENIZER)[name]
    lm = changed_copy(system.folder / "lm", tmp_path / "lm", file, content)
    command = system.bridge_command(tmp_path, llm_conf={"name": str(lm)})
    said = refusal(psslm_train.main, command, capsys)
    assert str(lm) in said


@pytest.mark.parametrize("name", sampled(WEIGHTS, first=1))
def test_encoders(system, tmp_path, capsys, name):
    file, content = WEIGHTS[name]
    encoder = changed_copy(system.folder / "whisper", tmp_path / "whisper", file, content)
    command = system.setting.command(tmp_path / "exp")
    config = yaml.safe_load((system.folder / "train.yaml").read_text())
    config["encoder_conf"]["name"] = str(encoder)
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    said = refusal(asr_train.main, [*command, "--config", str(tmp_path / "given.yaml")], capsys)
    assert f"'{encoder}'" in said


@pytest.mark.parametrize(
    ("option", "content", "words"),
    [
        ("--ngram_file", GARBAGE, "--ngram_file"),
        ("--ngram_file", b"", "--ngram_file"),
        ("--hot_words", b"\xe4\n", "given.arpa:1: not UTF-8"),
    ],
)
def test_what_a_search_reads(system, tmp_path, capsys, option, content, words):
    path = tmp_path / "given.arpa"
    path.write_bytes(content)
    options = [*system.ctc, "--data_dir", str(system.folder), "--search", "prefix_beam"]
    options += [option, str(path), "--output_dir", str(tmp_path / "out")]
    said = refusal(asr_inference.main, options, capsys)
    assert words in said and str(path) in said


@pytest.mark.parametrize("content", [GARBAGE, b""])
@pytest.mark.parametrize("kind", ["given", "hf"])
def test_where_units_come_from(tmp_path, capsys, kind, content):
    path = tmp_path / "given.json"
    path.write_bytes(content)
    (tmp_path / "text").write_text("utt0 low\n")
    options = ["--text", str(tmp_path / "text"), "--model_type", kind, "--source", str(path)]
    said = refusal(train_units.main, [*options, "--output_dir", str(tmp_path / "units")], capsys)
    assert str(path) in said


@pytest.mark.parametrize("content", [GARBAGE, b"", b"utt0 low\n", None])
def test_steps_that_are_none(system, tmp_path, capsys, content):
    path = tmp_path / "steps.ark"
    if content is not None:
        path.write_bytes(content)
    row = {"key": "a-ASR", "task": "ASR", "target": "low", "GT": "low", "steps": f"{path}:0"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    options = ["--steps_manifest", str(tmp_path / "rows.jsonl"), "--output", str(tmp_path / "out")]
    options += ["--token_list", str(system.folder / "units/tokens.txt")]
    options += ["--bpemodel", str(system.folder / "units/bpe.model")]
    assert str(path) in refusal(simulation_stats.main, options, capsys)
    options = [*system.bridge, "--manifest", str(tmp_path / "rows.jsonl"), "--device", "cpu"]
    said = refusal(psslm_inference.main, [*options, "--output_dir", str(tmp_path)], capsys)
    assert "1 of 1 rows" in said and str(path) in said


MEASURED = {
    "no mapping": ("- a\n", "holds no names and values"),
    "tab": ("a:\n\tb: 1\n", ":2: no YAML"),
    "of nothing": ("num_units: 15\n", "lacks"),
    "of other units": ("num_units: 99\n", "simulator_conf"),
}  # fmt: skip


@pytest.mark.parametrize("name", MEASURED)
def test_measured_statistics(system, tmp_path, capsys, name):
    content, words = MEASURED[name]
    path = tmp_path / "measured.yaml"
    path.write_text(content)
    changes = {"simulator": "measured", "simulator_conf": {"measured": str(path)}}
    said = refusal(psslm_train.main, system.bridge_command(tmp_path, **changes), capsys)
    assert words in said


def test_an_output_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "ref").write_text("utt0 low\nutt1 mid\n")
    (tmp_path / "file").touch()
    names = ("--ref", "--hyp_a", "--hyp_b")
    options = [word for name in names for word in (name, str(tmp_path / "ref"))]
    options += ["--metric", "wer", "--output", str(tmp_path / "file/below/out.json")]
    assert str(tmp_path / "file") in refusal(compare.main, options, capsys)
