"""Folders with blanks, other working folders, users without a home or an account."""

import os
import pwd
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from espnet_psslm.bin import (
    asr_inference,
    asr_train,
    dump_steps,
    pack,
    psslm_inference,
    psslm_train,
    score,
    transcribe,
)
from tests.ctc_setting import Setting
from tests.hostile.conftest import System
from tests.refusal import refusal


def words(options: object) -> list[str]:
    return [str(word) for word in options]


@pytest.mark.parametrize("output", ["exp/ctc", "ctc", "exp/a/b/ctc"])
def test_a_vocabulary_named_from_the_folder_of_the_training(system, tmp_path, monkeypatch, output):
    """Decoding from another folder finds it."""
    here = tmp_path / "here"
    (here / "data").mkdir(parents=True)
    shutil.copytree(system.folder / "units", here / "data/units")
    monkeypatch.chdir(here)
    command = system.setting.command(Path(output), max_epoch=1, keep_nbest_models=1)
    named = {"--token_list": "data/units/tokens.txt", "--bpemodel": "data/units/bpe.model"}
    command = [named.get(before, word) for before, word in pairwise(["", *command])]
    asr_train.main(command)
    assert (
        yaml.safe_load(Path(output, "config.yaml").read_text())["bpemodel"] == named["--bpemodel"]
    )
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    model = ["--asr_train_config", here / output / "config.yaml", "--asr_model_file"]
    model += [here / output / "valid.loss.ave.pth", "--data_dir", system.folder]
    asr_inference.main(words([*model, "--output_dir", "out"]))
    assert len(Path("out/1best_recog/text").read_text().splitlines()) == 12


def test_a_vocabulary_that_is_nowhere_is_named(system, tmp_path, capsys):
    exp = tmp_path / "exp/ctc"
    shutil.copytree(system.folder / "ctc", exp, symlinks=True)
    config = yaml.safe_load((exp / "config.yaml").read_text())
    (exp / "config.yaml").write_text(yaml.safe_dump(config | {"bpemodel": "gone/bpe.model"}))
    model = ["--asr_train_config", exp / "config.yaml", "--asr_model_file"]
    model += [system.folder / "ctc/valid.loss.ave.pth", "--data_dir", system.folder]
    said = refusal(asr_inference.main, words([*model, "--output_dir", tmp_path / "out"]), capsys)
    assert "gone/bpe.model does not exist" in said


@pytest.mark.parametrize(
    "name", ["my files", pytest.param("it's (1) & #2: [x] a=b", marks=pytest.mark.long)]
)
def test_paths_with_blanks_in_every_option(system, tmp_path, monkeypatch, capsys, name):
    """Train, decode, dump, train on it, answer, score, pack and transcribe there."""
    monkeypatch.setenv("ESPNET_PSSLM_CACHE", str(tmp_path / "my cache"))
    folder = tmp_path / name  # without a comma, by which ESPnet parts values of its options
    folder.mkdir()
    there = System(folder, Setting(folder))
    shutil.copytree(system.folder / "lm", folder / "lm")
    for file in ("prompts.jsonl", "shapes"):
        shutil.copy(system.folder / file, folder / file)
    asr_train.main(there.setting.command(folder / "ctc", max_epoch=1, keep_nbest_models=1))
    asr_inference.main(words([*there.ctc, "--data_dir", folder, "--output_dir", folder / "asr"]))
    dump_steps.main(words([*there.ctc, "--data_dir", folder, "--output_dir", folder / "steps"]))
    rows = [[str(folder / "steps/psslm.jsonl"), "sample", "psslm_jsonl"]]
    changes = {"train_data_path_and_name_and_type": rows, "source": "auto"}
    command = there.bridge_command(folder / "given", **changes)
    psslm_train.main([*command, "--output_dir", str(folder / "bridge")])
    options = [*there.bridge, "--manifest", folder / "psslm.jsonl", "--max_new_tokens", "2"]
    psslm_inference.main(words([*options, "--output_dir", folder / "out", "--device", "cpu"]))
    answers = folder / "out/ASR/1best_recog/text"
    options = ["--ref", folder / "psslm.jsonl", "--hyp", answers, "--metric", "cer"]
    score.main(words([*options, "--output", folder / "score.json"]))
    pack.main(words([*there.bridge, "--outpath", folder / "my model.zip"]))
    model = ["--model", folder / "my model.zip", "--device", "cpu", "--max_new_tokens", "2"]
    transcribe.main(words([folder / "0.wav", *model, "--output_dir", folder / "texts"]))
    assert len(answers.read_text().splitlines()) == 12
    assert (folder / "texts/0.txt").is_file() and (folder / "score.json").is_file()


@pytest.fixture
def nobody(tmp_path, monkeypatch):
    """As in a container that runs under an id of no account."""

    def no_account(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ESPNET_PSSLM_CACHE", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_account)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_nobody_transcribes(system, nobody, capsys):
    model = ["--model", system.folder / "model.zip", "--device", "cpu", "--max_new_tokens", "2"]
    transcribe.main(words([system.folder / "0.wav", *model, "--format", "json"]))
    assert '"task": "ASR"' in capsys.readouterr().out
    assert (nobody / f"espnet_psslm-{os.getuid()}/packs").is_dir()
    assert not list((nobody / "work").iterdir())  # and no folder called ~


def test_nobody_trains_and_decodes(system, nobody):
    asr_train.main(system.setting.command(nobody / "ctc", max_epoch=1, keep_nbest_models=1))
    psslm_train.main(system.bridge_command(nobody / "bridge"))
    options = [*system.ctc, "--data_dir", system.folder, "--output_dir", nobody / "out"]
    asr_inference.main(words(options))
    assert (nobody / "out/1best_recog/text").is_file()
    assert not list((nobody / "work").iterdir())


def test_nobody_without_a_place_for_a_cache(system, nobody, capsys):
    (nobody / f"espnet_psslm-{os.getuid()}").write_text("a file in its way")
    model = ["--model", system.folder / "model.zip", "--device", "cpu"]
    said = refusal(transcribe.main, words([system.folder / "0.wav", *model]), capsys)
    assert "cache folder" in said and "$ESPNET_PSSLM_CACHE" in said
