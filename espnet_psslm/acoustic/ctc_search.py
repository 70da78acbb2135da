"""CTC search: what every kind returns, and the greedy one (Graves et al., ICML 2006).

``acoustic/prefix_beam`` sums over alignments, frame by frame; ``bridge/phone_sync_search`` does so
over the steps of the phone-synchronous reduction. Their names for YAML are there (``SEARCHES``).

Legend: B batch, T frames, V units.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Hypothesis:
    """One unit sequence for one utterance."""

    unit_ids: list[int]  # runs merged, blanks removed
    log_prob: float  # what CTC gives to it, natural logarithm
    score: float  # what hypotheses are ranked by: log_prob, language model and hot words


@dataclass(frozen=True)
class SearchResult:
    """Hypotheses of a batch."""

    nbest: list[list[Hypothesis]]  # per utterance, best first; at least one each
    num_steps: list[int]  # per utterance, how often the search advanced


class CTCSearch(ABC):
    """From CTC posteriors to unit sequences.

    Args:
        blank_id: the CTC blank; there is no default, because vocabularies differ.
    """

    def __init__(self, *, blank_id: int) -> None:
        self.blank_id = blank_id

    @abstractmethod
    def __call__(self, log_posterior: Tensor, lengths: Tensor) -> SearchResult:
        """Search a batch.

        Args:
            log_posterior: (B, T, V), log softmax.
            lengths: (B,), valid frames; may be 0.

        Returns:
            Hypotheses of each utterance. Empty audio has one without units.
        """


class GreedySearch(CTCSearch):
    """Take each frame's best unit, merge runs, drop blanks: the best single alignment."""

    def __call__(self, log_posterior: Tensor, lengths: Tensor) -> SearchResult:
        """See ``CTCSearch``; ``log_prob`` is that of the best alignment alone."""
        best, labels = log_posterior.max(dim=2)
        valid = torch.arange(labels.shape[1], device=lengths.device) < lengths[:, None]
        # A unit is emitted where a run of it begins.
        begins = torch.ones_like(valid)
        begins[:, 1:] = labels[:, 1:] != labels[:, :-1]
        emitted = begins & valid & (labels != self.blank_id)
        scores = best.masked_fill(~valid, 0.0).sum(1).tolist()
        labels, emitted = labels.cpu(), emitted.cpu()
        nbest = [
            [Hypothesis(row[keep].tolist(), score, score)]
            for row, keep, score in zip(labels, emitted, scores, strict=True)
        ]
        return SearchResult(nbest, lengths.tolist())


def frames_needed(unit_ids: Sequence[int]) -> int:
    """Frames that CTC needs at least: one per unit, and a blank between equal neighbours.

    With fewer the loss is infinite; losses with ``zero_infinity`` hide that.
    """
    repeats = sum(a == b for a, b in zip(unit_ids, unit_ids[1:], strict=False))
    return len(unit_ids) + repeats
