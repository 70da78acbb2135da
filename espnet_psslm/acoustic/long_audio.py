"""Audio longer than Whisper's 30 seconds: overlapping windows, joined where both hear silence.

A CTC posterior has one row per frame, so windows that start on a frame can be joined frame by
frame. Where two windows overlap a unit may come a frame earlier in one than in the other; a seam
between the two would lose it or write it twice. So the seam goes where both windows are surest of
the blank, on both sides of the cut.

Legend: T output frames, D encoder width, V units.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

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
    parts: Iterable[tuple[Tensor, Tensor]], starts: Sequence[int], *, search: int, blank_id: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Keep of each window what lies between its seams.

    Args:
        parts: encoder outputs (T, D) and log posteriors (T, V) of each window.
        starts: first frame of each, ascending; each window overlaps the next.
        search: a seam is at most so many frames away from the middle of an overlap.
        blank_id: the CTC blank.

    Yields:
        First frame, encoder outputs and log posteriors; joined, one row per frame of the recording.
    """
    kept, before, seam = None, 0, starts[0]
    for start, part in zip(starts, parts, strict=True):
        if kept is not None:
            last = _seam(
                kept[1], before, part[1], start, after=seam, search=search, blank_id=blank_id
            )
            yield seam, *(rows[seam - before : last - before] for rows in kept)
            seam = last
        kept, before = part, start
    yield seam, *(rows[seam - before :] for rows in kept)


def _seam(
    left: Tensor, first: int, right: Tensor, start: int, *, after: int, search: int, blank_id: int
) -> int:
    """The frame behind ``after`` from which on the right one of two windows is taken."""
    end = first + len(left)
    middle = (start + end) // 2
    lowest = max(middle - search, start + 1, after + 1)
    frames = torch.arange(lowest, max(min(middle + search, end - 1), lowest) + 1)
    blank = torch.full((len(frames),), math.inf)
    for part, offset in ((left, first), (right, start)):
        row = part[:, blank_id].cpu()
        for side in (frames - 1, frames):
            blank = torch.minimum(blank, row[side - offset].float())
    best = frames[blank == blank.max()]
    return int(best[(best - middle).abs().argmin()])
