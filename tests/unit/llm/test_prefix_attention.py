"""Attention to a shared prefix against SDPA over copies of it; float64, values and gradients."""

import pytest
import torch
from torch import nn

from espnet_psslm.llm.frozen import Frozen
from espnet_psslm.llm.prefix_attention import SharedPrefix, attend
from espnet_psslm.llm.tuning import build_prefix_cache
from tests.helpers import build_lm


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize(("rows", "length", "prefix_length"), [(1, 1, 1), (3, 5, 2), (2, 1, 7)])
def test_equals_sdpa_over_copies(key_heads, rows, length, prefix_length):
    torch.manual_seed(0)
    heads, width = 4, 8
    query = torch.randn(rows, heads, length, width, dtype=torch.float64, requires_grad=True)
    key, value = (
        torch.randn(rows, key_heads, length, width, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    )
    prefix = tuple(
        torch.randn(1, key_heads, prefix_length, width, dtype=torch.float64) for _ in range(2)
    )
    whole = [
        torch.cat([far.expand(rows, -1, -1, -1), own], 2).repeat_interleave(heads // key_heads, 1)
        for far, own in zip(prefix, (key, value), strict=True)
    ]
    mask = torch.ones(length, prefix_length + length, dtype=torch.bool).tril(prefix_length)
    expected = nn.functional.scaled_dot_product_attention(query, *whole, attn_mask=mask, scale=1.0)
    ours = attend(query, key, value, prefix, mask[None, None, :, prefix_length:])
    torch.testing.assert_close(ours, expected.transpose(1, 2), rtol=0.0, atol=1e-12)
    weight = torch.randn_like(ours)
    inputs = (query, key, value)
    gradients = torch.autograd.grad((ours * weight).sum(), inputs)
    for one, other in zip(
        gradients,
        torch.autograd.grad((expected.transpose(1, 2) * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0.0, atol=1e-12)


def test_mask_of_each_row_hides_its_own_padding():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 1, 3, 4, dtype=torch.float64) for _ in range(3))
    prefix = tuple(torch.randn(1, 1, 2, 4, dtype=torch.float64) for _ in range(2))
    mask = torch.ones(3, 3, dtype=torch.bool).tril().expand(2, 1, 3, 3).clone()
    mask[1, :, :, 0] = False  # the second row is padded on the left
    batch = attend(query, key, value, prefix, mask)
    short = (part[1:, :, 1:] for part in (query, key, value))
    alone = attend(*short, prefix, mask[:1, :, 1:, 1:])
    torch.testing.assert_close(batch[1:, 1:], alone, rtol=0.0, atol=1e-12)
    assert batch.isfinite().all()  # also where only the prefix is left to look at


def test_a_sliding_window_gets_copies():
    assert isinstance(build_prefix_cache(Frozen(build_lm(20)), [[3]]), SharedPrefix)
    windowed = build_lm(20, architecture="mistral", sliding_window=4)
    assert not isinstance(build_prefix_cache(Frozen(windowed), [[3]]), SharedPrefix)
    assert windowed.config._attn_implementation == "sdpa"


def test_model_without_prefix_is_unchanged():
    lm = build_lm(20)
    ids = torch.tensor([[3, 4, 5, 6]])
    expected = lm(input_ids=ids).logits
    build_prefix_cache(Frozen(lm), [[3]])
    torch.testing.assert_close(lm(input_ids=ids).logits, expected, rtol=0.0, atol=0.0)
