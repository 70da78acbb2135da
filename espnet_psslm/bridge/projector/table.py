"""Projectors that mix embeddings of the language model by a posterior: LegoSLM (arXiv 2505.11352).

    embedding of a step = sum over units, blank apart, of P(unit | not blank) E_unit

E holds for each unit the embedding of its text: of exactly one token where the units are tokens of
the language model (``--unit_type llm``). The product is in sparse form, see ``sparse_linear``.

Legend: B batch, U steps, K listed units, V units, D encoder width, H language model width.
"""

from typing import Self

import torch
from torch import Tensor, nn

from espnet_psslm.bridge.projector.base import Ends, Projector, Steps
from espnet_psslm.bridge.projector.linear import full_precision
from espnet_psslm.bridge.sparse_linear import (
    RowSums,
    StepsLinear,
    bag_and_sums,
    bag_of_rows,
    stacked_lengths,
)
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps


def _check_temperature(temperature: float) -> float:
    if temperature <= 0.0:
        raise ValueError(f"temperature ({temperature}) must be positive; lego-top1 is its limit 0")
    return temperature


class Lego(Projector):
    """Posterior without blank, renormalised, times the embeddings of the units.

    Nothing of it is trained unless ``train_table``: then the language model has to be
    (``tuning: lora``).

    Args:
        unit_embeddings: (V, H).
        blank_id: the CTC blank.
        temperature: of the posterior: P^(1 / temperature), renormalised. LegoSLM's knob.
        train_table: train the embeddings of the units.
    """

    takes = (PosteriorSteps,)

    def __init__(
        self,
        unit_embeddings: Tensor,
        *,
        blank_id: int,
        temperature: float = 1.0,
        train_table: bool = False,
    ) -> None:
        super().__init__()
        self.blank_id = blank_id
        self.temperature = _check_temperature(temperature)
        if train_table:
            self.table = nn.Parameter(unit_embeddings.clone())
        else:
            self.register_buffer("table", unit_embeddings, persistent=False)
        self.row_sums = RowSums()

    @classmethod
    def build(cls, ends: Ends, **options: object) -> Self:
        """As the base class says."""
        return cls(ends.unit_embeddings(), blank_id=ends.blank_id, **options)

    def init_from_embeddings(self, embeddings: Tensor) -> None:
        """Nothing to do: the table is these embeddings."""

    def forward(self, steps: Steps) -> Tensor:
        """(B, U, H)."""
        if steps.width != len(self.table):
            raise ValueError(
                f"steps over {steps.width} units reach a table of {len(self.table)}: the CTC "
                "vocabulary differs from the projector's"
            )
        with full_precision(steps):
            weights, rest = self._weights(steps)
            # Blank has weight 0: where it is not listed, it is taken out of the sum of all rows.
            blank = torch.full_like(steps.unit_ids[..., :1], self.blank_id)
            unlisted = ~(steps.unit_ids == self.blank_id).any(-1, keepdim=True)
            coef = torch.cat([weights - rest, -rest * unlisted], -1)
            ids = torch.cat([steps.unit_ids, blank], -1)
            coef, rest, ids = (part.flatten(0, 1) for part in (coef, rest, ids))
            if self.table.requires_grad:
                mix = torch.ones_like(self.table[None, :, 0])
                rows = bag_and_sums(coef, rest, ids, mix, self.table)
            else:
                rows = bag_of_rows(coef, ids, self.table) + rest * self.row_sums(self.table)
        return rows.unflatten(0, steps.unit_ids.shape[:2])

    def _weights(self, steps: PosteriorSteps) -> tuple[Tensor, Tensor]:
        """Weights of the listed units (B, U, K) and of each other unit (B, U, 1); blank's is 0."""
        dtype = self.table.dtype
        tiny = torch.finfo(dtype).tiny  # a step of nothing but blank says nothing: all are alike
        probs, rest = (p.to(dtype).clamp_min(tiny).log() for p in (steps.probs, steps.rest))
        listed_blank = steps.unit_ids == self.blank_id
        others = steps.num_units - steps.unit_ids.shape[2] - (~listed_blank.any(-1)).to(dtype)
        energy = torch.cat(
            [
                (probs / self.temperature).masked_fill(listed_blank, -torch.inf),
                (rest / self.temperature + others.log())[..., None],  # none: log 0 = -inf
            ],
            -1,
        )
        weights = energy.softmax(-1)
        return weights[..., :-1], weights[..., -1:] / others.clamp_min(1)[..., None]


class LegoTop1(Lego):
    """The embedding of each step's most probable unit that is not blank.

    Where no such unit is listed, nothing is known of the step but silence: it gets the mean of all.

    Args:
        unit_embeddings: (V, H).
        blank_id: the CTC blank.
        train_table: train the embeddings of the units.
    """

    def __init__(
        self, unit_embeddings: Tensor, *, blank_id: int, train_table: bool = False
    ) -> None:
        super().__init__(unit_embeddings, blank_id=blank_id, train_table=train_table)

    def _weights(self, steps: PosteriorSteps) -> tuple[Tensor, Tensor]:
        listed_blank = steps.unit_ids == self.blank_id
        best = steps.probs.masked_fill(listed_blank, -1.0).argmax(-1, keepdim=True)
        silent = listed_blank.all(-1, keepdim=True)
        dtype = self.table.dtype
        weights = torch.zeros_like(steps.probs, dtype=dtype).scatter(-1, best, 1.0)
        return weights * ~silent, silent.to(dtype) / max(1, steps.num_units - 1)


class SimpleLinear(Projector):
    """A CTC head of its own: k encoder outputs -> Linear(kD, V) -> softmax, then as ``Lego``.

    Args:
        step_width: D.
        unit_embeddings: (V, H).
        blank_id: the CTC blank.
        k: steps stacked.
        temperature: of the softmax.
    """

    takes = (FeatureSteps,)

    def __init__(
        self,
        step_width: int,
        unit_embeddings: Tensor,
        *,
        blank_id: int,
        k: int = 1,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.blank_id = blank_id
        self.temperature = _check_temperature(temperature)
        self.head = StepsLinear(step_width, len(unit_embeddings), stack=k)
        self.register_buffer("table", unit_embeddings, persistent=False)

    @classmethod
    def build(cls, ends: Ends, **options: object) -> Self:
        """As the base class says."""
        return cls(ends.width, ends.unit_embeddings(), blank_id=ends.blank_id, **options)

    def forward(self, steps: Steps) -> Tensor:
        """(B, ceil(U / k), H)."""
        with full_precision(steps):
            logits = self.head(steps) / self.temperature
            blank = torch.arange(logits.shape[-1], device=logits.device) == self.blank_id
            return logits.masked_fill(blank, -torch.inf).softmax(-1) @ self.table

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """(B,), groups of steps."""
        return stacked_lengths(lengths, self.head.stack)

    @torch.no_grad()
    def init_from_head(self, weight: Tensor, bias: Tensor) -> None:
        """Start as a trained CTC head; a group of k steps as the head on their mean.

        Args:
            weight: (V, D).
            bias: (V,).

        Raises:
            ValueError: if it is of another size.
        """
        wanted = (len(self.head.bias), self.head.width)
        if tuple(weight.shape) != wanted:
            raise ValueError(
                f"the CTC head has shape {tuple(weight.shape)}, the projector's is {wanted}: both "
                "must be of one acoustic model and one unit vocabulary"
            )
        stack = self.head.stack
        self.head.weight.copy_((weight.T / stack).repeat(stack, 1))
        self.head.bias.copy_(bias)
