"""Attention of a batch to itself and to a prefix that all its rows share.

A cache would repeat the prefix's keys and values for every row and for every query head of a
group, and the backward pass would compute gradients of all these copies only to drop them. Here
the prefix stays one constant matrix per head: all queries meet it in one product.

Legend: b rows, G query heads per key head, K key heads, L positions, P prefix positions, d width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "psslm_prefix"  # of the attention implementation, among transformers' own


@dataclass(frozen=True)
class PrefixGroup:
    """Neighbouring rows of a batch that continue the same prefix."""

    rows: slice
    states: Sequence[tuple[Tensor, Tensor]]  # per layer keys and values, each (1, K, P, d)


def causal_mask(length: int, device: torch.device) -> Tensor:
    """(1, 1, L, L), true where a position may look."""
    return torch.ones(1, 1, length, length, dtype=torch.bool, device=device).tril()


def attend(query: Tensor, key: Tensor, value: Tensor, prefix: tuple[Tensor, Tensor]) -> Tensor:
    """Causal attention to one's own past and to the whole prefix.

    Args:
        query: (b, K * G, L, d), scaled; head ``k * G + g`` reads key head k.
        key: (b, K, L, d); value: likewise.
        prefix: keys and values, each (1, K, P, d); they get no gradient.

    Returns:
        (b, L, K * G, d).
    """
    rows, heads, length, width = query.shape
    key_heads, prefix_length = prefix[0].shape[1:3]
    grouped = query.transpose(1, 2).reshape(rows, length, key_heads, -1, width)
    query = grouped.permute(2, 0, 1, 3, 4).reshape(key_heads, rows, -1, width)  # (K, b, L G, d)
    own = query @ key.transpose(0, 1).mT
    allowed = causal_mask(length, query.device)[0, 0].repeat_interleave(heads // key_heads, 0)
    own = own.masked_fill(~allowed, -torch.inf)
    far = query.reshape(key_heads, -1, width) @ prefix[0][0].mT
    weights = torch.cat([far.view(*own.shape[:3], -1), own], -1).softmax(-1)
    far, own = weights.split([prefix_length, length], -1)
    output = own @ value.transpose(0, 1)
    output = output + (far.reshape(key_heads, -1, prefix_length) @ prefix[1][0]).view_as(output)
    output = output.view(key_heads, rows, length, -1, width)
    return output.permute(1, 2, 0, 3, 4).reshape(rows, length, heads, width)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    prefix: Sequence[PrefixGroup] | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """transformers' attention interface; without ``prefix`` it is plain SDPA."""
    if prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    query = query * module.scaling
    output = [
        attend(query[g.rows], key[g.rows], value[g.rows], g.states[module.layer_idx])
        for g in prefix
    ]
    return torch.cat(output), None


def install(lm: nn.Module) -> bool:
    """Let a language model take ``prefix`` in its forward, if its attention allows that.

    Sliding windows and capped scores are not served; such a model is left as it is.

    Args:
        lm: Hugging Face causal language model.

    Returns:
        Whether ``prefix`` is understood.
    """
    config = lm.config.get_text_config()
    layers = getattr(config, "layer_types", None) or ["full_attention"]
    special = ("sliding_window", "attn_logit_softcapping")
    plain = set(layers) == {"full_attention"} and not any(getattr(config, s, None) for s in special)
    if served := plain and lm._supports_attention_backend:
        lm.set_attn_implementation(NAME)
    return served


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
