"""The recipes with a corpus: every stage on a miniature corpus, with tiny random models."""

import json
import os
import re
import shutil
import subprocess
import zipfile

import pytest
import yaml

from espnet_psslm.bridge.steps_file import read_made
from espnet_psslm.data.kaldi import read_table
from tests.corpora import build_corpus
from tests.helpers import save_language_model, tiny_whisper_config
from tests.warm_python import warm_python

pytestmark = [pytest.mark.recipe, pytest.mark.long]

TASKS = {
    "slurp": {"ASR", "SLU_scenario", "SLU_action", "SLU_entities"},
    "commonvoice": {"ASR"},
    "covost2": {"ASR", "EN2ZH"},
}
OWN = {
    "slurp": [],
    "commonvoice": ["--lang", "de", "--speed_perturb_factors", "0.9 1.0"],
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


def options(recipe, models, python):
    """Of a recipe, but for its folders: models that are tiny, and trained for an epoch."""
    ctc = f"--max_epoch 1 --num_workers 0 --use_amp false --encoder_conf name={models}/whisper"
    ctc += " --encoder_conf freeze=none --encoder_conf conv_stride=1"
    bridge = f"--max_epoch 1 --llm_conf name={models}/lm --projector_conf hidden=16"
    return [
        *("--python", str(python), "--device", "cpu", "--nj", "1", "--max_dropped", "0.9"),
        *("--unit_type", "char", "--beam_size", "2", "--stop_stage", "14", *OWN[recipe]),
        *("--ctc_args", ctc, "--psslm_args", bridge, "--inference_args", "--max_new_tokens 3"),
    ]


@pytest.fixture(scope="module")
def start(root, models, python):
    """Starts a recipe with the data, dumps and models of ``folder``; returns status and log."""

    def run(recipe, folder, *more, **variables):
        places = [f"--{name}={folder / name}" for name in ("datadir", "dumpdir", "expdir")]
        command = [str(root / f"egs2/{recipe}/psslm1/run.sh"), *options(recipe, models, python)]
        command += [*places, *more]
        with open(folder / "log", "w", encoding="utf-8") as log:
            out = subprocess.run(
                command, env=os.environ | variables, stdout=log, stderr=log, check=False
            )
        return out.returncode, (folder / "log").read_text(encoding="utf-8")

    return run


@pytest.fixture(scope="module")
def finished(start, tmp_path_factory):
    """Folder of a recipe after stage 14, and its log; each is run once."""
    done = {}

    def run(recipe):
        if recipe not in done:
            folder = tmp_path_factory.mktemp(recipe)
            done[recipe] = folder, *start(recipe, folder, **build_corpus(recipe, folder / "corpus"))
        folder, code, log = done[recipe]
        assert code == 0, log[-5000:]
        return folder, log

    return run


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("recipe", TASKS)
def test_all_stages(finished, recipe):
    folder, log = finished(recipe)
    begun = [int(number) for number in re.findall(r"Stage (\d+): ", log)]
    assert begun == [n for n in range(1, 15) if n != 2 or recipe == "commonvoice"]
    results = read_json(folder / "expdir/results.json")
    assert {row["task"] for row in results["scores"]} == TASKS[recipe]
    assert len({row["system"] for row in results["scores"]}) == 3
    assert {row["task"] for row in results["comparisons"]} == TASKS[recipe]
    table = (folder / "expdir/RESULTS.md").read_text(encoding="utf-8")
    assert table.strip() in log
    forgetting = read_json(folder / "expdir/forgetting_test.json")
    assert set(forgetting) == TASKS[recipe]
    if recipe == "slurp":
        slu = [row for row in results["scores"] if row["metric"] == "slu_f1"]
        assert len(slu) == 2 and all({"intent", "entities"} <= row["metrics"].keys() for row in slu)
        assert all(row["num_utts"] == 3 for row in slu) and "### SLU-F1" in table
    if recipe == "commonvoice":
        heard = read_table(folder / "dumpdir/raw/train/speech_shape")
        both = {f"{prefix}{utt}" for utt in heard for prefix in ("", "sp0.9-")}
        assert len(heard) == 4  # of five, one clip is missing
        assert read_table(folder / "dumpdir/raw/train_sp/speech_shape").keys() == both
    if recipe == "covost2":
        assert "tok:zh" in table and "tok:zh" in forgetting["EN2ZH"]["after"]["signature"]
    with zipfile.ZipFile(folder / "expdir/psslm.zip") as archive:
        card = archive.read("README.md").decode()
    # Older than the table are only the date and the seconds of the last stages.
    assert table[table.index("## ", table.index("## Env") + 1) : table.index("|stage")] in card


def copy(finished, folder):
    """The finished SLURP recipe, to go on with."""
    for name in ("datadir", "dumpdir", "expdir"):
        shutil.copytree(finished("slurp")[0] / name, folder / name, symlinks=True)


def answers(folder):
    """Everything that decoding has written, but what counts seconds or names folders."""
    files = [p for p in folder.rglob("*best_recog/*") if "jobs" not in p.parts]
    assert files
    return {str(p.relative_to(folder)): p.read_text() for p in files if p.name != "score"}


def test_several_jobs_give_what_one_gives(start, finished, tmp_path):
    copy(finished, tmp_path)
    before = answers(tmp_path / "expdir")
    for path in (tmp_path / "expdir").rglob("*best_recog"):
        shutil.rmtree(path)
    steps = tmp_path / "dumpdir/steps/train"
    rows = [row["key"] for row in map(json.loads, open(steps / "psslm.jsonl"))]
    stats = read_json(tmp_path / "expdir/steps_stats/train.json")
    shutil.rmtree(steps)
    code, log = start("slurp", tmp_path, "--stage=7", "--stop_stage=8", "--inference_nj=2")
    assert code == 0, log[-5000:]
    code, log = start("slurp", tmp_path, "--stage=12", "--stop_stage=12", "--inference_nj=3")
    assert code == 0, log[-5000:]
    assert answers(tmp_path / "expdir") == before
    assert [row["key"] for row in map(json.loads, open(steps / "psslm.jsonl"))] == rows
    assert read_json(tmp_path / "expdir/steps_stats/train.json") == pytest.approx(stats)
    # Training reads the steps of several archives.
    code, log = start("slurp", tmp_path, "--stage=10", "--stop_stage=11")
    assert code == 0, log[-5000:]


def test_a_failed_job_is_named_and_alone_run_again(start, finished, tmp_path):
    copy(finished, tmp_path)
    part = ("--stage=12", "--stop_stage=12", "--inference_nj=2", "--sft=false")
    model = tmp_path / "expdir/psslm_text/decode/test/jobs/2"
    model.parent.mkdir()
    model.write_text("a file where a folder should be")
    code, log = start("slurp", tmp_path, *part)
    assert code == 1
    assert "run.py: job 2 failed with status 1" in log
    assert "decode.2.log:" in log and "File exists" in log
    first = tmp_path / "expdir/psslm_text/decode/test/jobs/1/stats.json"
    written = first.stat().st_mtime_ns
    model.unlink()
    code, log = start("slurp", tmp_path, *part)
    assert code == 0, log[-5000:]
    assert "the other jobs have ended well, left are 2" in log
    assert first.stat().st_mtime_ns == written


def test_the_reduction_is_one_in_all_stages(start, finished, tmp_path):
    """That of the option, from dumping to decoding; dumps of another one are refused."""
    copy(finished, tmp_path)
    half = "--blank_threshold=0.5"
    code, log = start("slurp", tmp_path, "--stage=8", "--stop_stage=9", half)
    assert code == 0, log[-5000:]
    code, log = start("slurp", tmp_path, "--stage=10", "--stop_stage=10")
    assert code == 1
    assert "made with blank_threshold 0.5, here it is blank_threshold 0.9" in log.splitlines()[-1]
    code, log = start("slurp", tmp_path, "--stage=10", "--stop_stage=12", "--sft=false", half)
    assert code == 0, log[-5000:]
    saved = yaml.safe_load((tmp_path / "expdir/psslm_text/config.yaml").read_text())
    row = json.loads((tmp_path / "dumpdir/steps/dev/psslm.jsonl").read_text().splitlines()[0])
    measured = yaml.safe_load((tmp_path / "expdir/simulation.yaml").read_text())
    dumped = read_made(row["steps"].rpartition(":")[0])
    for made in (dumped, measured["made"], saved["reduction_conf"]):
        assert made["blank_threshold"] == 0.5


def test_a_second_bridge_with_a_tag(start, finished, tmp_path):
    copy(finished, tmp_path)
    (tmp_path / "decode.yaml").write_text("max_new_tokens: 2\nbeam_size: 1\n")
    options = ["--stage=10", "--psslm_tag=other", "--sft=false", "--inference_args="]
    options += [f"--pretrained_model={tmp_path}/expdir/psslm_text/valid.acc.ave.pth"]
    options += [f"--inference_config={tmp_path}/decode.yaml", "--beam_size="]
    code, log = start("slurp", tmp_path, *options)
    assert code == 0, log[-5000:]
    assert "psslm_text/valid.acc.ave.pth" in log and "answers are cut at 2 tokens" in log
    assert {path.name for path in (tmp_path / "expdir/other").iterdir()} >= {
        "psslm_text", "results.json", "RESULTS.md", "psslm.zip",
    }  # fmt: skip
    old = finished("slurp")[0] / "expdir/results.json"
    assert (tmp_path / "expdir/results.json").read_text() == old.read_text()


def test_a_packed_model_is_decoded_and_scored(start, finished, tmp_path):
    copy(finished, tmp_path)
    archive = (tmp_path / "expdir/psslm.zip").rename(tmp_path / "best.zip")
    shutil.rmtree(tmp_path / "expdir")
    options = ["--skip_data_prep=true", f"--download_model={archive}"]
    code, log = start("slurp", tmp_path, *options, HOME=str(tmp_path))
    assert code == 0, log[-5000:]
    rows = {
        (row["task"], row["metric"]): row["rate"]
        for row in read_json(finished("slurp")[0] / "expdir/results.json")["scores"]
        if row["system"].endswith("psslm_sft")
    }
    found = read_json(tmp_path / "expdir/best/results.json")["scores"]
    ours = [row for row in found if row["system"].endswith("psslm_text")]
    assert {(row["task"], row["metric"]): row["rate"] for row in ours} == rows


def test_all_that_is_skipped(start, finished, tmp_path):
    copy(finished, tmp_path)
    parts = ("data_prep", "train", "eval", "packing")
    code, log = start("slurp", tmp_path, *(f"--skip_{part}=true" for part in parts))
    assert code == 0 and "Stage" not in log
    (tmp_path / "expdir/results.json").unlink()
    code, log = start("slurp", tmp_path, *(f"--skip_{part}=true" for part in parts[:3]))
    assert code == 0, log[-5000:]
    assert "Stage 14: pack" in log and "Stage 13" not in log


def test_training_on_two_nodes(start, finished, root, tmp_path):
    """Through ESPnet's launcher and local/slurm.py, which plays two nodes here."""
    copy(finished, tmp_path)
    slurm = f"{root}/local/slurm.py --cluster local"
    options = ["--stage=11", "--stop_stage=11", "--num_nodes=2", "--sft=false"]
    code, log = start("slurp", tmp_path, *options, train_cmd=slurm, OMP_NUM_THREADS="1")
    logs = [tmp_path / f"expdir/psslm_text/train.log{end}" for end in ("", ".1")]
    said = "\n".join(path.read_text() for path in logs if path.exists())
    assert code == 0, log[-3000:] + said[-3000:]
    assert ":0/2]" in said and "# Ended (code 0)" in logs[1].read_text()


def test_an_acoustic_model_that_is_not_there(start, finished, tmp_path):
    copy(finished, tmp_path)
    options = ("--stage=11", "--stop_stage=11", "--sensevoice=/nowhere")
    code, log = start("slurp", tmp_path, *options)
    assert code == 1 and "/nowhere/model.pt" in log.splitlines()[-1]


def test_encoder_outputs_at_the_steps_of_a_ctc_model(start, finished, models, root, tmp_path):
    """As the head of slam_asr_whisper.yaml says: the posterior marks the steps."""
    copy(finished, tmp_path)
    setting = root / "conf/systems/slam_asr_whisper.yaml"
    bridge = "--reduction merge_then_drop --projector_conf k=1"
    bridge += f" --max_epoch 1 --num_workers 0 --use_tensorboard false --llm_conf name={models}/lm"
    bridge += " --llm_conf dtype=float32 --projector_conf hidden=16"
    options = ["--stage=10", "--stop_stage=12", "--train_on=audio", "--sft=false"]
    options += [f"--psslm_config={setting}", "--oracle_task="]
    code, log = start("slurp", tmp_path, *options, "--psslm_args", bridge)
    assert code == 0, log[-5000:]
    saved = yaml.safe_load((tmp_path / "expdir/psslm_text/config.yaml").read_text())
    assert (saved["step_kind"], saved["reduction"]) == ("feature", "merge_then_drop")
