"""Loss in blocks of rows against logits and cross-entropy in one piece."""

import pytest
import torch
from torch import nn

from espnet_psslm.llm import frozen_head
from espnet_psslm.llm.frozen_head import frozen_head_loss
from tests.helpers import build_lm


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("count", [1, 4, 11])
def test_equals_plain_cross_entropy_in_value_and_gradient(count, cap, monkeypatch):
    torch.manual_seed(0)
    lm = build_lm(20).double()
    monkeypatch.setattr(frozen_head, "LOGITS", 4 * len(lm.get_output_embeddings().weight))
    lm.config.final_logit_softcapping = cap
    hidden = torch.randn(count, 32, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(20, (count,))
    loss, accuracy = frozen_head_loss(lm, hidden, targets)
    logits = lm.get_output_embeddings()(hidden)
    if cap is not None:
        logits = cap * (logits / cap).tanh()
    expected = nn.functional.cross_entropy(logits, targets)
    torch.testing.assert_close(loss, expected, rtol=0.0, atol=1e-12)
    assert not accuracy.requires_grad
    assert accuracy == (logits.argmax(1) == targets).double().mean()
    ours = torch.autograd.grad(3.0 * loss, hidden)[0]
    theirs = torch.autograd.grad(3.0 * expected, hidden)[0]
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-12)


def test_bfloat16_hidden_states_give_a_float32_loss():
    lm = build_lm(20).bfloat16()
    hidden = torch.randn(5, 32, dtype=torch.bfloat16, requires_grad=True)
    targets = torch.arange(5)
    loss, _ = frozen_head_loss(lm, hidden, targets)
    expected = nn.functional.cross_entropy(lm.get_output_embeddings()(hidden).float(), targets)
    torch.testing.assert_close(loss, expected, rtol=0.0, atol=1e-6)
    ours, theirs = (torch.autograd.grad(one, hidden)[0] for one in (loss, expected))
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=1e-3)


def test_without_gradient_the_value_is_the_same():
    lm = build_lm(20)
    hidden, targets = torch.randn(5, 32), torch.arange(5)
    with torch.no_grad():
        silent, _ = frozen_head_loss(lm, hidden, targets)
    assert silent == frozen_head_loss(lm, hidden.requires_grad_(), targets)[0]


def test_scaled_logits_are_an_error():
    lm = build_lm(20)
    lm.config.logits_scaling = 8.0
    with pytest.raises(ValueError, match="scales its logits .logits_scaling: 8.0.*llm_conf.name"):
        frozen_head_loss(lm, torch.randn(1, 32), torch.zeros(1, dtype=torch.long))
