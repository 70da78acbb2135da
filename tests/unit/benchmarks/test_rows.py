"""Every row at a tiny size: ours equals its baselines, and the check would see it if not."""

import dataclasses

import numpy as np
import pytest
import soundfile
import torch

from benchmarks import (
    ctc_memory,
    ctc_step,
    decode,
    dumped_epoch,
    encoder_ctc,
    lego,
    lora_step,
    padding,
    phone_sync_search,
    reduction,
    simulated_projector,
    text_step,
)
from benchmarks.measure import Machine, Measured, Setting, tallest
from espnet_psslm.bridge import frame_scores
from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.llm.tuned_prefix import PrefixTuning
from espnet_psslm.training.espnet_model import PSSLMModel
from tests.fake_acoustic import LevelAcoustic
from tests.helpers import build_lm

MACHINE = Machine(
    torch.device("cpu"), copy_bytes_s=1e10, flops_s={torch.float32: 1e11, torch.bfloat16: 2e11}
)
SETTING = Setting(MACHINE)

TINY_LM = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TINY_ENCODER = {
    "output_size": 16,
    "attention_heads": 2,
    "linear_units": 16,
    "num_blocks": 2,
    "tp_blocks": 1,
    "kernel_size": 3,
}
TINY_STEP = text_step.Size(
    batch=3,
    prefix=7,
    steps=(4, 6),
    answers=(3, 2, 5),
    num_units=30,
    hidden=16,
    audio_s=0.3,
    lm=TINY_LM,
    encoder=TINY_ENCODER,
    target_plain=3.0,
)
TINY_CTC = ctc_step.Size(2, 0.5, num_units=20, spoken=3, width=32, layers=2, heads=2)
SIZES = {
    reduction: (
        reduction.Size(3, 30, 12, listed=4),
        reduction.Size(2, 20, 100, listed=4, against="softmax"),
    ),
    simulated_projector: (simulated_projector.Size(12, batch=4, num_units=30, hidden=8, width=6),),
    lego: (lego.Size(9, 200, listed=4, width=6),),
    ctc_step: (TINY_CTC,),
    encoder_ctc: (TINY_CTC,),
    ctc_memory: (TINY_CTC,),
    text_step: (
        TINY_STEP,
        dataclasses.replace(TINY_STEP, architecture="qwen2", dtype=torch.bfloat16),
    ),
    lora_step: (TINY_STEP,),
}


def tiny_cases(row):
    return list(row.cases(SETTING, sizes=SIZES[row]))


def measured(case, peak=1.0):
    return Measured(dict.fromkeys(case.ways, (1.0, 1.0, 1.0)), dict.fromkeys(case.ways, peak))


@pytest.mark.parametrize("row", SIZES, ids=lambda row: row.__name__.rpartition(".")[2])
def test_ours_equals_the_baselines(row):
    for case in tiny_cases(row):
        assert case.row == row.__name__.rpartition(".")[2]
        assert case.against in case.ways and case.bound_s > 0
        case.check()


@pytest.mark.parametrize("row", [reduction, simulated_projector, lego])
def test_no_dense_tensor_is_made(row, monkeypatch):
    """As the limits of these rows say."""
    monkeypatch.setattr(frame_scores, "NUMBERS", 100)  # a block is less than a tiny size
    monkeypatch.setattr(frame_scores, "NARROW", 12)  # what the first size of reduction has
    limits = [
        holds(measured(case))
        for case in tiny_cases(row)
        for name, holds in case.limits.items()
        if name.startswith("no ")
    ]
    assert limits and all(limits)


def test_dense_baselines_make_such_a_tensor():
    for row in (reduction, simulated_projector):
        case = tiny_cases(row)[0]
        size = SIZES[row][0]
        rows = size.batch * size.frames if row is reduction else size.steps
        assert tallest(case.ways[case.against], size.num_units) >= rows


def test_limits_that_speak_of_numbers():
    case = tiny_cases(text_step)[0]
    peaks = dict.fromkeys(case.ways, 10.0)
    times = dict.fromkeys(case.ways, (1.0, 1.0, 1.0))
    slow = Measured(times, peaks)
    assert not any(holds(slow) for holds in case.limits.values())
    quick = Measured(times | {"ours": (0.1, 0.1, 0.1)}, peaks | {"ours": 5.0})
    assert all(holds(quick) for holds in case.limits.values())
    (case,) = tiny_cases(simulated_projector)
    near = next(holds for name, holds in case.limits.items() if "bound" in name)
    for times_the_bound, holds in ((1.5, True), (1.7, False)):
        seconds = times_the_bound * case.bound_s
        assert near(Measured({"ours": (0.0, seconds, 9.0)}, {})) is holds


def test_check_sees_another_answer(monkeypatch):
    case = tiny_cases(reduction)[0]
    monkeypatch.setattr(reduction, "THRESHOLD", 0.2)
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
    steps = simulated_projector.simulate([3, 5, 4], 11)
    return {
        "prompt_index": [0, 1, 0],
        "num_units": 11,
        "before_ids": torch.zeros(3, 0, dtype=torch.long),
        "before_ids_lengths": torch.zeros(3, dtype=torch.long),
        "after_ids": torch.tensor([[20, 21], [22, 2], [23, 24]]),
        "after_ids_lengths": torch.tensor([2, 1, 2]),
        "unit_ids": steps.unit_ids,
        "probs": steps.probs,
        "unit_ids_lengths": steps.lengths,
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
    prompts = {
        n: inputs.pop(n) for n in list(inputs) if n.startswith(("prompt", "before", "after"))
    }
    case = decode.make_case(
        MACHINE, model, [(model.steps(**inputs), prompts)], decode.Size(3, beams=2)
    )
    case.check()
    assert case.items == 3
    assert case.ways["ours"]() != [[(), (), ()]]
    for probe in case.probes.values():
        probe()


@pytest.fixture
def audio(tmp_path):
    from espnet_psslm.data.audio_batches import AudioBatches

    lines = {"wav.scp": [], "utt2num_samples": []}
    for utt, units in {"a": [3, 0, 4, 0], "b": [0, 7], "c": [0, 0]}.items():
        samples = np.repeat(np.array(units) / 100, 640)
        soundfile.write(tmp_path / f"{utt}.wav", samples, 16000, subtype="FLOAT")
        lines["wav.scp"].append(f"{utt} {tmp_path / utt}.wav\n")
        lines["utt2num_samples"].append(f"{utt} {len(samples)}\n")
    for name, rows in lines.items():
        (tmp_path / name).write_text("".join(rows))
    return AudioBatches(tmp_path, batch_size=2)


def test_dumped_steps_are_those_heard(audio, tmp_path):
    size = dumped_epoch.Size(listed=4)
    epoch = dumped_epoch.Epoch(
        LevelAcoustic.load(num_units=30), audio, size, tmp_path / "steps.ark"
    )
    assert [steps.lengths.tolist() for steps in epoch.from_dump()] == [[2, 1], [0]]
    case = dumped_epoch.make_case(SETTING, epoch, size)
    case.check()
    assert case.items == 3
    (small,) = case.limits.values()
    assert not small(measured(case))  # headers alone are more than 1/40 of such short audio


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
    unit_ids = (inputs["unit_ids"] + rows[0]["shift"]) % inputs["num_units"]
    return list(keys), inputs | targets | {"unit_ids": unit_ids}


@pytest.mark.parametrize("shift", [0, 1])
def test_a_whole_epoch_learns_the_same_from_dump_and_audio(shift):
    readers = {"dump": Reader(), "audio": Reader(shift)}
    model = tiny_bridge("prefix")
    with torch.no_grad():
        model.projector.output.weight.mul_(20.0)
    before = [parameter.clone() for parameter in model.parameters()]
    batches = [[{"key": name} for name in "abc"], [{"key": name} for name in "def"]]
    training = dumped_epoch.Training(model, readers, collate_read, batches)
    case = dumped_epoch.make_training_case(SETTING, training)
    assert case.size == "6 samples, batch 3, whole epoch of training" and case.bound_s > 0
    if not shift:
        case.check()
    else:
        with pytest.raises(AssertionError):
            case.check()
    assert all(map(torch.equal, before, model.parameters()))


class Letters:
    """Unit i is the i-th letter, and a word."""

    def decode(self, unit_ids):
        return " ".join(chr(ord("a") + unit) for unit in unit_ids)


def test_phone_sync_search_needs_the_ratio_and_the_error_rate(audio, monkeypatch):
    acoustic = LevelAcoustic.load(num_units=30)
    acoustic.units = Letters()
    refs = {"a": "d e", "b": "h", "c": "a"}
    size = phone_sync_search.Size(every_frame=True)
    groups = phone_sync_search.hear(acoustic, audio, size)
    case = phone_sync_search.make_case(SETTING, acoustic, groups, refs, size)
    case.check()
    # Of 8, 4 and 4 frames three are spoken steps; the first utterance's two more are blank.
    assert case.size == (
        "3 utterances, 50 Hz, 5.33 frames per step, WER 25.00 %, by frames 25.00 %"
    )
    assert case.target == pytest.approx(0.8 * 16 / 3)
    assert [len(result.nbest) for result in case.ways["ours"]()] == [3]
    refs["c"] = "z z"
    monkeypatch.setattr(phone_sync_search, "WER_ABOVE", -1.0)
    case = phone_sync_search.make_case(SETTING, acoustic, groups, refs, size)
    with pytest.raises(AssertionError, match="WER"):
        case.check()


def test_memory_limits():
    frozen, trained = tiny_cases(ctc_memory)
    peaks = {"ours": 1.1, "forward": 1.0, "padded": 5.6}
    for case, most in ((frozen, 1.2), (trained, 1.12)):
        (holds,) = case.limits.values()
        assert holds(Measured({}, peaks | {"ours": 0.99 * most}))
        assert not holds(Measured({}, peaks | {"ours": 1.01 * most}))


def test_padding_is_counted(tmp_path):
    assert padding.padding_share([["a", "b"], ["c"]], {"a": 4, "b": 2, "c": 3}) == 1 - 9 / 11
    shapes = tmp_path / "shape"
    shapes.write_text("".join(f"k{n} {length}\n" for n, length in enumerate([9, 1, 9, 1, 9, 1])))
    config = {
        "batch_type": "sorted", "batch_size": 3, "batch_bins": 0, "sort_in_batch": "descending",
        "train_shape_file": [str(shapes)], "sort_batch": "descending", "drop_last_iter": False,
        "min_batch_size": 1, "fold_length": [],
    }  # fmt: skip
    case = padding.make_case(SETTING, padding.Size("x"), config)
    case.check()
    assert case.size == "x, 2 batches: 0.0%, in order 44.4%"
    assert all(holds(measured(case)) for holds in case.limits.values())
    config |= {"batch_size": 4}  # 9 9 9 and a 1
    case = padding.make_case(SETTING, padding.Size("x"), config)
    assert not any(holds(measured(case)) for holds in case.limits.values())
