"""The comparison of projectors: its settings, its test utterances, its table."""

import argparse
import json
from pathlib import Path

import pytest
from compare_projectors import PART, Comparison, settings_of

from espnet_psslm.bridge.projector import PROJECTORS
from espnet_psslm.bridge.steps import FeatureSteps
from tests.helpers import write_jsonl


@pytest.fixture
def comparison(tmp_path):
    args = argparse.Namespace(
        expdir=tmp_path / "exp", dumpdir=tmp_path / "dump", num_test=3, seed=0, cpu_s=1.0
    )
    return Comparison(args)


def test_every_projector_is_compared():
    settings = settings_of([])
    assert settings.keys() == PROJECTORS.keys()
    for name, changes in settings.items():
        takes_features_only = PROJECTORS[name].takes == (FeatureSteps,)
        assert (changes.get("step_kind") == "feature") == takes_features_only
    assert list(settings_of(["lego", "linear"])) == ["lego", "linear"]
    with pytest.raises(ValueError, match="'legos'.*has.*lego-top1"):
        settings_of(["legos"])


def test_what_was_made_before_is_lent(comparison, tmp_path):
    folder = tmp_path / "exp/projectors/lego"
    folder.mkdir(parents=True)
    with pytest.raises(ValueError, match="psslm_stats: run ./run.sh --stop_stage 10 first"):
        comparison._lend(folder)
    (tmp_path / "exp/psslm_stats/text/train").mkdir(parents=True)
    (tmp_path / "exp/psslm_stats/text/train/length_shape").write_text("u0-ASR 12\n")
    (tmp_path / "exp/simulation.yaml").write_text("{}\n")
    rows = [
        {"key": f"u{i}-{task}", "task": task, "target": "x", "GT": "x", "utt": f"u{i}"}
        for i in range(10)
        for task in ("ASR", "SLU_action")
    ]
    (tmp_path / "dump/raw/test").mkdir(parents=True)
    write_jsonl(tmp_path / "dump/raw/test/psslm.jsonl", rows)
    for _ in range(2):  # what is there already is taken again
        comparison._lend(folder)
    part = (folder / f"dump/raw/{PART}/psslm.jsonl").read_text().splitlines()
    assert [json.loads(line)["utt"] for line in part] == ["u0"] * 2 + ["u3"] * 2 + ["u6"] * 2
    assert (folder / "psslm_stats/text/train/length_shape").is_file()


def test_table_of_what_is_done(comparison, tmp_path):
    score = {"rate": 0.125, "ci95": [0.1, 0.15]}
    result = {"projector": "linear", "batches": 70, "seconds": 99.6, "parameters": 1_940_000}
    result |= dict.fromkeys(("ASR", "SLU_scenario", "SLU_action"), score)
    path = Path(tmp_path / "exp/projectors/linear/result.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result))
    *_, line = comparison.table().splitlines()
    cells = "| 12.50 [10.00, 15.00] " * 3
    assert line == f"| linear | 1.9 M | 70 | 100 {cells}|"
