"""Row ``text_step``: a text-only training step of the bridge, from simulated Steps to new weights.

plain: simulated posteriors over all units, the whole prompt and all logits go through the models as
their libraries offer it.

Same language model (random weights), same loss, same gradients. Frozen but for the projector. On an
accelerator the language model has Qwen2.5-1.5B's size and is in bfloat16.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.bridge_step import (
    END,
    DenseProjector,
    Ours,
    Plain,
    Size,
    assert_same,
    build_lm,
    describe,
    make_batch,
    size_for,
)
from benchmarks.measure import Case, Setting
from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.device import is_host
from espnet_psslm.training.espnet_model import PSSLMModel

TARGET = 3.0
QUICK = Size(batch=2)


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row."""
    if sizes is None:
        device = setting.device
        full = replace(size_for(device), target=TARGET if is_host(device) else None)
        sizes = (QUICK,) if setting.quick else (full,)
    for size in sizes:
        yield _case(setting, size)


def _case(setting: Setting, size: Size) -> Case:
    device = setting.device
    batch = make_batch(size, device)
    lm = build_lm(size).to(device, size.dtype)
    torch.manual_seed(1)
    projector = LinearSiLU(size.num_units, size.lm["hidden_size"], hidden=size.hidden).to(device)
    plain = Plain(copy.deepcopy(lm), DenseProjector(projector).to(device), batch)
    model = PSSLMModel(lm, projector, prefixes=[batch.prefix.tolist()], end_id=END, pad_id=END)
    ours = Ours(model.to(device), batch)
    return Case(
        row="text_step",
        size=f"B {size.batch}, V {size.num_units}, P {size.prefix}, {describe(plain.lm)}",
        ways={"ours": ours, "plain": plain},
        target=size.target,
        items=size.batch,
        unit="rows",
        check=lambda: assert_same(ours, plain, size),
        limits={"half of plain's memory": lambda m: m.peaks["ours"] <= 0.5 * m.peaks["plain"]},
    )
