"""A tiny bridge through our command lines, on one device and on another."""

from collections.abc import Callable
from pathlib import Path

import torch

from tests.unit.tasks.test_processes import UPDATES, bridge_command, curve

FIRST = 2  # epochs before a training is resumed
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}  # of losses and weights after five updates in float32


class Bridge:
    """Trains, an epoch an update, and answers.

    Args:
        run: starts a command of ``espnet_psslm.bin`` with its options.
        folder: an empty one.
        models: ``lm``, ``units``, ``prompts``.
    """

    def __init__(self, run: Callable[..., object], folder: Path, models: dict[str, Path]) -> None:
        self.run = run
        self.folder = folder
        self.command = bridge_command(folder, models)

    def train(self, name: str, *more: str, ngpu: int, epochs: int = UPDATES) -> Path:
        """An experiment folder after so many epochs; what is there is gone on with."""
        exp = self.folder / name
        options = ["--output_dir", str(exp), "--ngpu", str(ngpu), "--resume", "true"]
        self.run("psslm_train", *self.command, *options, "--max_epoch", str(epochs), *more)
        return exp

    def answers(self, exp: Path, device: str) -> dict[str, str]:
        """File -> text, of every task."""
        output = exp / f"decode_{device}"
        options = ["--psslm_train_config", str(exp / "config.yaml"), "--device", device]
        options += ["--psslm_model_file", str(exp / f"{UPDATES}epoch.pth"), "--oracle", "true"]
        options += ["--manifest", str(self.folder / "train.jsonl"), "--max_new_tokens", "12"]
        self.run("psslm_inference", *options, "--output_dir", str(output))
        files = sorted(output.glob("*/1best_recog/text"))
        assert {path.parts[-3] for path in files} == {"ASR", "SLU_scenario"}
        return {str(path.relative_to(output)): path.read_text() for path in files}


def check_same_training(ours: Path, plain: Path) -> None:
    """Curve and weights of two experiment folders are the same."""
    assert len(set(curve(plain))) == UPDATES
    torch.testing.assert_close(curve(ours), curve(plain), **TOLERANCE)
    states = [
        torch.load(exp / f"{UPDATES}epoch.pth", map_location="cpu", weights_only=True)
        for exp in (ours, plain)
    ]
    assert states[0].keys() == states[1].keys()
    for name, value in states[1].items():
        torch.testing.assert_close(states[0][name], value, **TOLERANCE, msg=name)


def check_mixed_precision(mixed: Path, plain: Path) -> None:
    """bfloat16 was there, and did little."""
    assert curve(mixed) != curve(plain)
    torch.testing.assert_close(curve(mixed), curve(plain), rtol=0.05, atol=0.05)
