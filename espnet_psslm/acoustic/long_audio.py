"""Audio longer than Whisper's 30 seconds: overlapping windows, joined where both hear silence.

A CTC posterior has one row per frame, so windows that start on a frame can be joined frame by
frame. Where two windows overlap a unit may come a frame earlier in one than in the other; a seam
between the two would lose it or write it twice. So the seam goes where both windows are surest of
the blank, on both sides of the cut.

Legend: T output frames, V units.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

OVERLAP_S = 6.0  # seconds that neighbouring windows share, at least
SEARCH_S = 2.0  # the seam is sought so far around the middle of what they share


def window_starts(num_frames: int, *, window: int, overlap: int) -> list[int]:
    """First frames of the windows over a long recording, evenly spread.

    Args:
        num_frames: of the recording, more than ``window``.
        window: frames of each window.
        overlap: frames that neighbours share at least, less than ``window``.

    Returns:
        From 0 to ``num_frames - window``.
    """
    last = num_frames - window
    num_gaps = math.ceil(last / (window - overlap))
    return [round(n * last / num_gaps) for n in range(num_gaps + 1)]


def join_windows(
    parts: Sequence[Tensor], starts: Sequence[int], *, search: int, blank_id: int
) -> Tensor:
    """Join the posteriors of overlapping windows.

    Args:
        parts: (T, V) each, log posteriors.
        starts: first frame of each, ascending; each window overlaps the next.
        search: the seam is at most so many frames away from the middle of an overlap.
        blank_id: the CTC blank.

    Returns:
        (T, V), one row per frame of the recording.
    """
    seams = [starts[0]]
    for n in range(1, len(parts)):
        end = starts[n - 1] + len(parts[n - 1])
        middle = (starts[n] + end) // 2
        first = max(middle - search, starts[n] + 1, seams[-1] + 1)
        frames = torch.arange(first, max(min(middle + search, end - 1), first) + 1)
        blank = torch.full((len(frames),), math.inf)
        for part, start in ((parts[n - 1], starts[n - 1]), (parts[n], starts[n])):
            row = part[:, blank_id].cpu()
            for side in (frames - 1, frames):
                blank = torch.minimum(blank, row[side - start].float())
        best = frames[blank == blank.max()]
        seams.append(int(best[(best - middle).abs().argmin()]))
    ends = [*seams[1:], starts[-1] + len(parts[-1])]
    return torch.cat(
        [
            part[seam - start : end - start]
            for part, start, seam, end in zip(parts, starts, seams, ends, strict=True)
        ]
    )
