"""Phone-synchronous reduction: from CTC frames to one step per emitted unit.

A CTC posterior spends most of its frames on blank. Dropping them and averaging each run of one
unit leaves a sequence about as long as the text. The name follows phone synchronous decoding
(Chen et al., Interspeech 2016), which searches a lattice over the frames that are left; here
nothing is searched. Two orders are in use, and they differ on "a blank a":

- ``MergeThenDrop`` (PS-SLM's code): runs are found among all frames, then confident blanks go;
  "a blank a" stays two steps.
- ``DropThenMerge`` (TASU, arXiv 2511.03310, as TASU2 restates it): confident blanks go first,
  and the two a's, now neighbours, become one step.

Legend: B batch, T frames, V units, U steps, K listed units per step, F kept frames of the batch.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from espnet_psslm.bridge.steps import PosteriorSteps, uniform_rows


class Reduction(ABC):
    """Average each run of one non-blank unit; drop confident blanks.

    Blank-labelled frames that are kept stay one step each.

    Args:
        blank_id: the CTC blank; there is no default, because vocabularies differ.
        blank_threshold: blank probability from which a step is dropped.
        max_units: K, units kept per step (all, where the vocabulary is smaller).
    """

    def __init__(
        self, *, blank_id: int, blank_threshold: float = 0.9, max_units: int = 16
    ) -> None:
        if not 0.0 < blank_threshold <= 1.0:
            raise ValueError(f"blank_threshold ({blank_threshold}) must lie in (0, 1]")
        if max_units < 1:
            raise ValueError(f"max_units ({max_units}) must be at least 1")
        self.blank_id = blank_id
        self.blank_threshold = blank_threshold
        self.max_units = max_units

    def __call__(self, posterior: Tensor, lengths: Tensor) -> PosteriorSteps:
        """Reduce a batch.

        Args:
            posterior: (B, T, V), linear domain, rows sum to 1.
            lengths: (B,), valid frames.

        Returns:
            Steps with their frame spans. An utterance without any kept frame has length 0.

        Raises:
            ValueError: if ``blank_id`` is outside [0, V).
        """
        self._check(posterior)
        valid = torch.arange(posterior.shape[1], device=lengths.device) < lengths[:, None]
        blank = posterior[..., self.blank_id]
        kept, starts = self._keep(best_units(posterior), blank, valid)
        return self._average(posterior, kept, starts)

    def spans(self, log_posterior: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Which frames are kept, without averaging them.

        Args:
            log_posterior: (B, T, V), log softmax.
            lengths: (B,), valid frames.

        Returns:
            Two (B, T) masks: the frames that are kept, and those of them that open a step.

        Raises:
            ValueError: if ``blank_id`` is outside [0, V).
        """
        self._check(log_posterior)
        blank = log_posterior[..., self.blank_id].exp()
        valid = torch.arange(blank.shape[1], device=lengths.device) < lengths[:, None]
        # Above one half blank is the best unit; most frames are so, and need not be looked at.
        open_frames = (valid & (blank <= 0.51)).flatten().nonzero()[:, 0]
        labels = torch.full_like(blank, self.blank_id, dtype=torch.long)
        rows = log_posterior.flatten(0, 1).index_select(0, open_frames)
        labels.view(-1)[open_frames] = best_units(rows)
        return self._keep(labels, blank, valid)

    def _check(self, posterior: Tensor) -> None:
        if not 0 <= self.blank_id < posterior.shape[2]:
            raise ValueError(f"blank_id ({self.blank_id}) must lie in [0, {posterior.shape[2]})")

    @abstractmethod
    def _keep(self, labels: Tensor, blank: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Which frames stay, and which of those open a new step: two (B, T) masks."""

    def _average(self, posterior: Tensor, kept: Tensor, starts: Tensor) -> PosteriorSteps:
        num_utts, _, num_units = posterior.shape
        num_listed = min(self.max_units, num_units)
        lengths = starts.sum(1)
        utt, frame = kept.nonzero(as_tuple=True)  # (F,), utterance by utterance
        step = starts[utt, frame].cumsum(0) - 1  # (F,), steps counted through the batch
        total = int(step[-1]) + 1 if step.numel() else 0
        count = torch.zeros(total, device=step.device).index_add_(
            0, step, torch.ones_like(step, dtype=torch.float32)
        )
        mean = posterior.new_zeros(total, num_units).index_add_(0, step, posterior[utt, frame])
        mean = mean / count[:, None].to(mean.dtype)
        probs, unit_ids = mean.topk(num_listed, dim=1)

        first = starts[utt, frame]
        before = lengths.cumsum(0) - lengths  # steps of the utterances before
        place = torch.arange(total, device=step.device) - before[utt[first]]
        max_steps = max(1, int(lengths.max()))
        shape = (num_utts, max_steps, num_listed)
        pad_ids, pad_probs = uniform_rows(1, num_listed, num_units, probs.dtype)
        out_ids = pad_ids.to(unit_ids.device).expand(shape).clone()
        out_probs = pad_probs.to(probs.device).expand(shape).clone()
        out_ids[utt[first], place] = unit_ids
        out_probs[utt[first], place] = probs
        frame_start = lengths.new_zeros(num_utts, max_steps)
        frame_end = lengths.new_zeros(num_utts, max_steps)
        frame_start[utt[first], place] = frame[first]
        last = torch.zeros_like(first)
        last[:-1] = first[1:]
        last[-1:] = True
        frame_end[utt[first], place] = frame[last] + 1
        return PosteriorSteps(out_ids, out_probs, lengths, num_units, frame_start, frame_end)

    def _changes(self, labels: Tensor, before: Tensor) -> Tensor:
        """Where a label opens a step: it differs from the one before, or is blank."""
        return (labels != before) | (labels == self.blank_id)


def best_units(scores: Tensor) -> Tensor:
    """The best unit of each frame, the first of equal ones. (..., V) -> (...)."""
    if scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64):
        # On a CPU numpy's takes an eighth of the time of torch's.
        return torch.from_numpy(scores.detach().numpy().argmax(-1))
    return scores.argmax(-1)


class MergeThenDrop(Reduction):
    """Find the runs among all frames, then drop steps whose mean blank is >= the threshold."""

    def _keep(self, labels: Tensor, blank: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        before = torch.full_like(labels, -1)
        before[:, 1:] = labels[:, :-1]
        starts = self._changes(labels, before)
        step = starts.long().cumsum(1) - 1  # (B, T)
        weight = valid.to(blank.dtype)
        total = torch.zeros_like(blank).scatter_add_(1, step, blank * weight)
        count = torch.zeros_like(blank).scatter_add_(1, step, weight)
        stays = total < self.blank_threshold * count
        kept = stays.gather(1, step) & valid
        return kept, starts & kept


class DropThenMerge(Reduction):
    """Drop frames whose blank is over the threshold, then find the runs among the rest."""

    def _keep(self, labels: Tensor, blank: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        kept = valid & (blank <= self.blank_threshold)
        # Label of the nearest kept frame before: its index is a running maximum.
        index = torch.arange(labels.shape[1], device=labels.device).expand_as(labels)
        last_kept = torch.where(kept, index, -1).cummax(1).values
        previous = torch.full_like(last_kept, -1)
        previous[:, 1:] = last_kept[:, :-1]
        before = labels.gather(1, previous.clamp_min(0))
        before = torch.where(previous >= 0, before, -1)
        return kept, kept & self._changes(labels, before)


def reduce_posterior(
    posterior: Tensor,
    lengths: Tensor,
    *,
    blank_id: int,
    blank_threshold: float = 0.9,
    max_units: int = 16,
    order: str = "merge_then_drop",
) -> PosteriorSteps:
    """``REDUCTIONS[order]`` as one call; see ``Reduction``."""
    if order not in REDUCTIONS:
        raise ValueError(f"reduction '{order}' is unknown; use one of {sorted(REDUCTIONS)}")
    reduction = REDUCTIONS[order](
        blank_id=blank_id, blank_threshold=blank_threshold, max_units=max_units
    )
    return reduction(posterior, lengths)


REDUCTIONS = {"merge_then_drop": MergeThenDrop, "drop_then_merge": DropThenMerge}
