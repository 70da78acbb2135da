"""Our command lines on the simulated NPU: each in a process of its own."""

import json
from pathlib import Path

import pytest
import torch

from tests.ctc_setting import NUM_UTTS, Setting

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    return Setting(tmp_path_factory.mktemp("ctc"))


@pytest.fixture(scope="module")
def ctc(setting, machine) -> Path:
    """Whisper-CTC: one epoch on the NPU, and another after resuming."""
    exp = setting.folder / "npu"
    for changes in ({"max_epoch": 1}, {}):
        command = setting.command(exp, **changes)
        assert machine.command("asr_train", *command, "--ngpu", "1") > 300
    return exp


def losses(exp: Path) -> list[float]:
    stats = torch.load(exp / "checkpoint.pth", map_location="cpu")["reporter"]["stats"]
    assert list(stats) == [1, 2]
    return [stats[epoch][part]["loss"] for epoch in stats for part in ("train", "valid")]


def test_whisper_ctc_trains_and_resumes_as_on_the_cpu(setting, ctc, machine):
    plain = setting.folder / "cpu"
    machine.command("asr_train", *setting.command(plain), "--ngpu", "0")
    assert losses(ctc)[2] < losses(ctc)[0]
    torch.testing.assert_close(losses(ctc), losses(plain), rtol=1e-4, atol=1e-4)


def test_ctc_decodes_without_float64(setting, ctc, machine, tmp_path):
    options = [*setting.model_options(ctc), "--output_dir", str(tmp_path), "--device", "npu"]
    options += ["--search", "prefix_beam"]
    assert machine.command("asr_inference", *options, SIMULATED_NPU_LACKS="float64") > 100
    assert len((tmp_path / "1best_recog/text").read_text().splitlines()) == NUM_UTTS


def test_steps_are_dumped_without_float64(setting, ctc, machine, tmp_path):
    options = [*setting.model_options(ctc), "--output_dir", str(tmp_path), "--device", "npu"]
    assert machine.command("dump_steps", *options, SIMULATED_NPU_LACKS="float64") > 100
    assert json.loads((tmp_path / "stats.json").read_text())["num_utts"] == NUM_UTTS


ENTRIES = (
    "import espnet_psslm.bin.asr_train",
    "import espnet_psslm.bin.psslm_train",
    "import espnet_psslm.decode",
    "from espnet_psslm.registry import register; register()",
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_trainer_is_imported_after_redirection(machine, entry):
    out = machine.run(
        "-c", f"{entry}\nfrom espnet2.train import trainer as t\nprint(t.autocast_args)"
    )
    assert out.splitlines()[-1] == "{'dtype': torch.bfloat16}"


def test_other_order_loses_bfloat16_and_says_so(machine):
    code = (
        "import logging, sys; logging.basicConfig(stream=sys.stdout)\n"
        "from espnet2.train import trainer\n"
        "import espnet_psslm.tasks\n"
        "print(trainer.autocast_args)"
    )
    lines = machine.run("-c", code).splitlines()
    assert lines[-1] == "{}"
    assert any("imported before espnet_psslm" in line for line in lines)
