"""Stages 8 to 14 with SenseVoice as the acoustic model: random weights, a tiny language model."""

import json
import subprocess
import sys

import pytest
import yaml

from tests.ctc_setting import write_data_dir
from tests.helpers import PROMPTS, write_jsonl
from tests.sensevoice_setting import save_sensevoice

CONFIG = {
    "source": "no_audio",
    "projector_conf": {"hidden": 64},
    "projector_init": "unit_text",
    "model_conf": {"extract_feats_in_collect_stats": False},
    "batch_type": "sorted",
    "batch_size": 4,
    "num_workers": 0,
    "optim": "adamw",
    "max_epoch": 1,
    "keep_nbest_models": 1,
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
}


@pytest.mark.long
def test_sensevoice_from_dump_to_pack(root, shared_data, lm_folder, tmp_path):
    for name in ("data/train_text", "dump/raw/dev", "dump/raw/test", "sensevoice"):
        (tmp_path / name).mkdir(parents=True)
    save_sensevoice(shared_data, tmp_path / "sensevoice")
    for name in ("dev", "test"):
        write_data_dir(tmp_path / "dump/raw" / name)
    lines = (tmp_path / "dump/raw/dev/psslm.jsonl").read_text().splitlines()
    rows = [{k: v for k, v in json.loads(line).items() if k != "path"} for line in lines]
    write_jsonl(tmp_path / "data/train_text/psslm.jsonl", rows)
    prompts = write_jsonl(tmp_path / "prompts.jsonl", PROMPTS)
    config = CONFIG | {"llm_conf": {"name": str(lm_folder), "dtype": "float32"}}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    command = [str(root / "egs2/slurp/psslm1/run.sh"), "--python", sys.executable]
    command += ["--stage", "8", "--stop_stage", "14", "--sft", "false", "--measured", "false"]
    command += ["--sensevoice", str(tmp_path / "sensevoice"), "--prompt_file", str(prompts)]
    command += ["--psslm_config", str(tmp_path / "train.yaml"), "--beam_size", "1"]
    command += ["--pack_notes", "", "--device", "cpu", "--inference_args", "--max_new_tokens 4"]
    for place in ("data", "dump", "exp"):
        command += [f"--{place}dir", str(tmp_path / place)]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr[-3000:]
    results = json.loads((tmp_path / "exp/results.json").read_text())
    assert {row["system"] for row in results["scores"]} == {str(tmp_path / "exp/psslm_text")}
    assert (tmp_path / "exp/psslm.zip").stat().st_size
    stats = json.loads((tmp_path / "exp/steps_stats/dev.json").read_text())
    assert stats["num_utts"] == len(rows)
