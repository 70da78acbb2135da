"""Checkpoints that are cut, of something else, or that came as something else, by every option."""

import os
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from espnet_psslm.bin import asr_inference, asr_train, dump_steps, psslm_inference, psslm_train
from tests.refusal import refusal, sampled


class Code:
    """What an unpickler would run."""

    def __reduce__(self):
        return os.system, ("touch RAN",)


def cut(path: Path, good: Path) -> None:
    content = good.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flipped(path: Path, good: Path) -> None:
    content = bytearray(good.read_bytes())
    content[-40:] = bytes(40)
    path.write_bytes(content)


def foreign_zip(path: Path, good: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README", "nothing")


# How each file is made of a good one, and what is said of it.
FILES = {
    "empty": (lambda path, good: path.touch(), "empty"),
    "cut": (cut, "broken"),
    "flipped": (flipped, "broken"),
    "git-lfs": (
        lambda path, good: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "git lfs pull",
    ),
    "web page": (lambda path, good: path.write_text("<!DOCTYPE html>\n<html>"), "a web page"),
    "text": (lambda path, good: path.write_text("weights\n"), "no file of tensors"),
    "zip": (foreign_zip, "broken"),
    "code": (lambda path, good: path.write_bytes(pickle.dumps(Code())), "no file of tensors"),
    "code in tensors": (lambda path, good: torch.save({"a": Code()}, path), "no file of tensors"),
    "list": (lambda path, good: torch.save([torch.ones(1)], path), "list"),
    "number": (lambda path, good: torch.save(7, path), "int"),
    "others": (lambda path, good: torch.save({"layer.weight": torch.ones(2)}, path), "layer"),
    "text for a weight": (lambda path, good: torch.save({"a": "b"}, path), "'a'"),
    "no names": (lambda path, good: torch.save({1: torch.ones(1)}, path), "1"),
    "nothing in it": (lambda path, good: torch.save({}, path), "holds no weights"),
    "pipe": (lambda path, good: os.mkfifo(path), "is a pipe"),
    "folder": (lambda path, good: path.mkdir(), "is a folder"),
}  # fmt: skip


OTHER_THAN_A_STATE = (  # of a training
    "list", "number", "others", "text for a weight", "no names", "nothing in it",
)  # fmt: skip


def asr_file(system, path, folder):
    options = [*system.ctc, "--asr_model_file", path, "--data_dir", system.folder]
    return asr_inference.main, [*options, "--output_dir", folder / "out"]


def dump_file(system, path, folder):
    options = [*system.ctc, "--asr_model_file", path, "--data_dir", system.folder]
    return dump_steps.main, [*options, "--output_dir", folder / "out"]


def asr_resume(system, path, folder):
    return asr_train.main, system.setting.command(path.parent)


def asr_init(system, path, folder):
    return asr_train.main, [*system.setting.command(folder / "exp"), "--init_param", path]


def bridge_file(system, path, folder):
    options = [*system.bridge, "--psslm_model_file", path, "--output_dir", folder / "out"]
    return psslm_inference.main, [*options, "--manifest", system.folder / "psslm.jsonl"]


def bridge_resume(system, path, folder):
    return psslm_train.main, [*system.bridge_command(folder), "--output_dir", path.parent]


def bridge_init(system, path, folder):
    return psslm_train.main, [*system.bridge_command(folder), "--init_param", path]


def bridge_acoustic(system, path, folder):
    conf = {"train_config": str(system.folder / "ctc/config.yaml"), "model_file": str(path)}
    return psslm_train.main, system.bridge_command(folder, acoustic_conf=conf, source="auto")


# The option, and the good file of its kind.
OPTIONS = {
    asr_file: "ctc/valid.loss.ave.pth",
    dump_file: "ctc/valid.loss.ave.pth",
    asr_resume: "ctc/checkpoint.pth",
    asr_init: "ctc/valid.loss.ave.pth",
    bridge_file: "bridge/valid.loss.ave.pth",
    bridge_resume: "bridge/checkpoint.pth",
    bridge_init: "bridge/valid.loss.ave.pth",
    bridge_acoustic: "ctc/valid.loss.ave.pth",
}  # fmt: skip


@pytest.mark.parametrize("name", sampled(FILES, first=1))
@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.__name__)
def test_what_it_is_and_how_to_mend_it(system, tmp_path, capsys, monkeypatch, option, name):
    monkeypatch.chdir(tmp_path)
    make, words = FILES[name]
    path = tmp_path / "given/checkpoint.pth"
    path.parent.mkdir()
    make(path, system.folder / OPTIONS[option])
    main, command = option(system, path, tmp_path)
    if "resume" in option.__name__ and name in OTHER_THAN_A_STATE:
        words = "is no checkpoint of a training"
    said = refusal(main, [str(word) for word in command], capsys)
    assert str(path) in said and words in said
    assert "weights_only" not in said and not Path("RAN").exists()
    assert not list(tmp_path.glob("exp/*.pth")) and not list(tmp_path.glob("out/*/text"))


def test_the_checkpoint_of_the_other_model(system, tmp_path, capsys):
    """Good files, in each other's place."""
    bridge = system.folder / "bridge/valid.loss.ave.pth"
    ctc = system.folder / "ctc/valid.loss.ave.pth"
    for option, path in ((asr_file, bridge), (bridge_file, ctc), (bridge_init, ctc)):
        main, command = option(system, path, tmp_path)
        said = refusal(main, [str(word) for word in command], capsys)
        assert f"{path}" in said and "does not fit" in said


def test_a_state_in_place_of_weights(system, tmp_path, capsys):
    """``checkpoint.pth`` holds the weights among other things."""
    path = system.folder / "ctc/checkpoint.pth"
    main, command = asr_file(system, path, tmp_path)
    assert str(path) in refusal(main, [str(word) for word in command], capsys)
    exp = tmp_path / "exp"
    exp.mkdir()
    shutil.copy(system.folder / "ctc/valid.loss.ave.pth", exp / "checkpoint.pth")
    said = refusal(asr_train.main, system.setting.command(exp), capsys)
    assert f"--resume {exp}/checkpoint.pth" in said
