"""Every row at a tiny size: ours equals the other way, and the check would see it if not."""

import dataclasses

import pytest
import torch

from benchmarks import (
    bridge_step,
    ctc_step,
    decode,
    dumped_epoch,
    encoder_ctc,
    lora_step,
    text_step,
)
from benchmarks.measure import Measured, Setting
from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.llm.tuned_prefix import PrefixTuning
from espnet_psslm.training.espnet_model import PSSLMModel
from tests.helpers import build_lm

SETTING = Setting(torch.device("cpu"))

TINY_LM = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TINY_STEP = bridge_step.Size(
    batch=3,
    prefix=7,
    steps=(4, 6),
    answers=(3, 2, 5),
    num_units=30,
    hidden=16,
    lm=TINY_LM,
)
TINY_CTC = ctc_step.Size(2, 0.5, num_units=20, spoken=3, width=32, layers=2, heads=2)
SIZES = {
    ctc_step: (TINY_CTC,),
    encoder_ctc: (TINY_CTC,),
    text_step: (
        TINY_STEP,
        dataclasses.replace(TINY_STEP, architecture="qwen2", dtype=torch.bfloat16),
    ),
    lora_step: (TINY_STEP,),
}


@pytest.mark.parametrize("row", SIZES, ids=lambda row: row.__name__.rpartition(".")[2])
def test_ours_equals_the_other_way(row):
    for case in row.cases(SETTING, sizes=SIZES[row]):
        assert case.row == row.__name__.rpartition(".")[2]
        case.check()


@pytest.mark.parametrize(("row", "share"), [(text_step, 1 / 2), (ctc_step, 1 / 5)])
def test_limits_of_memory(row, share):
    case = next(row.cases(SETTING, sizes=SIZES[row]))
    (holds,) = case.limits.values()
    for times, expected in ((0.99, True), (1.01, False)):
        peaks = {"ours": times * share, case.against: 1.0}
        assert holds(Measured({}, peaks)) is expected


def test_check_sees_another_answer(monkeypatch):
    monkeypatch.setattr(bridge_step.DenseProjector, "forward", lambda self, x: self[3](self[1](x)))
    case = next(text_step.cases(SETTING, sizes=(TINY_STEP,)))
    with pytest.raises(AssertionError):
        case.check()


def tiny_bridge(tuning):
    torch.manual_seed(0)
    lm = build_lm(40)
    return PSSLMModel(
        PrefixTuning(lm, num_tuned=2) if tuning == "prefix" else lm,
        LinearSiLU(11, 32, hidden=24),
        prefixes=[[3, 4, 5, 6], [7, 8]],
        end_id=1,
        pad_id=2,
    ).eval()


def tiny_inputs():
    return {
        "prompt_index": [0, 1, 0],
        "given": bridge_step.simulate([3, 5, 4], 11),
        "before_ids": torch.zeros(3, 0, dtype=torch.long),
        "before_ids_lengths": torch.zeros(3, dtype=torch.long),
        "after_ids": torch.tensor([[20, 21], [22, 2], [23, 24]]),
        "after_ids_lengths": torch.tensor([2, 1, 2]),
    }


@pytest.mark.parametrize("tuning", ["frozen", "prefix"])
def test_decode_gives_the_answers_of_generate(tuning, monkeypatch):
    monkeypatch.setattr(decode, "MAX_TOKENS", 6)
    monkeypatch.setattr(decode, "SAME", 1.0)
    model = tiny_bridge(tuning)
    if tuning == "prefix":
        for tuned in model.prefixes.tuned:
            tuned.data += torch.randn(tuned.shape)  # as training might have left them
    with torch.no_grad():
        model.projector.output.weight.mul_(20.0)
    inputs = tiny_inputs()
    steps = inputs.pop("given")
    case = decode.make_case(model, [(steps, inputs)], decode.Size(3, beams=2))
    case.check()
    assert case.items == 3
    assert case.ways["ours"]() != [[(), (), ()]]
    for probe in case.probes.values():
        probe()


class Reader:
    """Rows that hold their Steps; heard, each unit may be another one."""

    def __init__(self, shift=0):
        self.shift = shift

    def __call__(self, key, fields):
        return fields["sample"] | {"shift": self.shift}


def collate_read(samples):
    """A batch of what Reader gives."""
    keys, rows = zip(*samples, strict=True)
    inputs = tiny_inputs()
    lengths = torch.full((3,), 2)
    targets = {"target_ids": torch.tensor([[20, 1]] * 3), "target_ids_lengths": lengths}
    steps = inputs["given"]
    unit_ids = (steps.unit_ids + rows[0]["shift"]) % steps.num_units
    return list(keys), inputs | targets | {"given": dataclasses.replace(steps, unit_ids=unit_ids)}


@pytest.mark.parametrize("shift", [0, 1])
def test_a_whole_epoch_learns_the_same_from_dump_and_audio(shift):
    readers = {"dump": Reader(), "audio": Reader(shift)}
    model = tiny_bridge("prefix")
    with torch.no_grad():
        model.projector.output.weight.mul_(20.0)
    before = [parameter.clone() for parameter in model.parameters()]
    batches = [[{"key": name} for name in "abc"], [{"key": name} for name in "def"]]
    training = dumped_epoch.Training(model, readers, collate_read, batches)
    case = dumped_epoch.make_case(training)
    assert case.size == "6 samples, batch 3, whole epoch of training"
    if not shift:
        case.check()
    else:
        with pytest.raises(AssertionError):
            case.check()
    assert all(map(torch.equal, before, model.parameters()))
