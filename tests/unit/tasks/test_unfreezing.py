"""Gradual unfreezing, schedules and resuming, through ESPnet's own training loop."""

from pathlib import Path

import pytest
import torch
from torch import nn

from espnet_psslm.acoustic.whisper import HFSpeechEncoder
from espnet_psslm.bin import asr_train
from espnet_psslm.tasks.schedulers import WarmupCosineLR
from tests.ctc_setting import Setting
from tests.helpers import run_and_fail

CONF = {
    "freeze": "encoder",
    "unfreeze": {2: r"layers\.1\.", 3: ["layers", "layer_norm"]},
    "conv_kernel": 3,
    "conv_stride": 3,
}
COSINE = {"scheduler": "warmupcosinelr", "scheduler_conf": {"max_steps": 30, "warmup_steps": 3}}


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path_factory.mktemp("unfreezing"))


@pytest.fixture(scope="module")
def straight(setting: Setting) -> Path:
    exp = setting.folder / "straight"
    options = {"max_epoch": 3, "keep_nbest_models": 3, "accum_grad": 2, **COSINE}
    options |= {"lr_scale": {"encoder.whisper.": 0.1}, "batch_bins": 20000}
    specaug = {"time_mask_width_range": [0, 5], "freq_mask_width_range": [0, 10]}
    options |= {"specaug": "specaug", "specaug_conf": specaug}
    asr_train.main(setting.command(exp, encoder_conf=CONF, **options))
    setting.options = options
    return exp


def changed(before: dict, after: dict) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_parts_are_trained_from_their_epoch_on(setting: Setting, straight: Path) -> None:
    states = [torch.load(straight / f"{epoch}epoch.pth") for epoch in (1, 2, 3)]
    encoder = HFSpeechEncoder(80, str(setting.folder / "whisper"), **CONF)
    start = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    assert states[0].keys() == states[2].keys() and not any("conv1" in n for n in states[0])
    whisper = {name for name in states[0] if ".whisper." in name}
    assert whisper and not changed({n: start[n] for n in whisper}, states[0])
    second = {name for name in whisper if ".layers.1." in name}
    head = {"ctc.ctc_lo.weight", "ctc.ctc_lo.bias"}
    head |= {"encoder.downsample.conv.weight", "encoder.downsample.conv.bias"}
    # A key's bias moves no softmax; k_proj has none in Whisper.
    assert changed(states[0], states[1]) == second | head
    assert changed(states[1], states[2]) == whisper | head


def test_resumed_training_is_exact(setting: Setting, straight: Path) -> None:
    """Unfreezing, Adam's moments, cosine, SpecAugment, accumulated gradients: stop after each."""
    exp = setting.folder / "resumed"
    for epoch in (1, 2, 3):
        options = {**setting.options, "max_epoch": epoch}
        asr_train.main(setting.command(exp, encoder_conf=CONF, **options))
    for epoch in (1, 2, 3):
        ours, theirs = (torch.load(e / f"{epoch}epoch.pth") for e in (exp, straight))
        assert not changed(ours, theirs), epoch


def test_frozen_parts_stay_in_evaluation_mode(setting: Setting) -> None:
    encoder = HFSpeechEncoder(80, str(setting.folder / "whisper"), **CONF)
    first, second = encoder.whisper.layers
    modes = []
    for epoch in (1, 2, 3):
        encoder.set_epoch(epoch)
        encoder.train()
        modes.append((first.training, second.training, second.self_attn.training))
    assert modes == [(False, False, False), (False, True, True), (True, True, True)]
    assert not encoder.whisper.conv1.training
    encoder.set_epoch(1)
    assert not second.training


def test_frozen_parts_below_make_no_graph(setting: Setting) -> None:
    encoder = HFSpeechEncoder(80, str(setting.folder / "whisper"), **CONF).train()
    inputs = []
    encoder.whisper.layers[1].register_forward_pre_hook(lambda _m, args: inputs.append(args[0]))
    for epoch in (2, 3):
        encoder.set_epoch(epoch)
        encoder(torch.randn(1, 50, 80), torch.tensor([50]))
    assert [hidden.requires_grad for hidden in inputs] == [False, True]


def test_training_without_the_epoch_is_an_error(setting: Setting) -> None:
    encoder = HFSpeechEncoder(80, str(setting.folder / "whisper"), **CONF)
    with pytest.raises(ValueError, match="train with espnet_psslm.bin.asr_train"):
        encoder.train()(torch.randn(1, 50, 80), torch.tensor([50]))
    assert encoder.eval()(torch.randn(1, 50, 80), torch.tensor([50]))[0].isfinite().all()


def test_early_stopping(setting: Setting) -> None:
    """ESPnet's patience: no better loss than the first, as nothing is learnt, so it stops."""
    exp = setting.folder / "patience"
    options = {"patience": 1, "early_stopping_criterion": ["valid", "loss", "min"]}
    rate = {"optim_conf": {"lr": 0.0}, "max_epoch": 9, "keep_nbest_models": 1}
    asr_train.main(setting.command(exp, **options, **rate))
    assert len(torch.load(exp / "checkpoint.pth")["reporter"]["stats"]) < 9


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"scheduler": "cosineannealingwarmuprestarts", "lr_scale": {"ctc.": 0.1},
             "scheduler_conf": {"first_cycle_steps": 5}},
            "sets one rate for all parts, against lr_scale",
        ),
        ({"encoder_conf": {"freeze": "front", "unfreeze": {2: "layers"}}}, "'layers' matches no"),
        (
            {"encoder_conf": {"pad_to_30s": True}, "specaug": "specaug"},
            "set apply_time_warp: false",
        ),
    ],
)  # fmt: skip
def test_settings_that_contradict(
    setting: Setting, changes: dict, reason: str, capsys: pytest.CaptureFixture
) -> None:
    command = setting.command(setting.folder / "bad", **changes)
    assert reason in run_and_fail(asr_train.main, command, capsys)


def test_warmup_and_cosine_of_each_group() -> None:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [parameters[0]], "lr": 1.0}, {"params": [parameters[1]], "lr": 0.1}]
    optimizer = torch.optim.SGD(groups)
    schedule = WarmupCosineLR(optimizer, max_steps=8, warmup_steps=4, final_lr_scale=0.2)
    rates = []
    for _ in range(11):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    up, down = [0.25, 0.5, 0.75, 1.0], [1.0, 0.8828, 0.6, 0.3172, 0.2, 0.2, 0.2]
    assert [rate for rate, _ in rates] == pytest.approx([*up, *down], abs=1e-4)
    assert [10 * rate for _, rate in rates] == pytest.approx([rate for rate, _ in rates])
    with pytest.raises(ValueError, match="warmup_steps 8 must be less"):
        WarmupCosineLR(optimizer, max_steps=8, warmup_steps=8)
