"""Row ``reduction``: from CTC logits to Steps.

- published: softmax, then a Python loop over the frames.
- plain: softmax, then runs of frames without a loop, averaged over the whole vocabulary.
- softmax: ``torch.softmax`` of the same logits alone, what a large vocabulary is held to.

Legend: B batch, T frames, V units, K listed units per step, U steps.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Case, Setting, tallest
from espnet_psslm.bridge.phone_sync import MergeThenDrop, Reduction
from espnet_psslm.bridge.steps import PosteriorSteps

BLANK = 0
THRESHOLD = 0.9


@dataclass(frozen=True)
class Size:
    """One size of the row."""

    batch: int
    frames: int
    num_units: int
    listed: int = 16
    against: str = "published"
    target: float | None = None


SMALL = Size(16, 250, 500, target=12.0)
LARGE = Size(16, 250, 25055, against="softmax", target=1 / 1.5)


def make_logits(size: Size, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (B, T, V) of a CTC model's kind, and lengths (B,).

    Units of one or two frames between two to six of blank, most frames sure of their label.
    """
    rng = np.random.default_rng(seed)
    labels = np.full((size.batch, size.frames), BLANK)
    for row in labels:
        frame = int(rng.integers(1, 6))
        while frame < size.frames:
            stop = frame + int(rng.integers(1, 3))
            row[frame:stop] = rng.integers(1, size.num_units)
            frame = stop + int(rng.integers(2, 7))
    generator = torch.Generator().manual_seed(seed)
    shape = (size.batch, size.frames, size.num_units)
    logits = torch.randn(shape, generator=generator)
    peaks = math.log(size.num_units) + 8.0 * torch.rand(shape[:2], generator=generator)
    logits.scatter_add_(2, torch.from_numpy(labels)[..., None], peaks[..., None])
    lengths = torch.linspace(size.frames, 0.7 * size.frames, size.batch).long()
    return logits, lengths


def frame_loop(logits: Tensor, lengths: Tensor, listed: int) -> list[tuple[Tensor, Tensor]]:
    """The rule as it is written down, frame by frame.

    Returns:
        Per utterance the largest probabilities of its steps (U, K), and their units (U, K).
    """
    posterior = logits.softmax(-1)
    answers = []
    for rows, labels, length in zip(
        posterior, posterior.argmax(-1).tolist(), lengths.tolist(), strict=True
    ):
        runs: list[tuple[int, list[Tensor]]] = []
        for row, label in zip(rows[:length], labels[:length], strict=True):
            if runs and label != BLANK and runs[-1][0] == label:
                runs[-1][1].append(row)
            else:
                runs.append((label, [row]))
        means = [torch.stack(frames).mean(0) for _, frames in runs]
        kept = [mean for mean in means if mean[BLANK] < THRESHOLD]
        answers.append(tuple(torch.stack(kept).topk(listed)))
    return answers


def dense_reduction(reduction: Reduction, logits: Tensor, lengths: Tensor) -> PosteriorSteps:
    """Softmax first, as one writes it."""
    return reduction(logits.softmax(-1), lengths)


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row."""
    if sizes is None:
        sizes = (SMALL,) if setting.quick else (SMALL, LARGE)
    for size in sizes:
        yield _case(setting, size)


def _case(setting: Setting, size: Size) -> Case:
    machine = setting.machine
    logits, lengths = (x.to(machine.device) for x in make_logits(size))
    reduction = MergeThenDrop(blank_id=BLANK, blank_threshold=THRESHOLD, max_units=size.listed)
    ways = {
        "ours": lambda: reduction.from_logits(logits, lengths),
        "published": lambda: frame_loop(logits, lengths, size.listed),
        "plain": lambda: dense_reduction(reduction, logits, lengths),
    }
    if size.against == "softmax":
        ways["softmax"] = lambda: logits.softmax(-1)

    def check() -> None:
        ours, plain = ways["ours"](), ways["plain"]()
        assert torch.equal(ours.lengths, plain.lengths)
        torch.testing.assert_close(ours.probs, plain.probs, rtol=1e-4, atol=1e-6)
        for row, (probs, unit_ids) in enumerate(ways["published"]()):
            count = int(ours.lengths[row])
            assert count == len(probs)
            torch.testing.assert_close(ours.probs[row, :count], probs, rtol=1e-4, atol=1e-6)
            assert torch.equal(ours.unit_ids[row, :count, 0], unit_ids[:, 0])

    frames = size.batch * size.frames
    limits = {}
    if size.against == "softmax":  # a small vocabulary's posteriors are cheap
        limits["no second (B, T, V)"] = lambda _: tallest(ways["ours"], size.num_units) < frames
    return Case(
        row="reduction",
        size=f"B {size.batch}, T {size.frames}, V {size.num_units}, K {size.listed}",
        ways=ways,
        against=size.against,
        target=size.target,
        bound_s=machine.seconds(moved=logits.nbytes),  # read once
        items=frames,
        unit="frames",
        check=check,
        limits=limits,
    )
