"""Recordings as they were heard, and how those are cut that are too long for a model.

Audio is heard once, whatever its length. What is longer than an acoustic model takes at once, or
than a subtitle may be, or has more steps than the language model's window has room for, is cut at
silences afterwards; each piece is answered by itself, and the answers are joined. A piece ends in
the middle of the longest silence of the second half of what it may hold: frames of which blank has
one half of the probability or more, and where only Steps are known, frames that belong to none.

Legend: N samples, T frames, U steps, K listed units per step.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_psslm.acoustic.base import Heard
from espnet_psslm.bridge.steps import PosteriorSteps, Steps
from espnet_psslm.device import HOST

Fits = Callable[[Tensor], Tensor]  # numbers of steps -> whether a piece may have so many, monotone
SILENT = 0.5  # probability of blank


@dataclass(frozen=True, eq=False)
class Recording:
    """What is known of one recording, or of what is simulated from a text.

    Args:
        steps: of one utterance, on the host.
        blank: (T,), probability of blank in each frame; None: nowhere can it be cut.
        frame_shift_s: seconds of a frame, where there was audio.
    """

    steps: Steps
    blank: Tensor | None = None
    frame_shift_s: float | None = None

    @property
    def num_steps(self) -> int:
        """U."""
        return int(self.steps.lengths[0])

    @property
    def num_frames(self) -> int:
        """T; 0 where it cannot be cut."""
        return 0 if self.blank is None else len(self.blank)

    @property
    def size(self) -> str:
        """For messages."""
        if self.frame_shift_s is None or not self.num_frames:
            return f"{self.num_steps} steps"
        return f"{self.num_frames * self.frame_shift_s:.1f} s of audio"

    @classmethod
    def dumped(cls, steps: Steps, *, blank_id: int) -> "Recording":
        """Of Steps with frame spans: silence is where no step is, or one whose blank is likely."""
        spans = zip(steps.frame_start[0].tolist(), steps.frame_end[0].tolist(), strict=True)
        within = torch.zeros(steps.num_steps)
        if isinstance(steps, PosteriorSteps):
            within = (steps.probs[0] * (steps.unit_ids[0] == blank_id)).sum(1)
        blank = torch.ones(int(steps.frame_end.max()) if steps.num_steps else 0)
        for (start, end), probability in zip(spans, within.tolist(), strict=True):
            blank[start:end] = probability
        return cls(steps, blank)

    def piece(self, first: int, stop: int) -> "Recording":
        """Frames ``first`` to ``stop``, with the steps that begin there."""
        starts = self.steps.frame_start[0]
        steps = self.steps.piece(int((starts < first).sum()), int((starts < stop).sum()))
        return Recording(steps.moved(-first), self.blank[first:stop], self.frame_shift_s)


def recordings_of(heard: Heard, *, frame_shift_s: float) -> Iterator[Recording]:
    """The utterances of a batch, one by one."""
    steps = heard.steps.to(HOST)
    blank = None if heard.blank is None else heard.blank.to(HOST)
    for row, (count, frames) in enumerate(
        zip(steps.lengths.tolist(), heard.lengths.tolist(), strict=True)
    ):
        alone = steps.select(torch.tensor([row])).piece(0, count)
        yield Recording(alone, None if blank is None else blank[row, :frames], frame_shift_s)


def cut(recording: Recording, *, fits: Fits, longest: int | None = None) -> list[tuple[int, int]]:
    """Cut a recording at silences.

    Args:
        recording: with ``blank`` and frame spans.
        fits: how many steps a piece may have.
        longest: frames of a piece at most; None: as many as fit.

    Returns:
        First frame of each piece, and one past its last; together they are all frames.

    Raises:
        ValueError: if not even two frames fit.
    """
    blank = recording.blank
    begun = torch.zeros(len(blank), dtype=torch.long)
    begun.index_add_(0, recording.steps.frame_start[0], torch.ones(recording.num_steps).long())
    pieces, first = [], 0
    while True:
        steps = begun[first:][:longest].cumsum(0)
        allowed = _count_allowed(fits(steps))
        if first + len(steps) == len(blank) and allowed == len(steps):
            return [*pieces, (first, len(blank))]
        stop = first + silence(blank[first : first + allowed])
        pieces.append((first, stop))
        first = stop


def silence(blank: Tensor) -> int:
    """The frame in the middle of the longest silence in the second half of (T,).

    Of equally long ones the last. Where no frame is silent: the one most likely to be.
    """
    first = len(blank) // 2
    half = blank[first:]
    start, end = longest_run((half >= SILENT).tolist())
    if start == end:
        return len(blank) - 1 - int(half.flip(0).argmax())
    return first + (start + end) // 2


def longest_run(flags: Sequence[bool]) -> tuple[int, int]:
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
