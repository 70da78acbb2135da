"""Phone-synchronous reduction: from CTC frames to one step per emitted unit.

A CTC posterior spends most of its frames on blank. Dropping them and averaging each run of one
unit leaves a sequence about as long as the text. The name follows phone synchronous decoding
(Chen et al., Interspeech 2016), which searches a lattice over the frames that are left; here
nothing is searched. Two orders are in use, and they differ on "a blank a":

- ``MergeThenDrop`` (PS-SLM's code): runs are found among all frames, then confident blanks go;
  "a blank a" stays two steps.
- ``DropThenMerge`` (TASU, arXiv 2511.03310, as TASU2 restates it): confident blanks go first,
  and the two a's, now neighbours, become one step.

Systems without phone synchrony, for comparison: ``FrameSynchronous`` keeps every frame,
``FixedRate`` averages every few of them. (Projectors can stack steps on top of either.)

Posteriors and encoder outputs are reduced alike: the posterior decides which frames make a step,
and either of the two is averaged.

Legend: B batch, T frames, V units, D encoder width, U steps, K listed units per step.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from espnet_psslm.bridge.runs import Runs
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps, uniform_rows
from espnet_psslm.common.options import options_of, section

NUMBERS = 1 << 22  # of posteriors that are made at once: 16 MB of float32


def _valid(frames: Tensor, lengths: Tensor) -> Tensor:
    """(B, T), true inside each utterance."""
    return torch.arange(frames.shape[1], device=lengths.device) < lengths[:, None]


class Reduction(ABC):
    """From frames to steps.

    Args:
        blank_id: the CTC blank; there is no default, because vocabularies differ.
        max_units: K, units kept per step (all, where the vocabulary is smaller).
    """

    needs_posterior = True  # also where encoder outputs are reduced
    merges_runs = False  # whether a step is a whole run of its unit

    def __init__(self, *, blank_id: int, max_units: int = 16) -> None:
        if max_units < 1:
            raise ValueError(f"max_units ({max_units}) must be at least 1")
        self.blank_id = blank_id
        self.max_units = max_units

    def described(self) -> dict[str, str | int | float]:
        """Its name in ``REDUCTIONS``, and its options."""
        [name] = [name for name, cls in REDUCTIONS.items() if cls is type(self)]
        options = options_of(type(self), given=("blank_id",))
        return {"reduction": name} | {option: getattr(self, option) for option in options}

    def __call__(self, posterior: Tensor, lengths: Tensor) -> PosteriorSteps:
        """Reduce a batch.

        Args:
            posterior: (B, T, V), linear domain, rows sum to 1.
            lengths: (B,), valid frames.

        Returns:
            Steps with their frame spans. An utterance without any kept frame has length 0.

        Raises:
            ValueError: if ``blank_id`` is outside [0, V).
        """
        return self._steps(
            *self._listed(posterior, lengths, self._num_listed(posterior)), posterior
        )

    @torch.no_grad()
    def from_logits(
        self, logits: Tensor, lengths: Tensor, *, numbers: int = NUMBERS
    ) -> PosteriorSteps:
        """Reduce a batch whose posteriors are not there yet: ``self(logits.softmax(-1), lengths)``.

        A posterior is as large as its logits: those of a few utterances are made at a time.

        Args:
            logits: (B, T, V); log posteriors are logits too.
            lengths: (B,), valid frames.
            numbers: made at once, at least one utterance's.

        Returns:
            As ``__call__``, in float32 (float64 of float64).

        Raises:
            ValueError: if ``blank_id`` is outside [0, V).
        """
        num_listed = self._num_listed(logits)
        runs, probs, unit_ids = self.runs_of(logits, lengths, num_listed, numbers=numbers)
        return self._steps(runs, probs, unit_ids, logits)

    def runs_of(
        self, logits: Tensor, lengths: Tensor, num_listed: int, *, numbers: int = NUMBERS
    ) -> tuple[Runs, Tensor, Tensor]:
        """What ``from_logits`` lists, not padded.

        Returns:
            The runs, and of the steps of all utterances the largest probabilities (steps, K) and
            their units (steps, K).
        """
        wide = torch.promote_types(logits.dtype, torch.float32)
        size = max(1, numbers // max(1, logits.shape[1] * logits.shape[2]))  # utterances
        parts = zip(logits.split(size), lengths.split(size), strict=True)
        runs, probs, unit_ids = zip(
            *(self._listed(some.softmax(-1, dtype=wide), n, num_listed) for some, n in parts),
            strict=True,
        )
        return Runs.join(runs), torch.cat(probs), torch.cat(unit_ids)

    def _listed(
        self, posterior: Tensor, lengths: Tensor, num_listed: int
    ) -> tuple[Runs, Tensor, Tensor]:
        runs = self._runs(posterior, lengths)
        return runs, *runs.average(posterior).topk(num_listed, dim=1)

    def _steps(self, runs: Runs, probs: Tensor, unit_ids: Tensor, frames: Tensor) -> PosteriorSteps:
        """Listed units of all steps of the batch (steps, K), padded per utterance."""
        num_listed, num_units = probs.shape[1], frames.shape[2]
        shape = (len(frames), runs.num_steps, num_listed)
        pad_ids, pad_probs = uniform_rows(1, num_listed, num_units, probs.dtype)
        out_ids = runs.place(pad_ids.to(unit_ids.device).expand(shape).clone(), unit_ids)
        out_probs = runs.place(pad_probs.to(probs.device).expand(shape).clone(), probs)
        return PosteriorSteps(out_ids, out_probs, runs.lengths, num_units, *runs.spans())

    def reduce_features(
        self, features: Tensor, lengths: Tensor, posterior: Tensor | None = None
    ) -> FeatureSteps:
        """Reduce encoder outputs by the same runs.

        Args:
            features: (B, T, D).
            lengths: (B,), valid frames.
            posterior: (B, T, V) of the same frames; None where ``needs_posterior`` is false.
        """
        runs = self._runs(features if posterior is None else posterior, lengths)
        values = features.new_zeros(len(lengths), runs.num_steps, features.shape[2])
        return FeatureSteps(runs.place(values, runs.average(features)), runs.lengths, *runs.spans())

    def _runs(self, frames: Tensor, lengths: Tensor) -> Runs:
        labels = blank = None
        if self.needs_posterior:
            labels, blank = frames.argmax(-1), frames[..., self.blank_id]
        return Runs.of(*self.kept_frames(labels, blank, _valid(frames, lengths)))

    def _num_listed(self, posterior: Tensor) -> int:
        return min(self.max_units, self._check(posterior))

    def _check(self, posterior: Tensor) -> int:
        num_units = posterior.shape[2]
        if not 0 <= self.blank_id < num_units:
            raise ValueError(f"blank_id ({self.blank_id}) must lie in [0, {num_units})")
        return num_units

    @abstractmethod
    def kept_frames(
        self, labels: Tensor | None, blank: Tensor | None, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Which frames stay, and which of those open a new step: two (B, T) masks.

        Args:
            labels: (B, T), the best unit of each frame; None where ``needs_posterior`` is false.
            blank: (B, T), probability of blank; likewise.
            valid: (B, T), true inside each utterance.
        """


class FrameSynchronous(Reduction):
    """No reduction: every frame is a step."""

    needs_posterior = False

    def kept_frames(
        self, labels: Tensor | None, blank: Tensor | None, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Every frame, each a step: see ``Reduction``."""
        return valid, valid


class FixedRate(Reduction):
    """Average every ``rate`` frames, whatever they hold; the last step may have fewer.

    Args:
        blank_id: as in ``Reduction``.
        rate: frames per step.
        max_units: as in ``Reduction``.
    """

    needs_posterior = False

    def __init__(self, *, blank_id: int, rate: int, max_units: int = 16) -> None:
        super().__init__(blank_id=blank_id, max_units=max_units)
        if rate < 1:
            raise ValueError(f"rate ({rate}) must be at least 1 frame")
        self.rate = rate

    def kept_frames(
        self, labels: Tensor | None, blank: Tensor | None, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Every frame, each ``rate``-th a step: see ``Reduction``."""
        frame = torch.arange(valid.shape[1], device=valid.device)
        return valid, valid & (frame % self.rate == 0)


class PhoneSynchronous(Reduction):
    """Average each run of one non-blank unit; drop confident blanks.

    Blank-labelled frames that are kept stay one step each.

    Args:
        blank_id: as in ``Reduction``.
        blank_threshold: blank probability from which a step is dropped.
        max_units: as in ``Reduction``.
    """

    merges_runs = True

    def __init__(self, *, blank_id: int, blank_threshold: float = 0.9, max_units: int = 16) -> None:
        super().__init__(blank_id=blank_id, max_units=max_units)
        if not 0.0 < blank_threshold <= 1.0:
            raise ValueError(f"blank_threshold ({blank_threshold}) must lie in (0, 1]")
        self.blank_threshold = blank_threshold

    def _changes(self, labels: Tensor, before: Tensor) -> Tensor:
        """Where a label opens a step: it differs from the one before, or is blank."""
        return (labels != before) | (labels == self.blank_id)


class MergeThenDrop(PhoneSynchronous):
    """Find the runs among all frames, then drop steps whose mean blank is >= the threshold."""

    def kept_frames(
        self, labels: Tensor | None, blank: Tensor | None, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The frames of runs that are not blank: see ``Reduction``."""
        before = torch.full_like(labels, -1)
        before[:, 1:] = labels[:, :-1]
        starts = self._changes(labels, before)
        step = starts.long().cumsum(1) - 1  # (B, T)
        weight = valid.to(blank.dtype)
        total = torch.zeros_like(blank).scatter_add_(1, step, blank * weight)
        count = torch.zeros_like(blank).scatter_add_(1, step, weight)
        stays = total < self.blank_threshold * count
        kept = stays.gather(1, step) & valid
        return kept, starts & kept


class DropThenMerge(PhoneSynchronous):
    """Drop frames whose blank is over the threshold, then find the runs among the rest."""

    def kept_frames(
        self, labels: Tensor | None, blank: Tensor | None, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The frames that are not blank: see ``Reduction``."""
        kept = valid & (blank <= self.blank_threshold)
        # Label of the nearest kept frame before: its index is a running maximum.
        index = torch.arange(labels.shape[1], device=labels.device).expand_as(labels)
        last_kept = torch.where(kept, index, -1).cummax(1).values
        previous = torch.full_like(last_kept, -1)
        previous[:, 1:] = last_kept[:, :-1]
        before = labels.gather(1, previous.clamp_min(0))
        before = torch.where(previous >= 0, before, -1)
        return kept, kept & self._changes(labels, before)


REDUCTIONS = {
    "merge_then_drop": MergeThenDrop,
    "drop_then_merge": DropThenMerge,
    "frame_sync": FrameSynchronous,
    "fixed_rate": FixedRate,
}


def build_reduction(name: str, *, blank_id: int, **options: object) -> Reduction:
    """``REDUCTIONS[name]`` with its options.

    Raises:
        ValueError: if there is none of that name, or an option is unknown to it or lacking.
    """
    if name not in REDUCTIONS:
        raise ValueError(f"reduction '{name}' is unknown; use one of {sorted(REDUCTIONS)}")
    with section(f"reduction_conf of {name}", options, REDUCTIONS[name], given=("blank_id",)):
        return REDUCTIONS[name](blank_id=blank_id, **options)
