"""Row ``lego``: posterior without blank, renormalised, times the embedding matrix; forward.

dense: published and plain alike: the product of the dense posterior with the whole matrix. That the
posterior itself has been made dense is not counted.

Legend: N steps, K listed units, V units (tokens of the language model), H its width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measure import Case, Setting, tallest
from espnet_psslm.bridge.projector import Lego
from espnet_psslm.bridge.steps import PosteriorSteps

BLANK = 0


@dataclass(frozen=True)
class Size:
    """One size of the row."""

    steps: int
    num_units: int
    listed: int = 16
    width: int = 1536
    target: float | None = None


FULL = Size(480, 151_936, target=20.0)
QUICK = Size(480, 32_000)


def make_steps(size: Size, *, seed: int = 0) -> PosteriorSteps:
    """One utterance whose steps list random units, some of them blank."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(size.steps, 4 * size.listed, generator=generator)
    unit_ids = scores.topk(size.listed).indices * (size.num_units // (4 * size.listed))
    shares = torch.rand(size.steps, size.listed + 1, generator=generator).pow(4) + 1e-4
    probs = (shares / shares.sum(1, keepdim=True))[:, :-1]
    return PosteriorSteps(unit_ids[None], probs[None], torch.tensor([size.steps]), size.num_units)


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row."""
    if sizes is None:
        sizes = (QUICK,) if setting.quick else (FULL,)
    for size in sizes:
        yield _case(setting, size)


def _case(setting: Setting, size: Size) -> Case:
    machine = setting.machine
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(size.num_units, size.width, generator=generator).to(machine.device)
    projector = Lego(table, blank_id=BLANK).to(machine.device)
    steps = make_steps(size).to(machine.device)
    posterior = steps.dense()[0]

    def run_dense() -> Tensor:
        spoken = posterior.clone()
        spoken[:, BLANK] = 0.0
        return (spoken / spoken.sum(1, keepdim=True)) @ table

    def run_ours() -> Tensor:
        return projector(steps)[0]

    def check() -> None:
        torch.testing.assert_close(run_ours(), run_dense(), rtol=1e-3, atol=1e-4)

    numbers = size.steps * size.listed * size.width + size.steps * size.width
    return Case(
        row="lego",
        size=f"{size.steps} steps, V {size.num_units}, H {size.width}, K {size.listed}",
        ways={"ours": run_ours, "dense": run_dense},
        against="dense",
        target=size.target,
        bound_s=machine.seconds(moved=4 * numbers),  # listed rows read, embeddings written
        items=size.steps,
        unit="steps",
        check=check,
        limits={"no (N, V)": lambda _: tallest(run_ours, size.num_units) < size.steps},
    )
