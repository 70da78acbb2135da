"""Our command lines on the simulated NPU: each in a process of its own, its results the CPU's."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.ctc_setting import Setting
from tests.helpers import PROMPTS, save_language_model, write_jsonl

pytestmark = pytest.mark.long

BRIDGE = {
    "source": "audio",
    "tuning": "lora",
    "tuning_conf": {"r": 4, "alpha": 8, "dropout": 0.1},
    "projector_conf": {"hidden": 32},
    "projector_init": "unit_text",
    "model_conf": {"extract_feats_in_collect_stats": False},
    "batch_type": "unsorted",
    "batch_size": 4,
    "num_workers": 0,
    "optim": "adamw",
    "optim_conf": {"lr": 1.0e-2},
    "max_epoch": 2,
    "keep_nbest_models": 2,
    "best_model_criterion": [["valid", "loss", "min"]],
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, map_location="cpu", weights_only=True)


def losses(exp: Path) -> list[float]:
    stats = torch.load(exp / "checkpoint.pth", map_location="cpu")["reporter"]["stats"]
    return [stats[epoch][part]["loss"] for epoch in stats for part in ("train", "valid")]


def assert_same_training(npu: Path, cpu: Path) -> None:
    assert losses(npu) == pytest.approx(losses(cpu), rel=1e-4)
    ours, theirs = weights(npu / "valid.loss.ave.pth"), weights(cpu / "valid.loss.ave.pth")
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    return Setting(tmp_path_factory.mktemp("ctc"))


@pytest.fixture(scope="module")
def ctc(setting, machine):
    """Whisper-CTC: one epoch on the NPU and another after resuming; two at once on the CPU."""
    from espnet_psslm.bin import asr_train

    npu, cpu = setting.folder / "npu", setting.folder / "cpu"
    for changes in ({"max_epoch": 1}, {}):
        command = setting.command(npu, **changes)
        assert machine.command("asr_train", *command, "--ngpu", "1") > 300
    asr_train.main(setting.command(cpu))
    return npu, cpu


def bridge_command(setting: Setting, ctc: Path, lm: Path, output: Path, **changes) -> list[str]:
    prompts = write_jsonl(setting.folder / "prompts.jsonl", PROMPTS)
    config = setting.folder / "bridge.yaml"
    config.write_text(yaml.safe_dump({**BRIDGE, **changes}))
    data = f"{setting.data}/psslm.jsonl,sample,psslm_jsonl"
    command = ["--config", str(config), "--output_dir", str(output), "--resume", "true"]
    command += ["--llm_conf", f"name={lm}", "--prompt_file", str(prompts)]
    command += ["--token_list", str(setting.folder / "units/tokens.txt")]
    command += ["--bpemodel", str(setting.folder / "units/bpe.model")]
    command += ["--acoustic_conf", f"train_config={ctc / 'config.yaml'}"]
    command += ["--acoustic_conf", f"model_file={ctc / 'valid.loss.ave.pth'}"]
    for name in ("train", "valid"):
        command += [f"--{name}_data_path_and_name_and_type", data]
        command += [f"--{name}_shape_file", str(setting.data / "keys")]
    return command


@pytest.fixture(scope="module")
def bridge(setting, ctc, machine, tmp_path_factory):
    """The bridge from audio, with adapters: as ``ctc``."""
    from espnet_psslm.bin import psslm_train

    lm = save_language_model(tmp_path_factory.mktemp("lm"))
    keys = [json.loads(line)["key"] for line in (setting.data / "psslm.jsonl").open()]
    (setting.data / "keys").write_text("".join(f"{key} 1\n" for key in keys))
    npu, cpu = setting.folder / "bridge_npu", setting.folder / "bridge_cpu"
    for changes in ({"max_epoch": 1}, {}):
        command = bridge_command(setting, ctc[1], lm, npu, **changes)
        assert machine.command("psslm_train", *command, "--ngpu", "1") > 300
    psslm_train.main(bridge_command(setting, ctc[1], lm, cpu))
    return npu, cpu


def test_whisper_ctc_trains_and_resumes(ctc):
    assert_same_training(*ctc)


def test_bridge_trains_and_resumes(bridge):
    assert_same_training(*bridge)


def test_mixed_precision_is_the_npus(setting, ctc, machine):
    exp = setting.folder / "amp"
    command = setting.command(exp, use_amp=True, max_epoch=1)
    machine.command("asr_train", *command, "--ngpu", "1")
    full, mixed = losses(ctc[1])[:2], losses(exp)
    assert mixed == pytest.approx(full, rel=0.05)
    assert mixed != pytest.approx(full, rel=1e-5)  # nor was it left out


@pytest.mark.parametrize("search", ["greedy", "prefix_beam", "phone_sync_beam"])
def test_ctc_decodes_without_float64(setting, ctc, machine, tmp_path, search):
    from espnet_psslm.bin import asr_inference

    def options(device: str) -> list[str]:
        output = ["--output_dir", str(tmp_path / device), "--device", device]
        return [*setting.model_options(ctc[0]), *output, "--search", search]

    assert machine.command("asr_inference", *options("npu"), SIMULATED_NPU_LACKS="float64") > 100
    asr_inference.main(options("cpu"))
    for name in ("text", "ctm"):
        npu, cpu = (tmp_path / device / "1best_recog" / name for device in ("npu", "cpu"))
        assert npu.read_text() == cpu.read_text()


def test_steps_are_dumped_without_float64(setting, ctc, machine, tmp_path):
    from espnet_psslm.bin import dump_steps
    from espnet_psslm.bridge.steps_file import read_steps

    def options(device: str) -> list[str]:
        return [
            *setting.model_options(ctc[0]), "--output_dir", str(tmp_path / device),
            "--device", device,
        ]  # fmt: skip

    assert machine.command("dump_steps", *options("npu"), SIMULATED_NPU_LACKS="float64") > 100
    dump_steps.main(options("cpu"))
    npu, cpu = (
        [json.loads(line)["steps"] for line in (tmp_path / device / "psslm.jsonl").open()]
        for device in ("npu", "cpu")
    )
    for ours, theirs in zip(npu, cpu, strict=True):
        torch.testing.assert_close(read_steps(ours), read_steps(theirs))
    stats = [json.loads((tmp_path / d / "stats.json").read_text()) for d in ("npu", "cpu")]
    assert stats[0] == pytest.approx(stats[1], rel=1e-4)


def test_bridge_answers(setting, bridge, machine, tmp_path):
    from espnet_psslm.bin import psslm_inference

    def options(device: str) -> list[str]:
        return [
            "--psslm_train_config", str(bridge[0] / "config.yaml"),
            "--psslm_model_file", str(bridge[0] / "valid.loss.ave.pth"),
            "--manifest", str(setting.data / "psslm.jsonl"),
            "--output_dir", str(tmp_path / device), "--batch_size", "5", "--beam_size", "4",
            "--nbest", "2", "--max_new_tokens", "8", "--device", device,
        ]  # fmt: skip

    assert machine.command("psslm_inference", *options("npu")) > 300
    psslm_inference.main(options("cpu"))
    for rank in (1, 2):
        name = f"ASR/{rank}best_recog/text"
        npu, cpu = ((tmp_path / device / name).read_text() for device in ("npu", "cpu"))
        assert npu == cpu
    assert len({line.partition(" ")[2] for line in npu.splitlines()}) > 1


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
