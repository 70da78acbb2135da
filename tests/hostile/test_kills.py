"""Commands that are killed at random moments, and run again: what they leave is the same.

A run may be killed several times before it is left alone. The moments and signals are drawn from a
generator with a seed, over the length of a run that nothing disturbs.
"""

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from espnet_psslm.bin import (
    asr_inference,
    asr_train,
    dump_steps,
    pack,
    psslm_inference,
    psslm_train,
)
from tests.ctc_setting import Setting
from tests.killed import Command, Main, left_in
from tests.unit.tasks.test_processes import bridge_command

FEW, MANY = 2, 20
LIVES = (1, 2, 3)  # of a run, before it is left alone
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)
EPOCHS = {"max_epoch": 5, "keep_nbest_models": 2}
Words = Callable[[Path], list[str]]


class World:
    """Data and tiny models; the commands on them, by name: ``main``, and its words for a folder."""

    def __init__(self, folder: Path, models: dict[str, Path]) -> None:
        self.folder = folder
        self.setting = Setting(folder)
        self.lengths: dict[str, float] = {}  # seconds of a run
        self.bridge = bridge_command(folder, models, num_workers=1, **EPOCHS)
        self.commands: dict[str, tuple[Main, Words]] = {
            "train_ctc": (asr_train.main, lambda out: self.setting.command(out, **EPOCHS)),
            "train_bridge": (psslm_train.main, self.train_bridge),
        }
        ctc, psslm = (self.straight(name) for name in self.commands)
        bridge = ["--psslm_train_config", str(psslm / "config.yaml"), "--psslm_model_file"]
        bridge += [str(psslm / "valid.loss.ave.pth")]
        heard = self.setting.model_options(ctc)
        answer = ["--manifest", str(folder / "train.jsonl"), "--oracle", "true", "--device", "cpu"]
        answer += ["--batch_size", "2", "--max_new_tokens", "12", "--nbest", "2"]
        steps = ["--reduction_conf", "blank_threshold=1.0", "--batch_size", "2"]
        acoustic = {"train_config": str(ctc / "config.yaml")}
        acoustic["model_file"] = str(ctc / "valid.loss.ave.pth")
        config = yaml.safe_load((psslm / "config.yaml").read_text())
        (folder / "packed.yaml").write_text(yaml.safe_dump(config | {"acoustic_conf": acoustic}))
        packed = ["--psslm_train_config", str(folder / "packed.yaml"), *bridge[2:]]
        self.commands |= {
            "dump": (dump_steps.main, lambda out: [*heard, *steps, "--output_dir", str(out)]),
            "decode_ctc": (
                asr_inference.main,
                lambda out: [*heard, "--batch_size", "1", "--output_dir", str(out)],
            ),
            "decode": (
                psslm_inference.main, lambda out: [*bridge, *answer, "--output_dir", str(out)],
            ),
            "pack": (pack.main, lambda out: [*packed, "--outpath", str(out / "model.zip")]),
        }  # fmt: skip

    def train_bridge(self, output: Path) -> list[str]:
        return [*self.bridge, "--resume", "true", "--output_dir", str(output)]

    def command(self, name: str, output: Path) -> Command:
        main, words = self.commands[name]
        return Command(main, words(output), self.folder / "log")

    def straight(self, name: str) -> Path:
        """What a run leaves that nothing disturbs."""
        folder = self.folder / f"straight_{name}"
        if not folder.exists():
            self.lengths[name] = self.command(name, folder).run()
        return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory, lm_folder, units_folder, prompt_file) -> Iterator[World]:
    models = {"lm": lm_folder, "units": units_folder, "prompts": prompt_file}
    with pytest.MonkeyPatch.context() as patch:
        # Answers are kept and written after every batch: in time to be killed in between.
        patch.setattr("espnet_psslm.inference.decoder.WINDOW", 1)
        patch.setattr("espnet_psslm.acoustic.recognise.SEARCH_VALUES", 1)
        yield World(tmp_path_factory.mktemp("world"), models)


@pytest.mark.parametrize("kills", [FEW, pytest.param(MANY, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "name", ["train_ctc", "train_bridge", "dump", "decode_ctc", "decode", "pack"]
)
def test_the_same_is_left(world: World, tmp_path: Path, name: str, kills: int) -> None:
    wanted = left_in(world.straight(name))
    assert wanted
    draw = random.Random(f"{name} {kills}")
    killed = 0
    while killed < kills:
        folder = tmp_path / f"after{killed}"
        command, moments = world.command(name, folder), []
        for _ in range(draw.choice(LIVES)):
            moments.append((draw.uniform(0, world.lengths[name]), draw.choice(SIGNALS)))
            killed += command.kill(*moments[-1])
        command.run()
        assert left_in(folder) == wanted, moments
