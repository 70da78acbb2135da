"""How far simulated Steps are from real ones of the same text.

Both sequences are aligned by the units of their steps (edit distance). Aligned pairs, of equal
units or of one heard for the other, are compared as distributions over all V units; steps without
a partner count in the edit distance and in the agreement alone.

Legend: U steps, K listed units per step, V units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import torch
from torch import Tensor

from espnet_psslm.bridge.steps import PosteriorSteps

FLOOR = 1e-8  # least probability inside a logarithm: a one-hot step would be infinitely far


@dataclass(frozen=True)
class StepDistance:
    """Of one utterance."""

    num_real: int  # steps
    num_simulated: int
    jensen_shannon: float  # bits, in [0, 1]; mean over pairs, NaN where there is none
    cross_entropy: float  # nats, -sum real log(simulated); likewise
    argmax_agreement: float  # pairs of one unit over all places of the alignment
    edit_distance: float  # substituted, missing and extra units over real steps


def step_distance(
    real: tuple[Tensor, Tensor], simulated: tuple[Tensor, Tensor], *, num_units: int
) -> StepDistance:
    """Compare the Steps of one utterance.

    Args:
        real: ``unit_ids (U, K)`` and ``probs (U, K)``.
        simulated: the same of another U and K.
        num_units: V.

    Returns:
        All distances. Two empty sequences agree.
    """
    rows = [_dense(*side, num_units=num_units) for side in (real, simulated)]
    labels = [side.argmax(1).tolist() for side in rows]
    pairs, num_errors = _align(*labels)
    num_equal = sum(labels[0][i] == labels[1][j] for i, j in pairs)
    p, q = (side[[pair[which] for pair in pairs]] for which, side in enumerate(rows))
    some = len(pairs) > 0
    return StepDistance(
        num_real=len(labels[0]),
        num_simulated=len(labels[1]),
        jensen_shannon=float(jensen_shannon(p, q).mean()) if some else math.nan,
        cross_entropy=float(-(p * q.clamp_min(FLOOR).log()).sum(1).mean()) if some else math.nan,
        argmax_agreement=num_equal / (num_equal + num_errors) if num_equal + num_errors else 1.0,
        edit_distance=num_errors / max(1, len(labels[0])),
    )


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence of rows (N, V), in bits: (N,)."""
    mean = (p + q) / 2
    return (_entropy(mean) - (_entropy(p) + _entropy(q)) / 2).clamp_min(0.0)


def _entropy(rows: Tensor) -> Tensor:
    return -torch.special.xlogy(rows, rows).sum(1) / math.log(2)


def _dense(unit_ids: Tensor, probs: Tensor, *, num_units: int) -> Tensor:
    """(U, V), float64, rows that sum to 1: stored ones are rounded."""
    if not len(unit_ids):
        return torch.zeros(0, num_units, dtype=torch.float64)
    lengths = torch.tensor([len(unit_ids)])
    steps = PosteriorSteps(unit_ids[None], probs[None].double(), lengths, num_units)
    dense = steps.dense()[0]
    return dense / dense.sum(1, keepdim=True)


def _align(real: Sequence[int], simulated: Sequence[int]) -> tuple[list[tuple[int, int]], int]:
    """Places of steps that are paired, and the number of edits."""
    if not real or not simulated:
        return [], max(len(real), len(simulated))
    output = jiwer.process_words(*(" ".join(map(str, side)) for side in (real, simulated)))
    pairs = [
        (chunk.ref_start_idx + offset, chunk.hyp_start_idx + offset)
        for chunk in output.alignments[0]
        if chunk.type in ("equal", "substitute")
        for offset in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
    return pairs, output.substitutions + output.deletions + output.insertions
