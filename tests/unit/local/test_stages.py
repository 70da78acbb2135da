"""Stages of psslm.sh that need no trained model, run as a user does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def recipe(root: Path, tmp_path: Path):
    def run(*options: str) -> subprocess.CompletedProcess:
        folders = ["--datadir", str(tmp_path / "data"), "--expdir", str(tmp_path / "exp")]
        folders += ["--dumpdir", str(tmp_path / "dump"), "--python", sys.executable]
        command = [str(root / "egs2/mini/psslm1/run.sh"), *folders, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def write_data(folder: Path) -> None:
    folder.mkdir(parents=True)
    soundfile.write(folder / "a.wav", 0.1 * np.ones(1600), 16000)
    (folder / "wav.scp").write_text(f"a {folder}/a.wav\n")
    (folder / "text").write_text("a turn on\n")


def test_speed_perturbation_is_stage_2(recipe, tmp_path: Path) -> None:
    write_data(tmp_path / "data/train")
    stage = ["--stage", "2", "--stop_stage", "2", "--nj", "1"]
    done = recipe(*stage, "--speed_perturb_factors", "0.5 1.0")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "data/train_sp/wav.scp").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["a", "sp0.5-a"]
    assert soundfile.info(lines[1].split()[1]).frames == 3200


@pytest.mark.parametrize(
    ("unit_type", "files"),
    [("char", {"tokens.txt"}), ("unigram", {"tokens.txt", "bpe.model"})],
)
def test_units_are_stage_5(recipe, tmp_path: Path, unit_type: str, files: set[str]) -> None:
    for folder in ("dump/raw/train", "data/train_text"):
        write_data(tmp_path / folder)
    stage = ["--stage", "5", "--stop_stage", "5", "--unit_type", unit_type, "--vocab_size", "9"]
    done = recipe(*stage, "--unit_source", "", "--unit_dir", str(tmp_path / "units"))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "units").iterdir()} == files


def test_unknown_units(recipe) -> None:
    done = recipe("--stage", "5", "--stop_stage", "5", "--unit_type", "words")
    assert done.returncode == 1 and "--unit_type words is unknown" in done.stderr
