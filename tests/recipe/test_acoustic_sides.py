"""Stages 8 to 14 with other acoustic models than Whisper-CTC; random weights, all tiny."""

import json
import subprocess
import sys

import pytest
import yaml

from tests.ctc_setting import NUM_UTTS, save_whisper, write_data_dir
from tests.helpers import PROMPTS, write_jsonl
from tests.sensevoice_setting import save_sensevoice
from tests.tiny_training import BRIDGE

CONFIG = BRIDGE | {
    "source": "no_audio",
    "projector_conf": {"hidden": 64},
    "batch_type": "sorted",
    "batch_size": 4,
    "best_model_criterion": [["valid", "acc", "max"]],  # the recipe's default
}


@pytest.fixture
def run(root, lm_folder, tmp_path):
    """Call the stages on twelve utterances of tones; gives the figures of results.json."""
    for name in ("data/train_text", "dump/raw/dev", "dump/raw/test", "dump/raw/train"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("dev", "test", "train"):
        folder = write_data_dir(tmp_path / "dump/raw" / name)
    rows = [json.loads(line) for line in (folder / "psslm.jsonl").read_text().splitlines()]
    rows = [{name: row[name] for name in row if name != "path"} for row in rows]
    write_jsonl(tmp_path / "data/train_text/psslm.jsonl", rows)
    prompts = write_jsonl(tmp_path / "prompts.jsonl", PROMPTS)

    def stages(*options, **changes):
        config = CONFIG | {"llm_conf": {"name": str(lm_folder), "dtype": "float32"}} | changes
        (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
        command = [str(root / "egs2/slurp/psslm1/run.sh"), "--python", sys.executable]
        command += ["--stage", "8", "--stop_stage", "14", "--sft", "false", "--beam_size", "1"]
        command += ["--prompt_file", str(prompts), "--pack_notes", "", "--device", "cpu"]
        command += ["--psslm_config", str(tmp_path / "train.yaml"), *map(str, options)]
        command += ["--inference_args", "--max_new_tokens 4"]
        for place in ("data", "dump", "exp"):
            command += [f"--{place}dir", str(tmp_path / place)]
        out = subprocess.run(command, capture_output=True, text=True, check=False)
        assert out.returncode == 0, out.stderr[-3000:]
        results = json.loads((tmp_path / "exp/results.json").read_text())
        assert {row["system"] for row in results["scores"]} == {str(tmp_path / "exp/psslm_text")}
        assert (tmp_path / "exp/psslm.zip").stat().st_size
        return tmp_path / "exp"

    return stages


@pytest.mark.long
def test_sensevoice_from_dump_to_pack(run, shared_data, tmp_path):
    (tmp_path / "sensevoice").mkdir()
    save_sensevoice(shared_data, tmp_path / "sensevoice")
    exp = run("--sensevoice", tmp_path / "sensevoice", projector_init="unit_text")
    stats = json.loads((exp / "steps_stats/dev.json").read_text())
    assert stats["num_utts"] == NUM_UTTS


@pytest.mark.long
def test_whisper_without_ctc_is_trained_on_audio(run, tmp_path):
    save_whisper(tmp_path / "whisper")
    options = ["--whisper", tmp_path / "whisper", "--train_on", "audio"]
    run(*options, source="audio", step_kind="feature", reduction="frame_sync", projector="linear")


def test_whisper_without_ctc_cannot_be_simulated(root, tmp_path):
    command = [str(root / "egs2/slurp/psslm1/run.sh"), "--whisper", "x", "--python", sys.executable]
    out = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert out.returncode == 1
    assert out.stderr.splitlines()[-1].endswith(
        "--whisper x has no CTC posterior: set --train_on audio"
    )
