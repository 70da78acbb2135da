"""Which frames make which step, and what becomes of their values.

Legend: B batch, T frames, F kept frames of the batch, U steps, X width of what a frame holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor


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
