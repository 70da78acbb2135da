"""Linear maps of sparse posteriors: a bag of rows, and shares of weighted sums of all rows.

A step has K listed units v_k of probability p_k and the probability r on every other unit, so for
W (V, D) by rows

    W'x = sum_k (p_k - r) W_k + r sum_v W_v

costs O(K D) per step and one sum of rows per batch, where the dense product costs O(V D) per step.
Values and gradients are those of the dense product.

Legend: B batch, U steps, K listed units, V units, N rows, C listed rows per row, R rows of W, M
weighted sums of all of them, D output width.
"""

import math
import weakref

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps


class _BagAndSums(torch.autograd.Function):
    """What ``bag_and_sums`` computes, in one pass over W each way.

    Plain autograd would build one dense gradient of W for the bag and one for the sums, and add
    them; for a CTC vocabulary each is as large as the layer itself.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, coef: Tensor, shares: Tensor, ids: Tensor, mix: Tensor, weight: Tensor
    ) -> Tensor:
        sums = mix @ weight  # (M, D)
        ctx.save_for_backward(coef, shares, ids, mix, weight, sums)
        return bag_of_rows(coef, ids, weight).addmm_(shares, sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        coef, shares, ids, mix, weight, sums = ctx.saved_tensors
        through = shares.T @ grad  # (M, D)
        grad_coef = grad_mix = None
        if ctx.needs_input_grad[0]:
            # <grad_n, W_c>, one listed row at a time: (N, C, D) would be C times the output.
            columns = [(grad * weight[column]).sum(1) for column in ids.unbind(1)]
            grad_coef = torch.stack(columns, 1)
        if ctx.needs_input_grad[3]:
            grad_mix = (weight @ through.T).T
        grad_weight = mix.T @ through
        for column, scale in zip(ids.unbind(1), coef.unbind(1), strict=True):
            grad_weight.index_add_(0, column, grad * scale[:, None])
        return grad_coef, grad @ sums.T, None, grad_mix, grad_weight


def bag_of_rows(coef: Tensor, ids: Tensor, weight: Tensor) -> Tensor:
    """``sum_c coef_nc W[ids_nc]`` of (N, C), (N, C) and (R, D): (N, D)."""
    return F.embedding_bag(ids, weight, per_sample_weights=coef, mode="sum")


def bag_and_sums(coef: Tensor, shares: Tensor, ids: Tensor, mix: Tensor, weight: Tensor) -> Tensor:
    """``sum_c coef_nc W[ids_nc] + sum_m shares_nm sum_r mix_mr W_r``.

    Args:
        coef: (N, C).
        shares: (N, M).
        ids: (N, C), rows of ``weight``.
        mix: (M, R), weights of the rows in each sum.
        weight: (R, D).

    Returns:
        (N, D).
    """
    return _BagAndSums.apply(coef, shares, ids, mix, weight)


class RowSums:
    """Sums of the rows of a table, made anew only where the table has changed.

    A table of 150,000 rows is read in full to sum it up; a step reads K rows of it.
    """

    def __init__(self) -> None:
        self.of: tuple[weakref.ref[Tensor], int] | None = None
        self.sums: Tensor | None = None

    def __call__(self, table: Tensor) -> Tensor:
        """(1, D), the sum of all rows of ``table`` (V, D), which is not trained."""
        if self.of is None or self.of[0]() is not table or self.of[1] != table._version:
            self.of, self.sums = (weakref.ref(table), table._version), table.sum(0, keepdim=True)
        return self.sums


def stacked_lengths(lengths: Tensor, stack: int) -> Tensor:
    """Steps after stacking; an incomplete last group counts."""
    return (lengths + stack - 1) // stack


class StepsLinear(nn.Module):
    """Stack ``stack`` steps -> Linear, on Steps of either kind.

    What an incomplete last group lacks is zero (SLAM-LLM drops such a group, and with it up to
    ``stack - 1`` steps: half an utterance, where a step is a unit). The weight is kept by rows.

    Args:
        width: V or D of a step.
        out_features: width of the output.
        stack: steps side by side.
    """

    def __init__(self, width: int, out_features: int, *, stack: int = 1) -> None:
        super().__init__()
        if stack < 1:
            raise ValueError(f"{stack} steps cannot be stacked: k must be at least 1")
        self.width, self.stack = width, stack
        self.weight = nn.Parameter(torch.empty(stack * width, out_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        bound = 1 / math.sqrt(stack * width)  # as nn.Linear draws both
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, steps: PosteriorSteps | FeatureSteps) -> Tensor:
        """Project steps.

        Args:
            steps: of the given width.

        Returns:
            (B, ceil(U / stack), D), in the dtype of the weight.

        Raises:
            ValueError: if the steps have another width.
        """
        if steps.width != self.width:
            raise ValueError(
                f"steps of width {steps.width} reach a projector built for {self.width}: the "
                "acoustic model differs from the projector's"
            )
        dtype, missing = self.weight.dtype, -steps.num_steps % self.stack
        if isinstance(steps, FeatureSteps):
            values = steps.values.to(dtype) * steps.mask[..., None]
            stacked = F.pad(values, (0, 0, 0, missing)).unflatten(1, (-1, self.stack)).flatten(2)
            return stacked @ self.weight + self.bias
        rest = (steps.rest * steps.mask).to(dtype)
        coef = steps.probs.to(dtype) * steps.mask[..., None] - rest[..., None]
        groups = (1, (-1, self.stack))
        rest = F.pad(rest, (0, missing)).unflatten(*groups)  # (B, groups, stack)
        coef = F.pad(coef, (0, 0, 0, missing)).unflatten(*groups)  # (B, groups, stack, K)
        ids = F.pad(steps.unit_ids, (0, 0, 0, missing)).unflatten(*groups)
        ids = ids + self.width * torch.arange(self.stack, device=ids.device)[:, None]
        rows = (coef.flatten(2), rest, ids.flatten(2))
        blocks = torch.eye(self.stack, dtype=dtype, device=ids.device)  # of rows, one a place
        mix = blocks.repeat_interleave(self.width, 1)
        out = bag_and_sums(*(row.flatten(0, 1) for row in rows), mix, self.weight)
        return out.unflatten(0, rest.shape[:2]) + self.bias
