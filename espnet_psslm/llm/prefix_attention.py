"""Attention of a batch to itself and to prefixes that its rows and beams share.

A cache would repeat the prefix's keys and values for every row, beam and query head of a group;
the backward pass would compute gradients of all these copies only to drop them, and beam search
would move them about with every token. Here a prefix stays one constant matrix per head: all
queries meet it in one product.

Legend: b rows, G query heads per key head, K key heads, Q queries, L own positions, P prefix
positions, d head width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DynamicCache,
    GenerationConfig,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from espnet_psslm.llm.prefix_cache import PrefixCache, States
from espnet_psslm.llm.search_limits import Bounds, search_limits

NAME = "psslm_prefix"  # of the attention implementation, among transformers' own


@dataclass(frozen=True)
class PrefixGroup:
    """Neighbouring rows of a batch that continue the same prefix."""

    rows: slice
    states: States  # each (1, K, P, d)


# What the rows that pass through a language model just now continue: ``generate`` hands no
# argument of ours down to the layers.
_current: ContextVar[Sequence[PrefixGroup]] = ContextVar("psslm_prefix_groups", default=())


@contextmanager
def behind(groups: Sequence[PrefixGroup]) -> Iterator[None]:
    """What passes through a language model continues these prefixes."""
    token = _current.set(groups)
    try:
        yield
    finally:
        _current.reset(token)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix: tuple[Tensor, Tensor],
    mask: Tensor | None = None,
) -> Tensor:
    """Attention to own positions and to the whole prefix.

    Args:
        query: (b, K * G, Q, d), scaled; head ``k * G + g`` reads key head k.
        key: (b, K, L, d); value: likewise.
        prefix: keys and values, each (1, K, P, d).
        mask: (b or 1, 1, Q, L), true where a query may look; None: everywhere.

    Returns:
        (b, Q, K * G, d).
    """
    rows, heads, length, width = query.shape
    key_heads, prefix_length = prefix[0].shape[1:3]
    grouped = query.transpose(1, 2).reshape(rows, length, key_heads, -1, width)
    query = grouped.permute(2, 0, 1, 3, 4).reshape(key_heads, rows, -1, width)  # (K, b, Q G, d)
    own = query @ key.transpose(0, 1).mT
    if mask is not None:
        allowed = mask[:, 0].repeat_interleave(heads // key_heads, 1)
        own = own.masked_fill(~allowed, -torch.inf)
    far = query.reshape(key_heads, -1, width) @ prefix[0][0].mT
    weights = torch.cat([far.view(*own.shape[:3], -1), own], -1).softmax(-1)
    far, own = weights.split([prefix_length, key.shape[2]], -1)
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
    *,
    scaling: float,
    **options: object,
) -> tuple[Tensor, None]:
    """transformers' attention interface; outside of ``behind`` it is plain SDPA."""
    groups = _current.get()
    if not groups:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    if attention_mask is None and query.shape[2] > 1:  # transformers leaves the triangle to SDPA
        attention_mask = _triangle(query.shape[2], query.device)
    query = query * scaling
    output = []
    for group in groups:
        rows = group.rows
        mask = attention_mask
        if mask is not None and mask.shape[0] > 1:
            mask = mask[rows]
        states = group.states[module.layer_idx]
        output.append(attend(query[rows], key[rows], value[rows], states, mask))
    return torch.cat(output), None


def _triangle(length: int, device: torch.device) -> Tensor:
    """(1, 1, L, L), true where a position may look."""
    return torch.ones(1, 1, length, length, dtype=torch.bool, device=device).tril()


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


class SharedPrefix(PrefixCache):
    """Each prefix once, whatever the number of rows and beams."""

    takes_drafts = True

    def groups(
        self,
        prompts: Sequence[int],
        states_of: Callable[[int], States] | None = None,
        copies: int = 1,
    ) -> tuple[Tensor, list[PrefixGroup]]:
        """The order of rows that brings those of one prompt together, and their prefixes.

        Args:
            prompts: (B,), prompt of each row.
            states_of: gives the states of a prompt; None: those that are kept.
            copies: of each row, as beams are.
        """
        states_of = states_of or self.states_of
        order = sorted(range(len(prompts)), key=prompts.__getitem__)
        groups, start = [], 0
        for prompt in sorted(set(prompts)):
            stop = start + copies * prompts.count(prompt)
            groups.append(PrefixGroup(slice(start, stop), states_of(prompt)))
            start = stop
        return torch.tensor(order, device=self.place[0]), groups

    def forward(
        self, lm: nn.Module, embeddings: Tensor, mask: Tensor, prompts: Sequence[int]
    ) -> Tensor:
        """As the base class says."""
        self.fill(lm, prompts)
        return self._forward(lm, embeddings, mask, prompts, self.states_of)

    def forward_uncached(
        self, lm: nn.Module, embeddings: Tensor, mask: Tensor, prompts: Sequence[int]
    ) -> Tensor:
        """As the base class says; a prefix is read once a batch, not once a row."""
        # Sharded weights come back for the backward pass of what a call returns; not of its cache.
        if self.read_all:
            return super().forward_uncached(lm, embeddings, mask, prompts)
        self.move(lm)
        states = self._read(lm.get_decoder(), sorted(set(prompts)))
        return self._forward(lm, embeddings, mask, prompts, states.__getitem__)

    def _read(self, decoder: nn.Module, prompts: Sequence[int]) -> dict[int, States]:
        """States with their graph."""
        ids = [torch.tensor(self.prefixes[prompt], device=self.place[0]) for prompt in prompts]
        real = [torch.ones_like(row) for row in ids]
        cache = decoder(
            input_ids=nn.utils.rnn.pad_sequence(ids, batch_first=True),
            attention_mask=nn.utils.rnn.pad_sequence(real, batch_first=True),
            past_key_values=DynamicCache(),
            use_cache=True,
        ).past_key_values
        return {
            prompt: [
                (
                    layer.keys[row, None, :, : len(ids[row])],
                    layer.values[row, None, :, : len(ids[row])],
                )
                for layer in cache.layers
            ]
            for row, prompt in enumerate(prompts)
        }

    def _forward(
        self,
        lm: nn.Module,
        embeddings: Tensor,
        mask: Tensor,
        prompts: Sequence[int],
        states_of: Callable[[int], States],
    ) -> Tensor:
        order, groups = self.groups(prompts, states_of)
        positions = self.lengths(prompts) + torch.arange(mask.shape[1], device=mask.device)
        with behind(groups):
            hidden = lm.get_decoder()(
                inputs_embeds=embeddings[order],
                # Padding is on the right, where the triangle hides it from all real positions.
                attention_mask=_triangle(mask.shape[1], mask.device),
                position_ids=positions[order],
                use_cache=False,
            ).last_hidden_state
        return hidden[order.argsort()]

    def generate(
        self,
        lm: nn.Module,
        embeddings: Tensor,
        mask: Tensor,
        prompts: Sequence[int],
        config: GenerationConfig,
        bounds: Bounds,
    ) -> object:
        """As the base class says."""
        self.fill(lm, prompts)
        order, groups = self.groups(prompts, copies=config.num_beams)
        positions = self.lengths(prompts) + mask.long().cumsum(1) - mask.long()
        with behind(groups):
            output = lm.generate(
                inputs_embeds=embeddings[order],
                attention_mask=mask[order].long(),
                position_ids=positions[order],
                generation_config=config,
                logits_processor=search_limits(bounds.select(order), config),
            )
        return _reorder(output, order.argsort())


def _reorder(output: object, order: Tensor) -> object:
    """The rows of what ``generate`` returned, in another order (B,)."""
    num_best = len(output.sequences) // len(order)
    places = torch.arange(num_best, device=order.device)
    order = (order[:, None] * num_best + places).flatten()
    output.sequences = output.sequences[order]
    if "sequences_scores" in output:
        output.sequences_scores = output.sequences_scores[order]
    else:
        output.logits = tuple(logits[order] for logits in output.logits)
    return output


def serves(lm: nn.Module) -> bool:
    """Whether ``attend`` computes what a language model's own attention does.

    Sliding windows, capped scores and latent keys (DeepSeek) are not served.
    """
    config = lm.config.get_text_config()
    layers = getattr(config, "layer_types", None) or ["full_attention"]
    special = ("sliding_window", "attn_logit_softcapping", "kv_lora_rank")
    plain = set(layers) == {"full_attention"} and not any(getattr(config, s, None) for s in special)
    return plain and lm._supports_attention_backend
