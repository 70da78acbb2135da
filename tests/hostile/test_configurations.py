"""Configurations that are no YAML, no configuration, or ask for what there is not."""

import os
from pathlib import Path

import pytest
import yaml

from espnet_psslm.bin import asr_inference, asr_train, psslm_inference, psslm_train, simulator_train
from tests.refusal import refusal, sampled

# What the whole file holds, and what is said of it.
FILES = {
    "tab": (b"optim: adamw\n\tlr: 1\n", ":2: no YAML"),
    "open brace": (b"optim: adamw\noptim_conf: {lr: 1\nseed: 1\n", "no YAML"),
    "open quote": (b'optim: "adamw\n', "no YAML"),
    "two on a line": (b"optim: adamw: lr\n", ":1: no YAML"),
    "alias of nothing": (b"optim: *other\n", ":1: no YAML"),
    "python object": (b"optim: !!python/object/apply:os.system [ls]\n", ":1: no YAML"),
    "control character": (b"optim: \x07\n", "no YAML"),
    "latin-1": (b"# \xfcber\noptim: adamw\n", "not UTF-8"),
    "nested deeply": (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
    "nested in a line": (b"- " * 200_000 + b"a\n", "nested too deeply"),
    "empty": (b"", "holds no names and values"),
    "list": (b"- optim\n- adamw\n", "holds no names and values"),
    "text": (b"adamw\n", "holds no names and values"),
    "web page": (b"<!DOCTYPE html>\n<html><body>a: b: c</body></html>\n", "given.yaml:2: no YAML"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\n", "holds no names and values"),
    "zip": (b"PK\x03\x04\x14\x00\x00\x00\xff", "not UTF-8"),
}  # fmt: skip
COMMANDS = {
    "psslm_train": (psslm_train, "--config"),
    "asr_train": (asr_train, "--config"),
    "simulator_train": (simulator_train, "--config"),
    "psslm_inference": (psslm_inference, "--psslm_train_config"),
    "asr_inference": (asr_inference, "--asr_train_config"),
}  # fmt: skip


def others(system, command: str, folder: Path) -> list[str]:
    """The other options of a command; of ``--config`` the last one is read."""
    options = ["--output_dir", str(folder / "exp")]
    if command == "psslm_inference":
        options += [*system.bridge, "--manifest", str(system.folder / "psslm.jsonl")]
    if command == "asr_inference":
        options += [*system.ctc, "--data_dir", str(system.folder)]
    return options


@pytest.mark.parametrize("name", sampled(FILES))
@pytest.mark.parametrize("command", COMMANDS)
def test_the_file_and_its_line_are_named(system, tmp_path, capsys, command, name):
    content, words = FILES[name]
    path = tmp_path / "given.yaml"
    path.write_bytes(content)
    module, option = COMMANDS[command]
    options = [*others(system, command, tmp_path), option, str(path)]
    said = refusal(module.main, options, capsys)
    assert str(path) in said and words in said
    assert not (tmp_path / "exp/config.yaml").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [(os.mkfifo, "is a pipe"), (os.mkdir, "is a folder"), (lambda path: None, "does not exist")],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_file(system, tmp_path, capsys, command, make, words):
    path = tmp_path / "given.yaml"
    make(path)
    module, option = COMMANDS[command]
    options = [*others(system, command, tmp_path), option, str(path)]
    assert f"{path} {words}" in refusal(module.main, options, capsys)


# Changes of a good configuration of the bridge, and what is said of them.
BRIDGE = {
    "no language model": ({"llm_conf": {}}, "llm_conf: name"),
    "a number for one": ({"llm_conf": {"name": 7}}, "llm_conf: name: 7"),
    "no such language model": ({"llm_conf": {"name": "/none"}}, "llm_conf.name"),
    "no section": ({"llm_conf": "gpt"}, "llm_conf: 'gpt' is no section"),
    "unknown in llm_conf": ({"llm_conf": {"nam": "x"}}, "llm_conf: ['nam'] is unknown"),
    "unknown projector": ({"projector": "linear-gelu"}, "projector: 'linear-gelu' is unknown"),
    "unknown in projector_conf": (
        {"projector_conf": {"hiden": 3}},
        "projector_conf of LinearSiLU: ['hiden'] is unknown; did you mean hidden? use hidden",
    ),
    "text for a number": ({"projector_conf": {"hidden": "wide"}}, "projector_conf"),
    "unknown in prompt_conf": ({"prompt_conf": {"style": "x"}}, "prompt_conf: ['style']"),
    "layout without speech": ({"prompt_conf": {"layout": "{prompt}"}}, "<speech>"),
    "unknown simulator": ({"simulator": "tacotron"}, "simulator: 'tacotron' is unknown"),
    "unknown in simulator_conf": (
        {"simulator": "tasu", "simulator_conf": {"smoothing": 1}},
        "simulator_conf of tasu: ['smoothing'] is unknown; did you mean max_smoothing? use delete_",
    ),
    "unknown reduction": ({"reduction": "all"}, "reduction: 'all' is unknown"),
    "unknown in reduction_conf": (
        {"reduction_conf": {"threshold": 1}},
        "of merge_then_drop: ['threshold'] is unknown; did you mean blank_threshold? use blank_",
    ),
    "unknown tuning": ({"tuning": "full"}, "tuning: 'full' is unknown"),
    "unknown in tuning_conf": (
        {"tuning": "prefix", "tuning_conf": {"tuned": 1}},
        "tuning_conf of prefix: ['tuned'] is unknown; did you mean num_tuned? use num_tuned",
    ),
    "options of what has none": (
        {"tuning": "frozen", "tuning_conf": {"r": 1}}, "['r'] is unknown; there are no options"
    ),
    "unknown in acoustic_conf": ({"acoustic_conf": {"file": "x"}}, "acoustic_conf: ['file']"),
    "unknown step kind": ({"step_kind": "phone"}, "step_kind: 'phone' is unknown"),
    "unknown option": ({"epochs": 3}, "epochs"),
    "text for epochs": ({"max_epoch": "many"}, "max_epoch: 'many'"),
    "text for a seed": ({"seed": "random"}, "seed: 'random'"),
    "unknown optimizer": ({"optim": "lion3"}, "optim"),
    "unknown in optim_conf": ({"optim_conf": {"rate": 1}}, "rate"),
    "no prompts": ({"prompt_file": None}, "--prompt_file is not set"),
    "no units": ({"token_list": None}, "--token_list is not set"),
    "no manifest": ({"train_data_path_and_name_and_type": []}, "train_data_path"),
    "unknown type of data": (
        {"train_data_path_and_name_and_type": [["a.jsonl", "sample", "jsonl"]]}, "jsonl"
    ),
    "data in two parts": ({"train_data_path_and_name_and_type": [["a.jsonl", "x"]]}, "a.jsonl"),
    "unknown kind of batch": ({"batch_type": "big"}, "batch_type"),
}  # fmt: skip


@pytest.mark.parametrize("name", sampled(BRIDGE))
def test_what_a_bridge_cannot_be_is_named(system, tmp_path, capsys, name):
    changes, words = BRIDGE[name]
    said = refusal(psslm_train.main, system.bridge_command(tmp_path, **changes), capsys)
    assert words in said
    assert not list((tmp_path / "exp").glob("*.pth"))


ACOUSTIC = {
    "unknown encoder": ({"encoder": "hubert9"}, "encoder: 'hubert9' is unknown"),
    "unknown in encoder_conf": ({"encoder_conf": {"layers": 3}}, "layers"),
    "no such weights": ({"encoder_conf": {"name": "/none"}}, "/none"),
    "unknown in frontend_conf": ({"frontend_conf": {"bins": 3}}, "bins"),
    "unknown in ctc_conf": ({"ctc_conf": {"blank": 3}}, "blank"),
    "unknown in model_conf": ({"model_conf": {"ctc_weight": 1.0, "x": 1}}, "'x'"),
    "text for a share": ({"max_ctc_too_short": "few"}, "max_ctc_too_short: 'few'"),
    "unknown token type": ({"token_type": "word"}, "token_type: 'word' is unknown"),
    "a decoder": ({"decoder": "transformer"}, "decoder: transformer"),
    "section of a scheduler": ({"scheduler": "warmuplr", "scheduler_conf": {"x": 1}}, "'x'"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACOUSTIC)
def test_what_an_acoustic_model_cannot_be_is_named(system, tmp_path, capsys, name):
    changes, words = ACOUSTIC[name]
    command = system.setting.command(tmp_path / "exp")
    config = yaml.safe_load((system.folder / "train.yaml").read_text())
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config | changes))
    said = refusal(asr_train.main, [*command, "--config", str(tmp_path / "given.yaml")], capsys)
    assert words in said
    assert not list((tmp_path / "exp").glob("*.pth"))


def test_measured_statistics_are_not_for_the_rule_based_simulator(system, tmp_path, capsys):
    (tmp_path / "measured.yaml").write_text("num_units: 15\n")
    changes = {"simulator_conf": {"measured": str(tmp_path / "measured.yaml")}}
    command = system.bridge_command(tmp_path, **changes)
    said = refusal(psslm_train.main, [*command, "--simulator", "tasu"], capsys)
    assert "simulator_conf of tasu: ['measured'] is unknown; use delete_prob, " in said


def test_an_unknown_dtype(system, tmp_path, capsys):
    conf = {"name": str(system.folder / "lm"), "dtype": "float7"}
    assert "float7" in refusal(
        psslm_train.main, system.bridge_command(tmp_path, llm_conf=conf), capsys
    )


SAVED = {
    "projector": "linear-gelu",
    "simulator": "tacotron",
    "step_kind": "phone",
    "tuning": "full",
    "reduction": "all",
    "token_type": "word",
    "llm_conf": {},
    "prompt_conf": {"style": "x"},
}  # fmt: skip


@pytest.mark.parametrize("option", SAVED)
def test_a_saved_configuration_that_was_edited(system, tmp_path, capsys, option):
    saved = yaml.safe_load((system.folder / "bridge/config.yaml").read_text())
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(saved | {option: SAVED[option]}))
    options = [*others(system, "psslm_inference", tmp_path), "--psslm_train_config", str(path)]
    assert option in refusal(psslm_inference.main, options, capsys)
