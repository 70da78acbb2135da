"""Row ``lora_step``: a text-only training step of the bridge with LoRA.

plain: simulated posteriors over all units, the whole prompt before every row and all logits go
through the models as their libraries offer it.

Ours reads the prompt once a batch, and its gradients reach the adapters from there, too. Same
language model (random weights), same adapters, same loss, same gradients.
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
from espnet_psslm.llm.lora import LoRA
from espnet_psslm.training.espnet_model import PSSLMModel

RANK = 16
UNITS = 1500  # of a unit vocabulary made for a corpus: the projector counts for little


def _adapters(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [p for name, p in module.named_parameters() if "lora_" in name]


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row: prompts of three lengths, or the shortest."""
    if sizes is None:
        full = replace(size_for(setting.device), num_units=UNITS)
        prefixes = (16,) if setting.quick else (16, 64, 256)
        sizes = tuple(replace(full, prefix=prefix) for prefix in prefixes)
    for size in sizes:
        yield _case(setting, size)


def _case(setting: Setting, size: Size) -> Case:
    device = setting.device
    batch = make_batch(size, device)
    lm = build_lm(size).to(size.dtype)
    described = describe(lm)
    held = LoRA(lm, r=RANK, alpha=RANK, dropout=0.0)
    for adapter in _adapters(lm):  # the outer ones start at zero, which hides the inner gradients
        torch.nn.init.normal_(adapter, std=0.02)
    torch.manual_seed(1)
    projector = LinearSiLU(size.num_units, size.lm["hidden_size"], hidden=size.hidden)
    dense = DenseProjector(projector).to(device)
    plain = Plain(copy.deepcopy(lm).to(device), dense, batch)
    prefix = [batch.prefix.tolist()]
    model = PSSLMModel(held, projector, prefixes=prefix, end_id=END, pad_id=END).to(device)
    ours = Ours(model, batch)

    def check() -> None:
        assert_same(ours, plain, size)
        for one, other in zip(_adapters(ours.model.lm), _adapters(plain.lm), strict=True):
            gap = (one.grad - other.grad).norm()
            assert gap <= size.tolerance * other.grad.norm(), (gap, other.grad.norm())

    return Case(
        row="lora_step",
        size=f"B {size.batch}, V {size.num_units}, P {size.prefix}, rank {RANK}, {described}",
        ways={"ours": ours, "plain": plain},
        target=None,
        items=size.batch,
        unit="rows",
        check=check,
    )
