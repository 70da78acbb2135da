"""Splice: lay segments of different lengths end to end, one sequence per row.

Legend: B batch, S positions of one segment (padded), L positions of the spliced row, H width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def splice(
    segments: Sequence[tuple[Tensor, Tensor]], *, pad_left: bool = False
) -> tuple[Tensor, Tensor]:
    """Concatenate the valid parts of right-padded segments, row by row.

    Args:
        segments: each ``values (B, S, H)`` and ``lengths (B,)``.
        pad_left: put the padding of the result before each row (generation) instead of behind
            it (training).

    Returns:
        values (B, L, H), zero on padding, and mask (B, L), bool; L is the longest row.
    """
    values = torch.cat([value for value, _ in segments], 1)
    valid = torch.cat(
        [
            torch.arange(value.shape[1], device=value.device) < lengths[:, None]
            for value, lengths in segments
        ],
        1,
    )
    return compact(values, valid, pad_left=pad_left)


def compact(values: Tensor, valid: Tensor, *, pad_left: bool) -> tuple[Tensor, Tensor]:
    """Close the gaps in every row.

    Args:
        values: (B, S, H).
        valid: (B, S), bool; what to keep, in order.
        pad_left: where the padding goes.

    Returns:
        As ``splice``.
    """
    length = int(valid.sum(1).max())
    # A stable sort by validity moves every valid position to one side and keeps their order.
    order = valid.to(torch.uint8).argsort(dim=1, descending=not pad_left, stable=True)
    order = order[:, -length:] if pad_left else order[:, :length]
    mask = valid.gather(1, order)
    gathered = values.gather(1, order[..., None].expand(-1, -1, values.shape[2]))
    return gathered * mask[..., None], mask
