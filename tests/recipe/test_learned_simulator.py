"""Stages 8 to 11 with --simulator learned, from a trained tiny Whisper-CTC model on tones."""

import json
import subprocess

import pytest
import yaml

from espnet_psslm.bridge.steps_file import read_steps
from tests.ctc_setting import NUM_UTTS, Setting, write_data_dir
from tests.helpers import PROMPTS, write_jsonl
from tests.recipe.test_acoustic_sides import CONFIG
from tests.warm_python import warm_python

pytestmark = [pytest.mark.recipe, pytest.mark.long]

TINY = "--network_conf width=16 --network_conf layers=1 --network_conf heads=2"
SHORT = "--max_epoch 1 --num_iters_per_epoch 20 --scheduler_conf warmup_steps=2"


@pytest.fixture(scope="module")
def finished(root, lm_folder, tmp_path_factory):
    """The folder, and the log, of a run."""
    from espnet_psslm.bin import asr_train

    folder = tmp_path_factory.mktemp("learned")
    (folder / "ctc_data").mkdir()
    setting = Setting(folder / "ctc_data")
    asr_train.main(setting.command(folder / "ctc", max_epoch=20, keep_nbest_models=1))
    for name in ("data/train_text", "dump/raw/dev", "dump/raw/train"):
        (folder / name).mkdir(parents=True)
    for name in ("dev", "train"):
        write_data_dir(folder / "dump/raw" / name)
    rows = [json.loads(line) for line in open(setting.data / "psslm.jsonl", encoding="utf-8")]
    text = [{name: row[name] for name in row if name != "path"} for row in rows]
    write_jsonl(folder / "data/train_text/psslm.jsonl", text)
    prompts = write_jsonl(folder / "prompts.jsonl", PROMPTS)
    config = CONFIG | {"llm_conf": {"name": str(lm_folder), "dtype": "float32"}}
    config |= {"simulator": "measured", "simulator_conf": {"error_scale": 1.5}}
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    with warm_python() as python:
        command = [str(root / "egs2/slurp/psslm1/run.sh"), "--python", str(python)]
        command += ["--stage", "8", "--stop_stage", "11", "--sft", "false", "--device", "cpu"]
        command += ["--skip_ctc", "true", "--ctc_exp", str(folder / "ctc")]
        command += ["--unit_dir", str(folder / "ctc_data/units"), "--prompt_file", str(prompts)]
        command += ["--psslm_config", str(folder / "train.yaml"), "--simulator", "learned"]
        command += ["--harder", "0.1 0.6", "--simulator_args", f"{TINY} {SHORT}"]
        for place in ("data", "dump", "exp"):
            command += [f"--{place}dir", str(folder / place)]
        out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr[-5000:]
    return folder, out.stderr


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_training_speech_is_dumped_harder(finished):
    folder, log = finished
    weak, strong = (
        [read_steps(row["steps"]) for row in rows_of(folder / f"dump/steps/{name}/psslm.jsonl")]
        for name in ("train_harder0.1", "train_harder0.6")
    )
    assert len(weak) == len(strong) == NUM_UTTS
    assert any(one[0].shape != two[0].shape for one, two in zip(weak, strong, strict=True))
    pairs = rows_of(folder / "dump/steps/pairs/train.jsonl")
    assert {row["key"][0] for row in pairs} == {"0", "1"}
    assert f"{len(pairs)} pairs, of which" in log
    assert not (folder / "dump/steps/train").exists()  # as it is it has too few errors


def test_the_simulators_are_judged_on_development_speech(finished):
    folder, log = finished
    judged = json.loads((folder / "exp/simulator/judged/judgement.json").read_text())
    assert judged.keys() == {"tasu", "measured", "learned"}
    assert f"learned: cross_entropy {judged['learned']['cross_entropy']:.4f}" in log


def test_the_bridge_is_trained_by_it(finished):
    """Not with the numbers of the settings, which are of another simulator."""
    folder, _ = finished
    saved = yaml.safe_load((folder / "exp/psslm_text/config.yaml").read_text())
    assert saved["simulator"] == "learned"
    conf = saved["simulator_conf"]
    assert conf.keys() == {"measured", "train_config", "model_file"}
    assert conf["model_file"] == str(folder / "exp/simulator/valid.loss.ave.pth")
    assert sum(conf["measured"]["error_bins"].values()) == pytest.approx(1.0, abs=1e-3)
    assert (folder / "exp/psslm_text/valid.acc.ave.pth").stat().st_size
