"""LayerNorm followed by a linear layer, on sparse posteriors, without their dense form.

A step has K listed units v_k of probability p_k and the probability r on each of the other
V - K. Its mean is 1/V and its variance (sum_k p_k^2 + (V - K) r^2) / V - 1/V^2, both exact.
With s = (variance + eps)^(-1/2), LayerNorm gain g and bias b, and W (V, D) by rows,

    W' LN(x) = s * ( sum_k (p_k - r) g_k W_k + (r - 1/V) W'g ) + W'b

costs O(K D) per step and, per batch, one product of two vectors with W, where the dense layer
costs O(V D) per step. Values and gradients are those of the dense layer.

Legend: N steps, K listed units, V units, D output width.
"""

import math

import torch
from torch import Tensor, nn

from espnet_psslm.bridge.sparse_linear import bag_and_sums
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps


class NormLinear(nn.Module):
    """LayerNorm(V) -> Linear(V, D) on ``PosteriorSteps``, in closed form.

    ``FeatureSteps``, V wide, go through the dense layer.

    The weight is kept by rows, (V, D): a step reads K rows of it.

    Args:
        num_units: V.
        out_features: D.
        eps: LayerNorm's.
    """

    def __init__(self, num_units: int, out_features: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_units = num_units
        self.eps = eps
        self.gain = nn.Parameter(torch.ones(num_units))
        self.shift = nn.Parameter(torch.zeros(num_units))
        self.weight = nn.Parameter(torch.empty(num_units, out_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        bound = 1 / math.sqrt(num_units)  # as nn.Linear draws both
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def one_hot_scale(self) -> float:
        """s of a one-hot step: what LayerNorm multiplies its peak by."""
        return (1 / self.num_units - 1 / self.num_units**2 + self.eps) ** -0.5

    def forward(self, steps: PosteriorSteps | FeatureSteps) -> Tensor:
        """Project steps.

        Args:
            steps: of width V.

        Returns:
            (B, U, D), in the dtype of the weight; padding steps hold the value of a uniform row.

        Raises:
            ValueError: if the steps have another width.
        """
        if steps.width != self.num_units:
            raise ValueError(
                f"steps over {steps.width} units reach a projector built for "
                f"{self.num_units}: the CTC vocabulary differs from the projector's"
            )
        dtype = self.weight.dtype
        if isinstance(steps, FeatureSteps):
            return self.dense_forward(steps.values.to(dtype))
        num_listed = steps.unit_ids.shape[2]
        probs = steps.probs.flatten(0, 1).to(dtype)  # (N, K)
        rest = steps.rest.flatten().to(dtype)  # (N,)
        mean = 1.0 / self.num_units
        squares = probs.square().sum(1) + (self.num_units - num_listed) * rest.square()
        scale = torch.rsqrt(squares / self.num_units - mean**2 + self.eps)  # (N,)
        ids = steps.unit_ids.flatten(0, 1)
        rows = bag_and_sums(
            scale[:, None] * (probs - rest[:, None]) * self.gain[ids],
            torch.stack([scale * (rest - mean), torch.ones_like(rest)], 1),
            ids,
            torch.stack([self.gain, self.shift]),
            self.weight,
        )
        return (rows + self.bias).unflatten(0, steps.unit_ids.shape[:2])

    def dense_forward(self, posterior: Tensor) -> Tensor:
        """The same layer on dense rows (..., V), where no sparse form exists."""
        normed = nn.functional.layer_norm(
            posterior, (self.num_units,), self.gain, self.shift, self.eps
        )
        return normed @ self.weight + self.bias
