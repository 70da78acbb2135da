"""Projectors: from Steps to the input width of the language model.

Legend: B batch, U steps, V units, D hidden width, H language model width.
"""

import logging
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from espnet_psslm.bridge.closed_form import NormLinear
from espnet_psslm.bridge.steps import PosteriorSteps


class Projector(nn.Module, ABC):
    """Maps Steps to (B, U, H) step embeddings."""

    @abstractmethod
    def forward(self, steps: PosteriorSteps) -> Tensor:
        """Project a batch of Steps; rows of padding steps are finite and meaningless."""


class LinearSiLU(Projector):
    """LayerNorm(V) -> Linear(V, D) -> SiLU -> Linear(D, H), TASU's projector (arXiv 2511.03310).

    Args:
        num_units: V.
        width: H.
        hidden: D.
    """

    def __init__(self, num_units: int, width: int, *, hidden: int = 2048) -> None:
        super().__init__()
        self.input = NormLinear(num_units, hidden)
        self.activation = nn.SiLU()
        self.output = nn.Linear(hidden, width)

    def forward(self, steps: PosteriorSteps) -> Tensor:
        """(B, U, H) step embeddings."""
        # The statistics of a near one-hot row of 25,000 units do not survive half precision.
        with torch.autocast(device_type=steps.probs.device.type, enabled=False):
            hidden = self.activation(self.input(steps))
        return self.output(hidden)

    @torch.no_grad()
    def init_from_embeddings(self, embeddings: Tensor) -> None:
        """Start as a linear map that sends each one-hot step to a given embedding.

        SiLU is no obstacle: silu(z) - silu(-z) = z. So 2R hidden units in pairs of opposite sign
        carry R linear directions exactly; R = H where the hidden layer has 2H units, else the R
        leading singular directions of the embeddings. The other hidden units keep their random
        input weights and start with no output, free to learn.

        Args:
            embeddings: (V, H), one row per unit.
        """
        num_units, width = embeddings.shape
        hidden = self.input.bias.numel()
        rank = min(width, hidden // 2)
        embeddings = embeddings.to(self.output.weight)
        mean = embeddings.mean(0)
        centred = embeddings - mean  # LayerNorm takes the mean away; the bias brings it back
        if rank < width:
            left, values, right = torch.linalg.svd(centred, full_matrices=False)
            codes, basis = left[:, :rank] * values[:rank], right[:rank]
            kept = float((values[:rank] ** 2).sum() / (values**2).sum())
            logging.info("unit_text: %d directions keep %.4f of the embeddings", rank, kept)
        else:
            codes, basis = centred, torch.eye(width, dtype=centred.dtype, device=centred.device)
        codes = codes / self.input.one_hot_scale()
        self.input.weight[:, :rank] = codes
        self.input.weight[:, rank : 2 * rank] = -codes
        self.input.bias[: 2 * rank] = 0.0
        self.output.weight.zero_()
        self.output.weight[:, :rank] = basis.T
        self.output.weight[:, rank : 2 * rank] = -basis.T
        self.output.bias.copy_(mean)


PROJECTORS = {"linear-silu": LinearSiLU}
