"""Our command lines on a simulated NPU that lacks what an Ascend NPU lacks.

Each is in a process of its own.
"""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch

from espnet_psslm.bridge.steps_file import read_steps
from tests.ctc_setting import NUM_UTTS, Setting
from tests.npu.build import LACKS
from tests.npu.conftest import Machine

pytestmark = pytest.mark.long
EPOCHS = 2


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    return Setting(tmp_path_factory.mktemp("ctc"))


@pytest.fixture(scope="module")
def ctc(setting, machine) -> Path:
    """Whisper-CTC: one epoch on the NPU, and another after resuming."""
    exp = setting.folder / "npu"
    for epochs in (1, EPOCHS):
        command = setting.command(exp, max_epoch=epochs)
        assert machine.command("asr_train", *command, "--ngpu", "1") > 300
    return exp


def losses(exp: Path) -> list[float]:
    stats = torch.load(exp / "checkpoint.pth", map_location="cpu")["reporter"]["stats"]
    assert len(stats) == EPOCHS
    return [stats[epoch][part]["loss"] for epoch in stats for part in ("train", "valid")]


def test_what_it_lacks_is_done_on_the_host(machine):
    lacks = ",".join(LACKS)
    out = machine.run("-m", "tests.npu.lacking", SIMULATED_NPU_LACKS=lacks)
    found = json.loads(out.splitlines()[-1])
    for name, message in zip(LACKS, found["refused"], strict=True):
        assert f"the NPU has no {name}" in message
    assert max(found["difference"].values()) < 1e-5, found["difference"]


def test_whisper_ctc_trains_and_resumes_as_on_the_cpu(setting, ctc, machine):
    plain = setting.folder / "cpu"
    machine.command("asr_train", *setting.command(plain, max_epoch=EPOCHS), "--ngpu", "0")
    assert losses(ctc)[2] < losses(ctc)[0]
    torch.testing.assert_close(losses(ctc), losses(plain), rtol=1e-4, atol=1e-4)


def both(command: str, options: list[str], folder: Path, machine: Machine) -> list[Path]:
    """Output folders of a command on the NPU and on the CPU."""
    outputs = [folder / device for device in ("npu", "cpu")]
    lines = [[*options, "--output_dir", str(path), "--device", path.name] for path in outputs]
    assert machine.command(command, *lines[0]) > 100
    import_module(f"espnet_psslm.bin.{command}").main(lines[1])
    return outputs


def test_ctc_decodes_as_on_the_cpu(setting, ctc, machine, tmp_path):
    options = [*setting.model_options(ctc), "--search", "prefix_beam"]
    outputs = both("asr_inference", options, tmp_path, machine)
    ours, theirs = ((output / "1best_recog/text").read_text() for output in outputs)
    assert len(ours.splitlines()) == NUM_UTTS and len(set(ours.split())) > NUM_UTTS
    assert ours == theirs


def test_dumped_steps_are_the_cpus(setting, ctc, machine, tmp_path):
    outputs = both("dump_steps", setting.model_options(ctc), tmp_path, machine)
    ours, theirs = (
        {key: read_steps(place) for key, place in map(str.split, lines)}
        for lines in ((output / "steps.scp").read_text().splitlines() for output in outputs)
    )
    assert len(ours) == NUM_UTTS and ours.keys() == theirs.keys()
    assert sum(len(unit_ids) for unit_ids, *_ in theirs.values()) > NUM_UTTS
    for key, values in theirs.items():
        torch.testing.assert_close(ours[key], values, rtol=1e-4, atol=1e-4, msg=key)
    stats = [json.loads((output / "stats.json").read_text()) for output in outputs]
    assert stats[0]["num_utts"] == NUM_UTTS
    assert stats[0] == pytest.approx(stats[1], rel=1e-5)


ENTRIES = (
    "import espnet_psslm.bin.asr_train",
    "import espnet_psslm.bin.psslm_train",
    "import espnet_psslm.inference.decoder",
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
