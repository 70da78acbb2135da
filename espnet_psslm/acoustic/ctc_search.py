"""Greedy CTC search, and how many frames CTC needs (Graves et al., ICML 2006)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GreedyHypothesis:
    """The best path of one utterance."""

    unit_ids: list[int]  # runs merged, blanks removed
    score: float  # log probability of the path, summed over frames


def greedy_search(
    log_posterior: Tensor, lengths: Tensor, *, blank_id: int
) -> list[GreedyHypothesis]:
    """Take each frame's best unit, merge runs, drop blanks.

    Args:
        log_posterior: (B, T, V), log softmax.
        lengths: (B,), valid frames; may be 0.
        blank_id: the CTC blank.

    Returns:
        One hypothesis per utterance; no unit where every frame is blank.
    """
    best, labels = log_posterior.max(dim=2)
    valid = torch.arange(labels.shape[1], device=lengths.device) < lengths[:, None]
    # A unit is emitted where a run of it begins.
    begins = torch.ones_like(valid)
    begins[:, 1:] = labels[:, 1:] != labels[:, :-1]
    emitted = begins & valid & (labels != blank_id)
    scores = best.masked_fill(~valid, 0.0).sum(1).tolist()
    labels, emitted = labels.cpu(), emitted.cpu()
    return [
        GreedyHypothesis(row[keep].tolist(), score)
        for row, keep, score in zip(labels, emitted, scores, strict=True)
    ]


def frames_needed(unit_ids: Sequence[int]) -> int:
    """Frames that CTC needs at least: one per unit, and a blank between equal neighbours.

    With fewer the loss is infinite; losses with ``zero_infinity`` hide that.
    """
    repeats = sum(a == b for a, b in zip(unit_ids, unit_ids[1:], strict=False))
    return len(unit_ids) + repeats
