"""Which frames make which step, and what becomes of their values.

Legend: B batch, T frames, F kept frames of the batch, V units, U steps, K listed units per step,
X width of what a frame holds.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_psslm.bridge.frame_scores import (
    blocks,
    exponentials,
    rows_at_once,
    take_rows,
    top_units,
)


@dataclass(frozen=True)
class Runs:
    """Which frames make which step; the steps of the batch are counted through."""

    lengths: Tensor  # (B,), steps
    utt: Tensor  # (F,), utterance of each kept frame
    frame: Tensor  # (F,), its place in the utterance
    step: Tensor  # (F,), its step
    first: Tensor  # (F,), whether it opens the step

    @classmethod
    def of(cls, kept: Tensor, starts: Tensor) -> "Runs":
        """From two (B, T) masks."""
        utt, frame = kept.nonzero(as_tuple=True)  # utterance by utterance
        first = starts[utt, frame]
        return cls(starts.sum(1), utt, frame, first.long().cumsum(0) - 1, first)

    @classmethod
    def join(cls, parts: Sequence["Runs"]) -> "Runs":
        """The runs of several batches, one after the other, as those of one."""
        if len(parts) == 1:
            return parts[0]
        utterances = [0, *accumulate(len(part.lengths) for part in parts[:-1])]
        steps = [0, *accumulate(int(part.first.sum()) for part in parts[:-1])]
        return cls(
            torch.cat([part.lengths for part in parts]),
            torch.cat([p.utt + before for p, before in zip(parts, utterances, strict=True)]),
            torch.cat([part.frame for part in parts]),
            torch.cat([p.step + before for p, before in zip(parts, steps, strict=True)]),
            torch.cat([part.first for part in parts]),
        )

    def average(self, values: Tensor) -> Tensor:
        """(B, T, X) to (steps of the batch, X)."""
        rows = values.flatten(0, 1)
        if not len(self.step):
            return rows[:0]
        return F.embedding_bag(self._rows(values), rows, self._opening, mode="mean")

    def top(self, logits: Tensor, log_norm: Tensor, num_listed: int) -> tuple[Tensor, Tensor]:
        """Largest probabilities of each step, (steps of the batch, K), and their units.

        ``top_units(average(softmax(logits)))``, of which only the kept frames are made, a few at a
        time. A step of one frame needs no probability but the K it keeps.

        Args:
            logits: (B, T, V).
            log_norm: (B, T), their ``logsumexp``.
            num_listed: K.
        """
        rows, norm, frames = logits.flatten(0, 1), log_norm.flatten(), self._rows(logits)
        count, size = self.step.bincount(), 4 * rows_at_once(logits)  # each part has its price
        scratch = rows.new_empty(min(size, len(frames)), rows.shape[1])
        probs = norm.new_empty(len(count), num_listed)
        unit_ids = torch.empty_like(probs, dtype=torch.long)
        alone = count[self.step] == 1
        of_one, of_more = frames[alone], frames[~alone]
        steps = self.step[alone]
        for part in blocks(len(steps), size):
            frame = of_one[part]
            values, unit_ids[steps[part]] = top_units(take_rows(rows, frame, scratch), num_listed)
            probs[steps[part]] = (values.to(norm.dtype) - norm[frame, None]).exp_()
        steps = (count > 1).nonzero()[:, 0]
        for part, inside in _whole_steps(count[steps], size):
            frame = of_more[inside]
            posterior = take_rows(rows, frame, scratch).to(norm.dtype).sub_(norm[frame, None])
            posterior = exponentials(posterior)
            bags = count[steps[part]].cumsum(0) - count[steps[part]]
            here = torch.arange(len(frame), device=frame.device)
            mean = F.embedding_bag(here, posterior, bags, mode="mean")
            probs[steps[part]], unit_ids[steps[part]] = top_units(mean, num_listed)
        return probs, unit_ids

    def _rows(self, values: Tensor) -> Tensor:
        """(F,), the kept frames' places in ``values.flatten(0, 1)``."""
        return self.utt * values.shape[1] + self.frame

    def place(self, padded: Tensor, values: Tensor) -> Tensor:
        """Write one value per step of the batch into its place in ``padded`` (B, U, ...)."""
        padded[self._places] = values
        return padded

    @cached_property
    def _opening(self) -> Tensor:
        """First kept frame of each step of the batch, among all kept frames."""
        return self.first.nonzero()[:, 0]

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """Utterance of each step of the batch, and its number there."""
        utt = self.utt[self._opening]
        before = self.lengths.cumsum(0) - self.lengths  # steps of the utterances before
        return utt, torch.arange(len(utt), device=utt.device) - before[utt]

    @cached_property
    def num_steps(self) -> int:
        """U: padding included, at least 1."""
        return max(1, int(self.lengths.max()))

    def spans(self) -> tuple[Tensor, Tensor]:
        """First frame of each step, and one past its last: two (B, U)."""
        past_all = self._opening.new_full((1,), len(self.frame))
        last = torch.cat([self._opening, past_all])[1:] - 1
        empty = self.lengths.new_zeros(len(self.lengths), self.num_steps)
        start = self.place(empty.clone(), self.frame[self._opening])
        return start, self.place(empty, self.frame[last] + 1)


def _whole_steps(counts: Tensor, size: int) -> Iterator[tuple[slice, slice]]:
    """Steps of so many frames, in groups of at most ``size`` frames but at least one step.

    Yields:
        The steps, and their frames.
    """
    ends = [0, *counts.cumsum(0).tolist()]
    start = 0
    while start < len(counts):
        stop = max(start + 1, bisect_right(ends, ends[start] + size) - 1)
        yield slice(start, stop), slice(ends[start], ends[stop])
        start = stop
