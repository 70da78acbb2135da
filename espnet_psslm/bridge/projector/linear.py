"""Projectors of linear layers: TASU's, SLAM-LLM's, and one with a convolution.

Legend: B batch, U steps, k stacked steps, V units (or D encoder width), H language model width.
"""

import logging

import torch
from torch import Tensor, nn

from espnet_psslm.bridge.closed_form import NormLinear
from espnet_psslm.bridge.projector.base import Projector, Steps
from espnet_psslm.bridge.sparse_linear import StepsLinear, stacked_lengths


def full_precision(steps: Steps) -> torch.autocast:
    """No autocast: a near one-hot row of 25,000 units does not survive half precision."""
    return torch.autocast(device_type=steps.lengths.device.type, enabled=False)


def pair_directions(
    codes_in: Tensor, bias_in: Tensor, output: nn.Linear, embeddings: Tensor, *, scale: float
) -> None:
    """Make two layers, the activation between them included, one linear map onto embeddings.

    SiLU and ReLU are no obstacle: f(z) - f(-z) = z for both. So 2R hidden units in pairs of
    opposite sign carry R linear directions exactly; R = H where the hidden layer has 2H units,
    else the R leading singular directions of the embeddings, of which there are at most V. The
    other hidden units keep their random input weights and start with no output, free to learn.

    Args:
        codes_in: (V, hidden), rows of the first layer, changed in place.
        bias_in: (hidden,), its bias.
        output: the second layer.
        embeddings: (V, H), what each one-hot step shall become.
        scale: what reaches the first layer where a step is one-hot.
    """
    width, hidden = embeddings.shape[1], bias_in.numel()
    rank = min(width, hidden // 2)
    embeddings = embeddings.to(output.weight)
    mean = embeddings.mean(0)
    centred = embeddings - mean  # LayerNorm takes the mean away; the bias brings it back
    if rank < width:
        rank = min(rank, len(centred))
        left, values, right = torch.linalg.svd(centred, full_matrices=False)
        codes, basis = left[:, :rank] * values[:rank], right[:rank]
        kept = float((values[:rank] ** 2).sum() / (values**2).sum())
        logging.info("unit_text: %d directions keep %.4f of the embeddings", rank, kept)
    else:
        codes, basis = centred, torch.eye(width, dtype=centred.dtype, device=centred.device)
    codes_in[:, :rank] = codes / scale
    codes_in[:, rank : 2 * rank] = -codes / scale
    bias_in[: 2 * rank] = 0.0
    output.weight.zero_()
    output.weight[:, :rank] = basis.T
    output.weight[:, rank : 2 * rank] = -basis.T
    output.bias.copy_(mean)


class LinearSiLU(Projector):
    """LayerNorm(V) -> Linear(V, hidden) -> SiLU -> Linear(hidden, H), TASU's (arXiv 2511.03310).

    Args:
        num_units: V, or the width of encoder outputs.
        width: H.
        hidden: width between the layers.
    """

    def __init__(self, num_units: int, width: int, *, hidden: int = 2048) -> None:
        super().__init__()
        self.input = NormLinear(num_units, hidden)
        self.activation = nn.SiLU()
        self.output = nn.Linear(hidden, width)

    def forward(self, steps: Steps) -> Tensor:
        """(B, U, H) step embeddings."""
        with full_precision(steps):
            hidden = self.activation(self.input(steps))
        return self.output(hidden)

    @torch.no_grad()
    def init_from_embeddings(self, embeddings: Tensor) -> None:
        """As the base class says; see ``pair_directions``."""
        layer = self.input
        scale = layer.one_hot_scale()
        pair_directions(layer.weight, layer.bias, self.output, embeddings, scale=scale)


class StackedLinear(Projector):
    """k steps side by side -> Linear(kV, hidden) -> ReLU -> Linear(hidden, H), SLAM-LLM's.

    Args:
        num_units: V, or the width of encoder outputs.
        width: H.
        k: steps stacked.
        hidden: width between the layers.
    """

    def __init__(self, num_units: int, width: int, *, k: int = 5, hidden: int = 2048) -> None:
        super().__init__()
        self.input = StepsLinear(num_units, hidden, stack=k)
        self.activation = nn.ReLU()
        self.output = nn.Linear(hidden, width)

    def forward(self, steps: Steps) -> Tensor:
        """(B, ceil(U / k), H)."""
        with full_precision(steps):
            hidden = self.activation(self.input(steps))
        return self.output(hidden)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """(B,), groups of steps."""
        return stacked_lengths(lengths, self.input.stack)

    @torch.no_grad()
    def init_from_embeddings(self, embeddings: Tensor) -> None:
        """A full group starts as the mean embedding of its k steps; see ``pair_directions``."""
        layer, k = self.input, self.input.stack
        first, *others = layer.weight.unflatten(0, (k, -1))
        pair_directions(first, layer.bias, self.output, embeddings, scale=k)
        for block in others:
            block.copy_(first)


class ConvLinear(Projector):
    """Conv1d(V, V, k, stride k) -> ReLU -> Linear(V, hidden) -> ReLU -> Linear(hidden, H).

    The convolution has k V^2 weights: for encoder outputs, or posteriors over few units.

    Args:
        num_units: V, or the width of encoder outputs.
        width: H.
        k: steps under the convolution.
        hidden: width between the linear layers.
    """

    def __init__(self, num_units: int, width: int, *, k: int = 5, hidden: int = 2048) -> None:
        super().__init__()
        self.conv = StepsLinear(num_units, num_units, stack=k)  # windows do not overlap
        self.activation = nn.ReLU()
        self.input = nn.Linear(num_units, hidden)
        self.output = nn.Linear(hidden, width)

    def forward(self, steps: Steps) -> Tensor:
        """(B, ceil(U / k), H)."""
        with full_precision(steps):
            frames = self.activation(self.conv(steps))
        return self.output(self.activation(self.input(frames)))

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """(B,), groups of steps."""
        return stacked_lengths(lengths, self.conv.stack)

    @torch.no_grad()
    def init_from_embeddings(self, embeddings: Tensor) -> None:
        """A full group starts as the mean embedding of its k steps: the convolution averages."""
        k, num_units = self.conv.stack, self.conv.width
        eye = torch.eye(num_units, dtype=embeddings.dtype, device=embeddings.device)
        self.conv.weight.copy_((eye / k).repeat(k, 1))
        self.conv.bias.zero_()
        pair_directions(self.input.weight.T, self.input.bias, self.output, embeddings, scale=1.0)
