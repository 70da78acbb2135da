"""Phone-synchronous beam search: the beam advances only over the steps that reduction keeps.

As in Chen et al. (Interspeech 2016), frames that are almost surely blank are not searched. Here the
steps come from our own reduction: a run of frames with one best unit is one step, with the mean
posterior. Frames that were left out count as blank with the probability they have, and a unit that
is the same before and behind them is two units, as in the plain search.

Legend: B batch, T frames, U steps, K listed units per step.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_psslm.acoustic.ctc_search import CTCSearch, GreedySearch
from espnet_psslm.acoustic.prefix_beam import PrefixBeamSearch, SearchSteps, to_numpy
from espnet_psslm.bridge.frame_scores import best_units, blocks, exponentials
from espnet_psslm.bridge.phone_sync import build_reduction
from espnet_psslm.device import is_host

NUMBERS = 1 << 20  # of posteriors read at once, 4 MB; at least one utterance's


class PhoneSyncBeamSearch(PrefixBeamSearch):
    """Prefix beam search over the steps of a reduction.

    ``log_prob`` counts a run of frames once. It equals that of the plain search where every run is
    one frame long and the frames that are left out are purely blank.

    Args:
        blank_id: the CTC blank.
        reduction: name in ``REDUCTIONS``.
        blank_threshold: blank probability from which a step is left out.
        options: of ``PrefixBeamSearch``.

    Raises:
        ValueError: if the reduction is unknown or a number does not fit.
    """

    def __init__(
        self,
        *,
        blank_id: int,
        reduction: str = "merge_then_drop",
        blank_threshold: float = 0.9,
        **options: Any,
    ) -> None:
        super().__init__(blank_id=blank_id, **options)
        self.reduce = build_reduction(reduction, blank_id=blank_id, blank_threshold=blank_threshold)
        # Where blank has more than one half, no other unit is the best.
        self._most_blank = max(blank_threshold, 0.51)

    def _steps(self, log_posterior: Tensor, lengths: Tensor) -> SearchSteps:
        log_posterior = log_posterior.detach()
        log_blank = log_posterior[..., self.blank_id].to(_wide(log_posterior)).contiguous()
        valid = torch.arange(log_blank.shape[1], device=lengths.device) < lengths[:, None]
        blank = log_blank.exp()
        read = valid & (blank <= self._most_blank)
        numbers = int(read.sum()) * log_posterior.shape[2]
        utts_at_once = max(1, len(read) * NUMBERS // max(1, numbers))
        parts = [
            self._read(log_posterior[utts], blank[utts], valid[utts], read[utts])
            for utts in blocks(len(read), utts_at_once)
        ]
        kept, starts, unit_ids, probs, step_blank = map(np.concatenate, zip(*parts, strict=True))

        with np.errstate(divide="ignore"):
            log_probs, step_blank = np.log(probs), np.log(step_blank)
        log_probs[unit_ids == self.blank_id] = -np.inf
        num_steps = starts.sum(1)
        inside = np.arange(max(1, num_steps.max(initial=0))) < num_steps[:, None]
        after_blank = starts.copy()
        after_blank[:, 1:] &= ~kept[:, :-1]
        after_blank[:, 0] = False  # nothing was left out there
        left_out = np.where(to_numpy(valid) & ~kept, to_numpy(log_blank), 0.0)
        return SearchSteps(
            _pad(unit_ids, inside),
            _pad(log_probs.astype(np.float64), inside),
            _pad(step_blank.astype(np.float64), inside),
            _pad(after_blank[starts], inside),
            num_steps,
            left_out.sum(1, dtype=np.float64),
        )

    def _read(
        self, log_posterior: Tensor, blank: Tensor, valid: Tensor, read: Tensor
    ) -> tuple[np.ndarray, ...]:
        """Steps of some utterances. Their posteriors are read once, where they may be kept.

        Args:
            log_posterior: (B, T, V).
            blank: (B, T), probabilities.
            valid: (B, T), True inside each utterance.
            read: (B, T), True where a frame may be kept.

        Returns:
            The frames that are kept, and those that open a step, both (B, T); and of the steps of
            all utterances the listed units (steps, K), their probabilities and that of blank.
        """
        frame = read.flatten().nonzero()[:, 0]
        rows = log_posterior.flatten(0, 1).index_select(0, frame).to(blank.dtype)
        labels = torch.full_like(blank, self.blank_id, dtype=torch.long)
        labels.view(-1)[frame] = best_units(rows)
        kept, starts = self.reduce.kept_frames(labels, blank, valid)
        row = kept.flatten()[frame].nonzero()[:, 0]
        first = starts.flatten()[frame[row]].nonzero()[:, 0]
        posterior = exponentials(rows)
        mean = F.embedding_bag(row, posterior, first, mode="mean") if len(row) else rows[:0]
        unit_ids, probs = _largest(mean, min(self.units_per_step, mean.shape[1]))
        arrays = (kept, starts, unit_ids, probs, mean[:, self.blank_id])
        return tuple(to_numpy(values) for values in arrays)


def _wide(values: Tensor) -> torch.dtype:
    """What is computed in: float32, float64 of float64."""
    return torch.promote_types(values.dtype, torch.float32)


def _largest(probs: Tensor, num_listed: int) -> tuple[Tensor, Tensor]:
    """The K largest of each row, in no order; of equal ones the first.

    Args:
        probs: (N, V), none negative: such numbers are ordered as the integers of the same bits are,
            which numpy parts in a fraction of the time.
        num_listed: K <= V.

    Returns:
        Their places and values, both (N, K).
    """
    if not is_host(probs.device):
        values, places = probs.topk(num_listed, dim=1, sorted=False)
        return places, values
    keys = probs.numpy().view(f"i{probs.element_size()}")
    num_units = keys.shape[1]
    floor = np.partition(keys, num_units - num_listed, axis=1)[:, num_units - num_listed, None]
    reached = keys >= floor
    flat = np.flatnonzero(reached)
    if len(flat) > len(keys) * num_listed:  # some rows have the K-th largest more than once
        equal = keys == floor
        room = num_listed - (reached & ~equal).sum(1, keepdims=True)
        flat = np.flatnonzero(reached & (~equal | (equal.cumsum(1) <= room)))
    places = flat.reshape(len(keys), num_listed) - num_units * np.arange(len(keys))[:, None]
    values = probs.numpy().take(flat).reshape(places.shape)
    return torch.from_numpy(places), torch.from_numpy(values)


def _pad(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """One row per step of the batch to (B, U, ...), zero in the padding."""
    padded = np.zeros((*inside.shape, *values.shape[1:]), values.dtype)
    padded[inside] = values
    return padded


# The choices of --search: name -> class.
SEARCHES: dict[str, type[CTCSearch]] = {
    "greedy": GreedySearch,
    "prefix_beam": PrefixBeamSearch,
    "phone_sync_beam": PhoneSyncBeamSearch,
}
