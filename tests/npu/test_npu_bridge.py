"""The bridge on the simulated NPU: text-only training, resuming, mixed precision and answers."""

from pathlib import Path

import pytest
import torch

from tests.unit.tasks.test_processes import UPDATES, bridge_command, curve

pytestmark = pytest.mark.long

FIRST = 2  # epochs before the training is resumed
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}  # of losses and weights against the CPU's


class Bridge:
    """Trains a tiny bridge, an epoch an update, on either device."""

    def __init__(self, machine, folder: Path, models: dict[str, Path]) -> None:
        self.machine = machine
        self.folder = folder
        self.command = bridge_command(folder, models)

    def train(self, name: str, *more: str, npu: bool, epochs: int = UPDATES) -> Path:
        exp = self.folder / name
        options = ["--output_dir", str(exp), "--ngpu", str(int(npu)), "--resume", "true"]
        options += ["--max_epoch", str(epochs), *more]
        calls = self.machine.command("psslm_train", *self.command, *options)
        assert (calls > 1000) == npu
        return exp

    def answers(self, exp: Path, device: str) -> dict[str, str]:
        output = exp / f"decode_{device}"
        options = ["--psslm_train_config", str(exp / "config.yaml")]
        options += ["--psslm_model_file", str(exp / f"{UPDATES}epoch.pth"), "--oracle", "true"]
        options += ["--manifest", str(self.folder / "train.jsonl"), "--max_new_tokens", "12"]
        options += ["--output_dir", str(output), "--device", device]
        self.machine.command("psslm_inference", *options, SIMULATED_NPU_LACKS="float64")
        files = sorted(output.glob("*/1best_recog/text"))
        return {str(path.relative_to(output)): path.read_text() for path in files}


@pytest.fixture(scope="module")
def bridge(machine, lm_folder, units_folder, prompt_file, tmp_path_factory) -> Bridge:
    models = {"lm": lm_folder, "units": units_folder, "prompts": prompt_file}
    return Bridge(machine, tmp_path_factory.mktemp("bridge"), models)


@pytest.fixture(scope="module")
def on_cpu(bridge) -> Path:
    return bridge.train("cpu", npu=False)


@pytest.fixture(scope="module")
def on_npu(bridge) -> Path:
    bridge.train("npu", npu=True, epochs=FIRST)
    return bridge.train("npu", npu=True)


def test_resumed_training_equals_the_cpus(on_cpu, on_npu):
    assert len(set(curve(on_cpu))) == UPDATES
    torch.testing.assert_close(curve(on_npu), curve(on_cpu), **TOLERANCE)
    ours, theirs = (torch.load(exp / f"{UPDATES}epoch.pth", map_location="cpu")
                    for exp in (on_npu, on_cpu))  # fmt: skip
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name].cpu(), value, **TOLERANCE, msg=name)


def test_answers_are_the_cpus(bridge, on_npu):
    answers = bridge.answers(on_npu, "npu")
    assert answers == bridge.answers(on_npu, "cpu")
    assert {name.split("/")[0] for name in answers} == {"ASR", "SLU_scenario"}
    assert all(text.strip() for text in answers.values())


def test_mixed_precision(bridge, on_cpu):
    exp = bridge.train("amp", "--use_amp", "true", npu=True)
    plain, mixed = curve(on_cpu), curve(exp)
    assert mixed != plain  # bfloat16 was there
    torch.testing.assert_close(mixed, plain, rtol=0.05, atol=0.05)
