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
from torch import Tensor

from espnet_psslm.acoustic.ctc_search import CTCSearch, GreedySearch
from espnet_psslm.acoustic.prefix_beam import PrefixBeamSearch, SearchSteps, to_numpy
from espnet_psslm.bridge.phone_sync import REDUCTIONS
from espnet_psslm.bridge.runs import Runs


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
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction '{reduction}' is unknown; use one of {sorted(REDUCTIONS)}")
        self.reduce = REDUCTIONS[reduction](
            blank_id=blank_id, blank_threshold=blank_threshold, max_units=self.units_per_step
        )

    def _steps(self, log_posterior: Tensor, lengths: Tensor) -> SearchSteps:
        kept, starts = self.reduce.spans(log_posterior, lengths)
        runs = Runs.of(kept, starts)
        listed = min(self.units_per_step, log_posterior.shape[2])
        log_blank = log_posterior[..., self.blank_id].contiguous()
        probs, unit_ids = runs.top(log_posterior, torch.zeros_like(log_blank), listed)
        log_probs, unit_ids = _log(to_numpy(probs)), to_numpy(unit_ids)
        log_probs[unit_ids == self.blank_id] = -np.inf
        blank_of_step = _log(to_numpy(runs.average(log_blank.exp()[..., None])[:, 0]))

        kept, starts = to_numpy(kept), to_numpy(starts)
        num_steps = starts.sum(1)
        valid = np.arange(max(1, num_steps.max(initial=0))) < num_steps[:, None]
        after_blank = starts.copy()
        after_blank[:, 1:] &= ~kept[:, :-1]
        after_blank[:, 0] = False  # nothing was left out there
        left_out = ~kept & (np.arange(kept.shape[1]) < to_numpy(lengths)[:, None])
        blank = to_numpy(log_blank).astype(np.float64)
        return SearchSteps(
            _pad(unit_ids, valid),
            _pad(log_probs, valid),
            _pad(blank_of_step, valid),
            _pad(after_blank[starts], valid),
            num_steps,
            np.where(left_out, blank, 0.0).sum(1),
        )


def _pad(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """One row per step of the batch to (B, U, ...), zero in the padding."""
    padded = np.zeros((*valid.shape, *values.shape[1:]), values.dtype)
    padded[valid] = values
    return padded


def _log(probs: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(probs.astype(np.float64))


# The choices of --search: name -> class.
SEARCHES: dict[str, type[CTCSearch]] = {
    "greedy": GreedySearch,
    "prefix_beam": PrefixBeamSearch,
    "phone_sync_beam": PhoneSyncBeamSearch,
}
