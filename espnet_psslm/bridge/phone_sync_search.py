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
from espnet_psslm.bridge.steps import PosteriorSteps


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
        steps = self.reduce(log_posterior.exp(), lengths)
        log_probs = steps.probs.double().log()
        is_blank = steps.unit_ids == self.blank_id
        # A blank that is not listed is as likely as each other unlisted unit.
        blank = torch.where(
            is_blank.any(2),
            log_probs.masked_fill(~is_blank, -np.inf).amax(2),
            steps.rest.double().log(),
        )
        after_blank = torch.zeros_like(steps.mask)
        after_blank[:, 0] = steps.frame_start[:, 0] > 0
        after_blank[:, 1:] = steps.frame_start[:, 1:] > steps.frame_end[:, :-1]
        left_out = _blank_outside(log_posterior[..., self.blank_id].double(), lengths, steps)
        return SearchSteps(
            to_numpy(steps.unit_ids),
            to_numpy(log_probs.masked_fill(is_blank, -np.inf)),
            to_numpy(blank),
            to_numpy(after_blank),
            to_numpy(steps.lengths),
            to_numpy(left_out),
        )


def _blank_outside(log_blank: Tensor, lengths: Tensor, steps: PosteriorSteps) -> Tensor:
    """Log probability that the valid frames outside all steps are blank. (B, T) -> (B,)."""
    frames = torch.arange(log_blank.shape[1], device=log_blank.device)
    log_blank = log_blank.masked_fill(frames >= lengths[:, None], 0.0)
    before = torch.nn.functional.pad(log_blank.cumsum(1), (1, 0))  # (B, T + 1)
    inside = before.gather(1, steps.frame_end) - before.gather(1, steps.frame_start)
    return before[:, -1] - inside.masked_fill(~steps.mask, 0.0).sum(1)


# The choices of --search: name -> class.
SEARCHES: dict[str, type[CTCSearch]] = {
    "greedy": GreedySearch,
    "prefix_beam": PrefixBeamSearch,
    "phone_sync_beam": PhoneSyncBeamSearch,
}
