"""Cut recordings that are too long at silences: for the acoustic model, or for the language model.

A piece ends in the middle of the longest silence of the second half of what it may hold: frames on
which blank is CTC's best unit, or, where only Steps are there, frames that belong to none.

Legend: N samples, T frames, V units, U steps, K listed units per step.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from espnet_psslm.acoustic.base import AcousticModel
from espnet_psslm.bridge.phone_sync import Reduction
from espnet_psslm.data.audio import SAMPLE_RATE

Fits = Callable[[Tensor], Tensor]  # numbers of steps -> whether a piece may have so many, monotone
MARGIN = 8  # heard without what is around it, a piece may have more steps: an eighth is kept free


def cut_audio(
    speech: Tensor,
    acoustic: AcousticModel,
    reduction: Reduction,
    *,
    fits: Fits,
) -> list[Tensor]:
    """Cut a recording at silences.

    The acoustic model hears one window after the other, each from the last cut on; whoever hears
    the pieces hears them as recordings of their own.

    Args:
        speech: (N,), 16 kHz, on the acoustic model's device.
        acoustic: with a CTC layer, ``max_duration_s`` and ``frame_shift_s``.
        reduction: from its frames to steps.
        fits: how many steps a piece may have.

    Returns:
        Pieces, which joined are the recording.

    Raises:
        ValueError: if not even two frames fit.
    """
    longest = int(acoustic.max_duration_s * SAMPLE_RATE)
    frame = round(acoustic.frame_shift_s * SAMPLE_RATE)  # samples
    pieces = []
    while True:
        window = speech[:longest]
        size = torch.tensor([len(window)], device=speech.device)
        log_posterior, lengths = acoustic.log_posterior(window[None], size)
        _, starts = reduction.spans(log_posterior, lengths)
        steps = starts[0].cumsum(0)
        allowed = _count_allowed(fits(steps + steps // MARGIN))
        if len(window) == len(speech) and allowed == len(steps):
            return [*pieces, speech]
        place = silence(log_posterior[0, :allowed], blank_id=reduction.blank_id) * frame
        pieces.append(speech[:place])
        speech = speech[place:]


def silence(log_posterior: Tensor, *, blank_id: int) -> int:
    """The frame in the middle of the longest silence in the second half of (T, V).

    Of equally long ones the last. Where no frame is silent: the one most likely to be.
    """
    first = len(log_posterior) // 2
    half = log_posterior[first:]
    start, end = longest_run((half.argmax(1) == blank_id).tolist())
    if start == end:
        return first + int(half[:, blank_id].argmax())
    return first + (start + end) // 2


def longest_run(flags: list[bool]) -> tuple[int, int]:
    """First place of the longest run of true values, the last of equal ones, and one past it."""
    best, start = (0, 0), None
    for place, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = place
        elif not flag and start is not None:
            if place - start >= best[1] - best[0]:
                best = (start, place)
            start = None
    return best


def cut_steps(spans: Tensor, *, fits: Fits) -> list[slice]:
    """Cut the Steps of a recording where the most frames lie between two of them.

    Args:
        spans: (U, 2), first frame of each step, and one past its last.
        fits: how many steps a piece may have.

    Returns:
        The places of each piece's steps.

    Raises:
        ValueError: if not even two steps fit.
    """
    total = len(spans)
    most = _count_allowed(fits(torch.arange(1, total + 1)))
    gaps = spans[1:, 0] - spans[:-1, 1]  # before step 1, 2, ...
    pieces, start = [], 0
    while total - start > most:
        places = torch.arange(start + most // 2, start + most + 1)
        widths = gaps[places - 1]
        stop = int(places[widths == widths.max()][-1])
        pieces.append(slice(start, stop))
        start = stop
    return [*pieces, slice(start, total)]


def _count_allowed(fit: Tensor) -> int:
    """How many values are true before the first false one.

    Raises:
        ValueError: if these are not even two, and not all.
    """
    count = int(fit.long().cumprod(0).sum())
    if count < min(2, len(fit)):
        raise ValueError(
            "the language model's window has no room for speech beside prompt and answer: shorten "
            "the prompt or lower --max_new_tokens"
        )
    return count
