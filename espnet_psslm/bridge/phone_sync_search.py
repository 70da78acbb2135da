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
from espnet_psslm.bridge.phone_sync import build_reduction


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

    def _steps(self, log_posterior: Tensor, lengths: Tensor) -> SearchSteps:
        log_posterior = log_posterior.detach()
        num_listed = min(self.units_per_step, log_posterior.shape[2])
        runs, probs, unit_ids = self.reduce.runs_of(log_posterior, lengths, num_listed)
        log_blank = log_posterior[..., self.blank_id].to(probs.dtype)
        log_probs = probs.log().masked_fill_(unit_ids == self.blank_id, -torch.inf)
        step_blank = runs.average(log_blank.exp()[..., None])[:, 0].log()
        start, end = runs.spans()
        is_kept = torch.zeros(log_blank.shape, dtype=torch.bool, device=log_blank.device)
        is_kept[runs.utt, runs.frame] = True
        valid = torch.arange(log_blank.shape[1], device=lengths.device) < lengths[:, None]
        left_out = log_blank.masked_fill(is_kept | ~valid, 0.0)
        shape = (len(lengths), runs.num_steps)
        return SearchSteps(
            unit_ids=to_numpy(runs.place(unit_ids.new_zeros(*shape, num_listed), unit_ids)),
            log_probs=_to_doubles(runs.place(log_probs.new_zeros(*shape, num_listed), log_probs)),
            blank=_to_doubles(runs.place(step_blank.new_zeros(shape), step_blank)),
            after_blank=to_numpy(start > F.pad(end[:, :-1], (1, 0))),
            lengths=to_numpy(runs.lengths),
            left_out=_to_doubles(left_out).sum(1),
        )


def _to_doubles(values: Tensor) -> np.ndarray:
    return to_numpy(values).astype(np.float64)


# The choices of --search: name -> class.
SEARCHES: dict[str, type[CTCSearch]] = {
    "greedy": GreedySearch,
    "prefix_beam": PrefixBeamSearch,
    "phone_sync_beam": PhoneSyncBeamSearch,
}
