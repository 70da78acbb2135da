import torch
from torch import nn

from espnet_psslm.llm.frozen import Frozen


def model():
    held = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).to(torch.bfloat16)
    return nn.ModuleDict({"frozen": Frozen(held), "trained": nn.Linear(2, 2)})


def test_keeps_its_dtype():
    outer = model().to(torch.float64)
    assert {p.dtype for p in outer["frozen"].parameters()} == {torch.bfloat16}
    assert {p.dtype for p in outer["trained"].parameters()} == {torch.float64}
    assert {p.dtype for p in model().half()["frozen"].parameters()} == {torch.bfloat16}


def test_moves_to_another_device():
    outer = model().to("meta")
    assert all(p.is_meta for p in outer.parameters())
    assert {p.dtype for p in outer["frozen"].parameters()} == {torch.bfloat16}


def test_stays_in_eval_mode_without_gradient():
    outer = model().train()
    assert outer["trained"].training
    assert not any(m.training for m in outer["frozen"].module.modules())
    assert not any(p.requires_grad for p in outer["frozen"].parameters())
