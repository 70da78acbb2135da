"""Training in two processes (gloo, CPU) and in one with the same batches: the same curve.

An epoch is one batch, so that the curve has a point an update. Losses are averaged over all tokens
(utterances for CTC) of a batch, whoever holds them; what differs is the order of sums in float32.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from tests.helpers import text_rows, write_jsonl
from tests.tiny_training import BRIEF, bridge_files, write_shapes
from tests.unit.tasks.test_whisper_ctc import Setting

pytestmark = pytest.mark.long

UPDATES = 5
FIRST = 2  # epochs before a training is resumed
TIMEOUT_S = 1200
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}  # of losses and weights, float32, after five updates
# Trains one job after the other, each in a process that has imported everything, and notes who sees
# which sample when.
RUNNER = """
import json, os, sys, traceback
from importlib import import_module
import espnet_psslm.tasks, espnet2.train.trainer as trainer
import torch
torch.set_num_threads(1)
rank, seen, real = os.environ.get("RANK", "0"), [], trainer.to_device
trainer.to_device = lambda batch, *rest: (
    seen.append(batch["utt_id"]) if torch.is_grad_enabled() else None, real(batch, *rest))[1]
def train(module, command, folder):
    import_module(module).main(command)
    with open(f"{folder}/seen.{rank}.json", "w") as stream:
        json.dump(seen, stream)
jobs = json.load(open(sys.argv[1]))
for _, module, command, _ in jobs:
    import_module(module)
    if "--use_deepspeed" in command:  # on the CPU it would compile sums of 16-bit numbers
        import_module("deepspeed.ops").__compatible_ops__.clear()
for _, *job in jobs:
    if not (child := os.fork()):
        try:
            train(*job)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""
JOBS = ("bridge", "lora", "stream", "whisper_ctc")


def bridge_command(folder: Path, models: dict[str, Path], **changes: object) -> list[str]:
    """Command line of a tiny bridge on eleven rows, batches of five and six."""
    rows = text_rows("ASR") + text_rows("SLU_scenario")[:3]
    (folder / "shards").mkdir(exist_ok=True)
    for name, part in (("a", rows[:7]), ("b", rows[7:])):
        write_jsonl(folder / f"shards/{name}.jsonl", part)
    train = write_jsonl(folder / "train.jsonl", rows)
    valid = write_jsonl(folder / "valid.jsonl", text_rows("SLU_scenario")[3:6])
    shapes = [write_shapes(path, path.with_suffix(".shape")) for path in (train, valid)]
    config = BRIEF | {
        **bridge_files(**{name: models[name] for name in ("lm", "units", "prompts")}),
        "projector_conf": {"hidden": 16},
        "batch_type": "sorted",
        "batch_size": 4,
        "seed": 3,
        "num_iters_per_epoch": 1,
        "max_epoch": UPDATES,
        "optim_conf": {"lr": 1e-2},
        "train_data_path_and_name_and_type": [[str(train), "sample", "psslm_jsonl"]],
        "train_shape_file": [str(shapes[0])],
        "valid_data_path_and_name_and_type": [[str(valid), "sample", "psslm_jsonl"]],
        "valid_shape_file": [str(shapes[1])],
    }
    path = folder / f"train-{len(list(folder.glob('train-*')))}.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return ["--config", str(path)]


def commands(folder: Path, models: dict[str, Path]) -> dict[str, tuple[str, list[str]]]:
    """Module and command line of each job, but for its output folder."""
    bridge = "espnet_psslm.bin.psslm_train"
    shards = [[str(folder / "shards"), "sample", "psslm_shards"]]
    lora = {"tuning": "lora", "tuning_conf": {"r": 2, "dropout": 0.0}}
    (folder / "ctc").mkdir()
    setting = Setting(folder / "ctc")
    whisper = setting.command(
        Path("unused"), max_epoch=UPDATES, num_iters_per_epoch=1, batch_type="sorted",
        batch_size=3, seed=3,
    )  # fmt: skip
    place = whisper.index("--output_dir")
    del whisper[place : place + 4]  # and --resume
    return {
        "bridge": (bridge, bridge_command(folder, models)),
        "lora": (bridge, bridge_command(folder, models, **lora)),
        "stream": (
            bridge,
            bridge_command(
                folder, models, train_data_path_and_name_and_type=shards, train_shape_file=[]
            ),
        ),
        "whisper_ctc": ("espnet_psslm.bin.asr_train", whisper),
    }


def run_jobs(jobs: list, folder: Path, root: Path, world_size: int) -> None:
    """Train all jobs, in so many processes each."""
    todo = folder / f"jobs{world_size}-{len(list(folder.glob('jobs*')))}.json"
    todo.write_text(json.dumps(jobs))
    processes = []
    for rank in range(world_size):
        path = [str(root), os.environ.get("PYTHONPATH", "")]
        more = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
        more["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        if world_size > 1:
            more |= {"WORLD_SIZE": str(world_size), "RANK": str(rank)}
        command = ["nice", "-n", "15", sys.executable, "-c", RUNNER, str(todo)]
        with open(folder / f"{todo.stem}.{rank}.log", "wb") as log:
            processes.append(
                subprocess.Popen(
                    command, env=os.environ | more, stdout=log, stderr=log, process_group=0
                )
            )
    end = time.monotonic() + TIMEOUT_S
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        if any(process.poll() for process in processes):
            break  # the others would wait for it
        time.sleep(0.2)
    codes = [process.poll() for process in processes]
    for process, code in zip(processes, codes, strict=True):
        if code is None:
            os.killpg(process.pid, signal.SIGKILL)  # its job, too
            process.wait()
    logs = [(folder / f"{todo.stem}.{rank}.log").read_text() for rank in range(world_size)]
    assert codes == [0] * world_size, "\n".join(log[-2000:] for log in logs)


@pytest.fixture(scope="module")
def runs(lm_folder, units_folder, prompt_file, root, tmp_path_factory) -> Path:
    """Every job in ``1/NAME`` by one process, in ``2/NAME`` by two.

    In ``more/NAME`` two go on with what one began, in ``fewer/NAME`` one with what two began.
    """
    folder = tmp_path_factory.mktemp("processes")
    models = {"lm": lm_folder, "units": units_folder, "prompts": prompt_file}
    jobs = commands(folder, models)
    options = ["--ngpu", "0", "--multiprocessing_distributed", "false", "--dist_backend", "gloo"]
    meetings = (f"file://{folder}/meeting{number}" for number in itertools.count())
    for world_size, parts in (
        (1, {"1": UPDATES, "more": FIRST}),
        (2, {"2": UPDATES, "more": UPDATES, "fewer": FIRST}),
        (1, {"fewer": UPDATES}),
    ):
        todo = []
        for name, (module, command) in jobs.items():
            for kind, epochs in parts.items():
                output = folder / kind / name
                output.mkdir(parents=True, exist_ok=True)
                line = [*command, *options, "--dist_init_method", next(meetings)]
                line += ["--max_epoch", str(epochs), "--resume", "true"]
                line += ["--output_dir", str(output)]
                todo.append([name, module, line, str(output)])
        run_jobs(todo, folder, root, world_size)
    return folder


def curve(output: Path) -> list[float]:
    """Training loss of each epoch, which is one update."""
    saved = torch.load(output / "checkpoint.pth", map_location="cpu", weights_only=True)
    reporter = saved["reporter"]
    return [reporter["stats"][epoch]["train"]["loss"] for epoch in sorted(reporter["stats"])]


def seen(output: Path, rank: int) -> list[list[str]]:
    """Samples of each update of a process."""
    return json.loads((output / f"seen.{rank}.json").read_text())


def assert_same(one: Path, other: Path) -> None:
    """Two experiment folders have the same curve, and the same trained weights, whole."""
    assert len(curve(one)) == len(set(curve(one))) == UPDATES
    torch.testing.assert_close(curve(one), curve(other), **TOLERANCE)
    weights = [torch.load(path / f"{UPDATES}epoch.pth", weights_only=True) for path in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert type(weights[1][name]) is torch.Tensor
        torch.testing.assert_close(value, weights[1][name], **TOLERANCE, msg=name)


@pytest.mark.parametrize("name", JOBS)
def test_same_curve_and_weights(runs, name):
    assert_same(runs / "1" / name, runs / "2" / name)


@pytest.mark.parametrize("name", JOBS)
def test_each_sample_is_in_one_process(runs, name):
    """Batches of three (CTC), five and six: processes hold different numbers of samples."""
    alone = seen(runs / "1" / name, 0)
    shares = [seen(runs / "2" / name, rank) for rank in (0, 1)]
    assert len(alone) == UPDATES
    for batch, *parts in zip(alone, *shares, strict=True):
        assert Counter(parts[0] + parts[1]) == Counter(batch)
        assert max(Counter(batch).values()) == 1
        assert 0 <= len(parts[0]) - len(parts[1]) <= 1
    assert any(len(batch) % 2 for batch in alone)


@pytest.mark.parametrize("name", JOBS)
def test_training_goes_on_in_more_processes(runs, name):
    straight = seen(runs / "1" / name, 0)[FIRST:]
    shares = [seen(runs / "more" / name, rank) for rank in (0, 1)]
    for batch, *parts in zip(straight, *shares, strict=True):
        assert Counter(parts[0] + parts[1]) == Counter(batch)
    assert_same(runs / "1" / name, runs / "more" / name)


@pytest.mark.parametrize("name", JOBS)
def test_training_goes_on_in_fewer_processes(runs, name):
    straight = seen(runs / "1" / name, 0)[FIRST:]
    alone = seen(runs / "fewer" / name, 0)
    assert [Counter(batch) for batch in alone] == [Counter(batch) for batch in straight]
    assert_same(runs / "1" / name, runs / "fewer" / name)
