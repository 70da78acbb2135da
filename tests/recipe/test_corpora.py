"""The recipes with a corpus: every stage on a miniature corpus, with tiny random models."""

import json
import os
import subprocess
import zipfile

import pytest

from tests.corpora import build_common_voice, build_covost2, build_slurp
from tests.helpers import save_language_model, tiny_whisper_config
from tests.warm_python import warm_python

pytestmark = [pytest.mark.recipe, pytest.mark.long]

TASKS = {
    "slurp": {"ASR", "SLU_scenario", "SLU_action"},
    "commonvoice": {"ASR"},
    "covost2": {"ASR", "EN2ZH"},
}
OWN = {
    "slurp": [],
    # A random model may agree with no letter of its only sentence: then stage 9 ends in an error.
    "commonvoice": ["--lang", "de", "--measured", "false"],
    "covost2": ["--pair", "en_zh-CN"],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a random Whisper and a random language model."""
    import torch
    from transformers import WhisperModel

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    WhisperModel(tiny_whisper_config(200)).save_pretrained(folder / "whisper")
    (folder / "lm").mkdir()
    save_language_model(folder / "lm")
    return folder


@pytest.fixture(scope="module")
def python():
    with warm_python() as path:
        yield path


def corpus(recipe, folder):
    if recipe == "slurp":
        return {"SLURP": str(build_slurp(folder))}
    if recipe == "commonvoice":
        return {"COMMONVOICE": str(build_common_voice(folder))}
    translations, clips = build_covost2(folder)
    return {"COVOST2": str(translations), "COMMONVOICE": str(clips)}


@pytest.mark.parametrize("recipe", TASKS)
def test_all_stages(recipe, root, models, python, tmp_path):
    ctc = f"--max_epoch 1 --num_workers 0 --use_amp false --encoder_conf name={models}/whisper"
    ctc += " --encoder_conf freeze=none --encoder_conf conv_stride=1"
    bridge = f"--max_epoch 1 --llm_conf name={models}/lm --projector_conf hidden=16"
    bridge += " --simulator tasu" if recipe == "commonvoice" else ""
    options = [
        *("--python", str(python), "--device", "cpu", "--nj", "1", "--max_dropped", "0.9"),
        *("--unit_type", "char", "--beam_size", "2", "--stop_stage", "14", *OWN[recipe]),
        *("--ctc_args", ctc, "--psslm_args", bridge, "--inference_args", "--max_new_tokens 3"),
        *(f"--{name}={tmp_path / name}" for name in ("datadir", "dumpdir", "expdir")),
    ]
    command = [str(root / f"egs2/{recipe}/psslm1/run.sh"), *options]
    env = os.environ | corpus(recipe, tmp_path / "corpus")
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        out = subprocess.run(command, env=env, stdout=log, stderr=log, check=False)
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert out.returncode == 0, text[-5000:]
    results = json.loads((tmp_path / "expdir/results.json").read_text(encoding="utf-8"))
    assert {row["task"] for row in results["scores"]} == TASKS[recipe]
    assert len({row["system"] for row in results["scores"]}) == 3
    assert {row["task"] for row in results["comparisons"]} == TASKS[recipe]
    table = (tmp_path / "expdir/RESULTS.md").read_text(encoding="utf-8")
    assert table.strip() in text
    forgetting = json.loads((tmp_path / "expdir/forgetting_test.json").read_text(encoding="utf-8"))
    assert set(forgetting) == TASKS[recipe]
    if recipe == "covost2":
        assert "tok:zh" in table and "tok:zh" in forgetting["EN2ZH"]["after"]["signature"]
    with zipfile.ZipFile(tmp_path / "expdir/psslm.zip") as archive:
        card = archive.read("README.md").decode()
    # Older than the table are only the date and the seconds of the last stages.
    assert table[table.index("## ", table.index("## Env") + 1) : table.index("|stage")] in card
