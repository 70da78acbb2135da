"""Two processes that share the weights (FSDP2, DeepSpeed ZeRO) learn as one process does.

Each epoch is one batch, as in test_processes.py, whose jobs these are.
"""

import itertools
import json
from pathlib import Path

import pytest

from espnet_psslm.bin import asr_inference, psslm_inference, psslm_train
from tests.helpers import run_and_fail
from tests.unit.tasks.test_processes import FIRST, UPDATES, assert_same, commands, run_jobs

pytestmark = pytest.mark.long

WAYS = [
    ("fsdp2", "bridge"),
    ("fsdp2", "lora"),
    ("fsdp2", "whisper_ctc"),
    ("zero2", "bridge"),
    ("zero2", "whisper_ctc"),
    ("zero3", "lora"),
    ("zero3", "whisper_ctc"),
]


def _options(way: str, root: Path) -> list[str]:
    if way == "fsdp2":
        return ["--use_fsdp2", "true"]
    config = root / f"conf/systems/deepspeed_{way}.json"
    return ["--use_deepspeed", "true", "--deepspeed_config", str(config)]


@pytest.fixture(scope="module")
def runs(lm_folder, units_folder, prompt_file, root, tmp_path_factory) -> Path:
    """``one/JOB`` by one process; ``WAY/JOB`` by two; ``WAY-resumed`` in two runs."""
    folder = tmp_path_factory.mktemp("sharded")
    models = {"lm": lm_folder, "units": units_folder, "prompts": prompt_file}
    jobs = commands(folder, models)
    alike = ["--ngpu", "0", "--multiprocessing_distributed", "false", "--dist_backend", "gloo"]

    meetings = (f"file://{folder}/meeting{number}" for number in itertools.count())

    def job(name: str, output: Path, *more: str) -> list:
        output.mkdir(parents=True, exist_ok=True)
        module, command = jobs[name]
        line = [*command, *alike, *more, "--dist_init_method", next(meetings)]
        return [name, module, [*line, "--output_dir", str(output)], str(output)]

    names = ("bridge", "lora", "whisper_ctc")
    run_jobs([job(name, folder / "one" / name) for name in names], folder, root, 1)
    todo = [job(name, folder / way / name, *_options(way, root)) for way, name in WAYS]
    resumed = sorted({(way, "lora" if way == "zero3" else "bridge") for way, _ in WAYS})
    for way, name in resumed:
        for epochs in (FIRST, UPDATES):
            options = [*_options(way, root), "--max_epoch", str(epochs), "--resume", "true"]
            todo.append(job(name, folder / f"{way}-resumed", *options))
    # What two processes began goes on in one, which has nothing to shard.
    options = [*_options("fsdp2", root), "--resume", "true"]
    start = job("bridge", folder / "changed", *options, "--max_epoch", str(FIRST))
    run_jobs([*todo, start], folder, root, 2)
    run_jobs([job("bridge", folder / "changed", *options)], folder, root, 1)
    return folder


@pytest.mark.parametrize(("way", "name"), WAYS)
def test_same_curve_and_weights(runs, way, name):
    assert_same(runs / "one" / name, runs / way / name)


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("fsdp2", "bridge"),
        ("zero2", "bridge"),
        ("zero3", "lora"),
    ],
)
def test_resumed_training_equals_one_run(runs, way, name):
    assert_same(runs / "one" / name, runs / f"{way}-resumed")


def test_fsdp2_goes_on_in_another_number_of_processes(runs):
    assert_same(runs / "one/bridge", runs / "changed")


@pytest.mark.parametrize(("way", "name"), WAYS)
def test_best_checkpoint_is_named(runs, way, name):
    best = runs / way / name / "valid.loss.best.pth"
    assert best.is_file() and best.resolve().name.endswith("epoch.pth")
    assert (runs / way / name / "valid.loss.ave.pth").is_file()


def _answers(exp: Path, folder: Path) -> dict[str, str]:
    """What a checkpoint says on one device: file -> hypotheses."""
    output, checkpoint = exp / "decode", str(exp / f"{UPDATES}epoch.pth")
    options = ["--output_dir", str(output), "--device", "cpu"]
    if exp.name == "whisper_ctc":
        options += ["--asr_train_config", str(exp / "config.yaml"), "--asr_model_file", checkpoint]
        # The first hypothesis of a model that has hardly learnt is nothing but blanks.
        options += ["--search", "prefix_beam", "--nbest", "3"]
        asr_inference.main([*options, "--data_dir", str(folder / "ctc")])
    else:
        options += ["--psslm_train_config", str(exp / "config.yaml")]
        options += ["--psslm_model_file", checkpoint, "--max_new_tokens", "12"]
        psslm_inference.main([*options, "--oracle", "true", "--manifest", f"{folder}/train.jsonl"])
    files = output.rglob("*best_recog/text")
    return {str(path.relative_to(output)): path.read_text() for path in files}


@pytest.mark.parametrize(
    ("way", "name"), [("zero2", "bridge"), ("zero3", "lora"), ("zero3", "whisper_ctc")]
)
def test_checkpoint_answers_on_one_device(runs, way, name):
    ours, theirs = (_answers(runs / folder / name, runs) for folder in (way, "one"))
    assert ours == theirs
    assert any(len(text.split()) > len(text.splitlines()) for text in ours.values())


def test_one_process_refuses_the_states_of_two(runs, capsys):
    jobs = json.loads(next(runs.glob("jobs2-*.json")).read_text())
    command = next(line for *_, line, output in jobs if output.endswith("zero2-resumed"))
    assert "2 processes with DeepSpeed" in run_and_fail(psslm_train.main, command, capsys)


def test_both_is_refused(runs, capsys):
    config = json.loads(next(runs.glob("jobs1-*.json")).read_text())[0][2]
    both = ["--use_fsdp2", "true", "--use_deepspeed", "true"]
    assert "set one of them" in run_and_fail(psslm_train.main, [*config, *both], capsys)
