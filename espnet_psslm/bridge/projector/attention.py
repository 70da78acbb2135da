"""Projectors that attend: a Q-Former, and attention to the language model's own embeddings.

Legend: B batch, U steps, V units, D encoder width, H language model width, L tokens of the
language model, Q queries.
"""

import math
from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from espnet_psslm.bridge.projector.base import Ends, Projector, Steps
from espnet_psslm.bridge.projector.linear import full_precision
from espnet_psslm.bridge.sparse_linear import StepsLinear
from espnet_psslm.bridge.steps import PosteriorSteps


def sinusoids(length: int, width: int, *, like: Tensor) -> Tensor:
    """(length, width) positions of the Transformer (arXiv 1706.03762), in ``like``'s dtype."""
    half = (width + 1) // 2
    rate = torch.exp(torch.arange(half, device=like.device) * (-math.log(1e4) / half))
    angle = torch.arange(length, device=like.device)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)[:, :width].to(like.dtype)


class QFormer(Projector):
    """Learned queries read the steps: BLIP-2's Q-Former (arXiv 2301.12597), Linear, LayerNorm.

    Encoder outputs are read as they are. Posteriors are first brought to the Q-Former's width by a
    linear layer of their own, in sparse form, and get positions: unlike encoder outputs they do not
    know their place, and attention alone would see a bag of units.

    Args:
        step_width: V or D.
        width: H.
        sparse: whether the steps are posteriors.
        num_queries: Q, embeddings per utterance, whatever its length.
        hidden: width of the Q-Former.
        layers: its layers; every other one reads the steps.
        heads: its attention heads.
        dropout: in it.
    """

    def __init__(
        self,
        step_width: int,
        width: int,
        *,
        sparse: bool,
        num_queries: int = 64,
        hidden: int = 768,
        layers: int = 8,
        heads: int = 12,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"q-former: hidden ({hidden}) must be divisible by heads ({heads})")
        self.input = StepsLinear(step_width, hidden) if sparse else None
        self.queries = nn.Parameter(torch.randn(1, num_queries, hidden))
        config = Blip2QFormerConfig(
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * hidden,
            encoder_hidden_size=hidden if sparse else step_width,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        self.former = Blip2QFormerModel(config)
        self.output = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width)

    @classmethod
    def build(cls, ends: Ends, **options: object) -> Self:
        """As the base class says."""
        return cls(ends.width, ends.lm_width, sparse=ends.kind is PosteriorSteps, **options)

    def forward(self, steps: Steps) -> Tensor:
        """(B, Q, H)."""
        if self.input is None:
            memory = steps.values.to(self.queries.dtype)
        else:
            with full_precision(steps):
                memory = self.input(steps)
            memory = memory + sinusoids(*memory.shape[1:], like=memory)
        readable = steps.mask
        # Of nothing a softmax is NaN: an empty utterance reads its padding, and counts for nothing.
        readable = readable | (steps.lengths == 0)[:, None]
        output = self.former(
            query_embeds=self.queries.expand(len(memory), -1, -1),
            encoder_hidden_states=memory,
            encoder_attention_mask=readable.long(),
        )
        return self.norm(self.output(output.last_hidden_state))

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """(B,): Q, or 0 where there is no step."""
        return self.queries.shape[1] * (lengths > 0)


class CrossAttention(Projector):
    """Each posterior asks; the language model's embeddings are keys and values.

    The query is a linear map of the posterior, in sparse form; keys and values are computed once
    for all steps of a batch, and fused attention keeps no (steps, tokens) matrix.

    Args:
        num_units: V.
        width: H.
        token_embeddings: (L, H) of the language model; asked in every forward, because it may be
            trained itself. It gets no gradient from here.
        heads: attention heads.
    """

    takes = (PosteriorSteps,)

    def __init__(
        self,
        num_units: int,
        width: int,
        *,
        token_embeddings: Callable[[], Tensor],
        heads: int = 8,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(
                f"cross-attention: the language model's width ({width}) must be divisible by "
                f"heads ({heads})"
            )
        self.heads = heads
        self.token_embeddings = token_embeddings
        self.query = StepsLinear(num_units, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    @classmethod
    def build(cls, ends: Ends, **options: object) -> Self:
        """As the base class says."""
        return cls(ends.width, ends.lm_width, token_embeddings=ends.token_embeddings, **options)

    def forward(self, steps: Steps) -> Tensor:
        """(B, U, H)."""
        with full_precision(steps):
            query = self.query(steps)
        tokens = self.token_embeddings().detach().to(query)
        rows = (query.flatten(0, 1), self.key(tokens), self.value(tokens))
        # All steps are queries of one attention: no copy of keys and values per utterance.
        split = [row.unflatten(1, (self.heads, -1)).transpose(0, 1)[None] for row in rows]
        mixed = F.scaled_dot_product_attention(*split)[0].transpose(0, 1).flatten(1)
        return self.output(mixed).unflatten(0, query.shape[:2])
