"""Two processes that share the weights (FSDP2, DeepSpeed ZeRO) learn as one process does.

Each epoch is one batch, as in test_processes.py, whose jobs these are.
"""

import itertools
import json
from pathlib import Path

import pytest
import torch

from tests.unit.tasks.test_processes import TOLERANCE, UPDATES, commands, curve, run_jobs

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
FIRST = 2  # epochs before a training is resumed


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


def _same(one: Path, other: Path) -> None:
    assert len(set(curve(one))) == UPDATES
    torch.testing.assert_close(curve(one), curve(other), **TOLERANCE)
    weights = [torch.load(path / f"{UPDATES}epoch.pth", weights_only=True) for path in (one, other)]
    assert weights[0].keys() == weights[1].keys()  # the trained ones, whole
    for name, value in weights[0].items():
        assert type(weights[1][name]) is torch.Tensor
        torch.testing.assert_close(value, weights[1][name], **TOLERANCE, msg=name)


@pytest.mark.parametrize(("way", "name"), WAYS)
def test_same_curve_and_weights(runs, way, name):
    _same(runs / "one" / name, runs / way / name)


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("fsdp2", "bridge"),
        ("zero2", "bridge"),
        ("zero3", "lora"),
    ],
)
def test_resumed_training_equals_one_run(runs, way, name):
    _same(runs / "one" / name, runs / f"{way}-resumed")


def test_fsdp2_goes_on_in_another_number_of_processes(runs):
    _same(runs / "one/bridge", runs / "changed")


@pytest.mark.parametrize(("way", "name"), WAYS)
def test_best_checkpoint_is_named(runs, way, name):
    best = runs / way / name / "valid.loss.best.pth"
    assert best.is_file() and best.resolve().name.endswith("epoch.pth")
    assert (runs / way / name / "valid.loss.ave.pth").is_file()


def test_both_is_refused(runs, root, capsys):
    from espnet_psslm.bin import psslm_train
    from tests.helpers import run_and_fail

    config = json.loads(next(runs.glob("jobs1-*.json")).read_text())[0][2]
    line = run_and_fail(
        psslm_train.main,
        [*config, "--use_fsdp2", "true", "--use_deepspeed", "true"],
        capsys,
    )
    assert "set one of them" in line
