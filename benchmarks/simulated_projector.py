"""Row ``simulated_projector``: simulated Steps -> linear-silu, forward and backward.

dense: published and plain alike: the rows are written out over all units, then LayerNorm, linear
layer, SiLU, linear layer.

Legend: N steps, V units, D hidden width, H language model width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import Case, Machine, Measured, Setting, tallest
from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.bridge.simulate import TASUSimulator
from espnet_psslm.bridge.steps import PosteriorSteps, collate_steps

BLANK = 0
WITHIN = 1.6  # times the bound


@dataclass(frozen=True)
class Size:
    """One size of the row."""

    steps: int
    batch: int = 16
    num_units: int = 25055
    hidden: int = 2048
    width: int = 1536
    target: float | None = None


SIZES = (Size(480, target=7.0), Size(1920, target=20.0))


def simulate(lengths: list[int], num_units: int, *, seed: int = 0) -> PosteriorSteps:
    """TASU's simulated Steps of random transcripts of so many units; none is deleted."""
    rng = np.random.default_rng(seed)
    simulator = TASUSimulator(num_units, blank_id=BLANK, delete_prob=0.0)
    rows = []
    for length in lengths:
        ids, probs = simulator(rng.integers(1, num_units, length).tolist(), rng)
        rows.append((torch.from_numpy(ids), torch.from_numpy(probs)))
    return PosteriorSteps(*collate_steps(rows, num_units=num_units), num_units)


class DenseProjector(nn.Sequential):
    """The layers of a ``LinearSiLU``, with its weights, on dense rows."""

    def __init__(self, projector: LinearSiLU) -> None:
        layer = projector.input
        norm = nn.LayerNorm(layer.num_units, eps=layer.eps)
        first = nn.Linear(*layer.weight.shape)
        second = nn.Linear(projector.output.in_features, projector.output.out_features)
        super().__init__(norm, first, nn.SiLU(), second)
        with torch.no_grad():
            norm.weight.copy_(layer.gain)
            norm.bias.copy_(layer.shift)
            first.weight.copy_(layer.weight.T)
            first.bias.copy_(layer.bias)
        second.load_state_dict(projector.output.state_dict())

    def gradients(self) -> dict[str, Tensor]:
        """Gradients by the names that ``LinearSiLU`` has."""
        norm, first, _, second = self
        return {
            "input.gain": norm.weight.grad,
            "input.shift": norm.bias.grad,
            "input.weight": first.weight.grad.T,
            "input.bias": first.bias.grad,
            "output.weight": second.weight.grad,
            "output.bias": second.bias.grad,
        }


def assert_same_gradients(
    projector: nn.Module, expected: dict[str, Tensor], *, tolerance: float = 1e-4
) -> None:
    """Equal up to ``tolerance`` times the largest entry."""
    found = {name: parameter.grad for name, parameter in projector.named_parameters()}
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(grad, expected[name], rtol=0.0, atol=tolerance * scale)


def least_seconds(machine: Machine, steps: int, size: tuple[int, int, int]) -> float:
    """Forward and backward of the projector at best.

    W is read once forward and once backward and its gradient is written once; the other layer is
    three matrix products.

    Args:
        machine: the device.
        steps: N.
        size: V, D and H.
    """
    num_units, hidden, width = size
    return machine.seconds(moved=3 * 4 * num_units * hidden, flops=3 * 2 * steps * hidden * width)


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row."""
    if sizes is None:
        sizes = SIZES[:1] if setting.quick else SIZES
    for size in sizes:
        yield _case(setting, size)


def _case(setting: Setting, size: Size) -> Case:
    machine = setting.machine
    torch.manual_seed(0)
    projector = LinearSiLU(size.num_units, size.width, hidden=size.hidden).to(machine.device)
    dense = DenseProjector(projector).to(machine.device)
    lengths = [size.steps // size.batch] * size.batch
    steps = simulate(lengths, size.num_units).to(machine.device)
    gradient = torch.randn(size.batch, lengths[0], size.width).to(machine.device)

    def run_ours() -> Tensor:
        projector.zero_grad()
        out = projector(steps)
        out.backward(gradient)
        return out

    def run_dense() -> Tensor:
        dense.zero_grad()
        out = dense(steps.dense())
        out.backward(gradient)
        return out

    def check() -> None:
        torch.testing.assert_close(run_ours(), run_dense(), rtol=1e-3, atol=1e-3)
        assert_same_gradients(projector, dense.gradients())

    bound_s = least_seconds(machine, size.steps, (size.num_units, size.hidden, size.width))

    def near_bound(measured: Measured) -> bool:
        return measured.times["ours"][1] <= WITHIN * bound_s

    return Case(
        row="simulated_projector",
        size=f"{size.steps} steps, V {size.num_units}, D {size.hidden}, H {size.width}",
        ways={"ours": run_ours, "dense": run_dense},
        against="dense",
        target=size.target,
        bound_s=bound_s,
        items=size.steps,
        unit="steps",
        check=check,
        limits={
            f"within {WITHIN} x of the bound": near_bound,
            "no (N, V)": lambda _: tallest(run_ours, size.num_units) < size.steps,
        },
    )
