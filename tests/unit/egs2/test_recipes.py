"""run.sh, db.sh and local/data.sh of the recipes with a corpus, and the settings they name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.corpora import build_corpus

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ("slurp", "commonvoice", "covost2")
EMPTY = dict.fromkeys(("SLURP", "COMMONVOICE", "COVOST2"), "")


def run(recipe, tmp_path, *options, **variables):
    command = [str(ROOT / f"egs2/{recipe}/psslm1/run.sh"), "--python", sys.executable]
    for place in ("datadir", "dumpdir", "expdir"):
        command += [f"--{place}", f"{tmp_path}/{place}"]
    env = os.environ | EMPTY | variables
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, cwd=tmp_path, env=env, check=False
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_stage_1(recipe, tmp_path):
    options = ["--stage", "1", "--stop_stage=1", "--local_data_opts", "--max_train 2"]
    if recipe == "commonvoice":
        options.append("--lang=de")
    out = run(recipe, tmp_path, *options, **build_corpus(recipe, tmp_path / "corpus"))
    assert out.returncode == 0, out.stderr
    for name in ("train", "dev", "test", "train_text"):
        assert (tmp_path / "datadir" / name / "psslm.jsonl").stat().st_size
    assert len((tmp_path / "datadir/train/text").read_text().splitlines()) == 2


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_corpus_that_is_not_named(recipe, tmp_path):
    out = run(recipe, tmp_path, "--stop_stage", "1")
    assert out.returncode == 1
    name = {"slurp": "SLURP", "commonvoice": "COMMONVOICE", "covost2": "COVOST2"}[recipe]
    last = out.stderr.splitlines()[-1]
    assert f"{name}= is empty in" in last and "db.sh: set it to the folder" in last


def test_a_corpus_that_is_not_there(tmp_path):
    out = run("covost2", tmp_path, "--stop_stage", "1", COVOST2=str(tmp_path), COMMONVOICE="gone")
    assert out.returncode == 1
    assert "COMMONVOICE=gone of" in out.stderr.splitlines()[-1]


OPTIONS = """stage stop_stage skip_data_prep skip_train skip_eval skip_packing ngpu num_nodes nj
    inference_nj gpu_inference dumpdir expdir python psslm_config psslm_args psslm_tag
    inference_config inference_args pretrained_model download_model hf_repo train_set
    valid_set test_sets local_data_opts"""


@pytest.mark.parametrize("recipe", [*RECIPES, "mini", "recordings"])
def test_help_has_espnets_options(recipe, tmp_path):
    out = run(recipe, tmp_path, "--help")
    assert out.returncode == 0
    missing = [name for name in OPTIONS.split() if not re.search(rf"--{name}\b", out.stdout)]
    assert not missing
    assert ("--pair SRC_TGT" in out.stdout) == (recipe == "covost2")


@pytest.fixture
def own_options(tmp_path):
    def run_options(*args):
        script = (
            f'set -euo pipefail\nlang=en\nown_help=x\nown_options="lang"\n'
            f'. "{ROOT}/local/own_options.sh"\n'
            'echo "$lang"; printf "<%s>" ${options[@]+"${options[@]}"}'
        )
        command = ["bash", "-c", script, "run.sh", *args]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run_options


def test_own_options_are_taken_out(own_options):
    out = own_options("--seed", "3", "--lang=de", "--ctc_args", "--max_epoch=2 --lang x", "--a=b=c")
    assert out.stdout == "de\n<--seed><3><--ctc_args><--max_epoch=2 --lang x><--a><b=c>"
    assert own_options().stdout == "en\n<>"


@pytest.mark.parametrize(
    ("args", "message"),
    [(["--lang"], "option --lang needs a value"), (["x"], "unexpected argument x")],
)
def test_own_options_errors(own_options, args, message):
    out = own_options(*args)
    assert (out.returncode, len(out.stderr.splitlines())) == (1, 1)
    assert message in out.stderr


def test_settings_that_belong_together():
    text, tune = (
        yaml.safe_load((ROOT / f"conf/{name}.yaml").read_text(encoding="utf-8"))
        for name in ("train_psslm", "tune_psslm")
    )
    for name in ("llm_conf", "projector", "projector_conf", "reduction", "reduction_conf"):
        assert tune[name] == text[name]


@pytest.mark.parametrize("recipe", RECIPES)
def test_run_names_files_that_exist(recipe):
    folder = ROOT / f"egs2/{recipe}/psslm1"
    text = (folder / "run.sh").read_text(encoding="utf-8")
    names = re.findall(r"--(?:\w+_config|pack_notes|prompt_file) (\S+)", text)
    assert len(names) >= 4
    assert all((folder / name).is_file() for name in names)
