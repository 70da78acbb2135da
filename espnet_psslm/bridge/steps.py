"""Steps: the one currency between the acoustic side and the language model.

A step is what phone-synchronous reduction leaves of a run of frames, or what simulation makes
of one unit of text. A CTC posterior is nearly one-hot, so a step keeps its K largest units and
one number for all others: each unlisted unit has the same probability ``rest``. Reduced encoder
outputs are dense (``FeatureSteps``). Both have ``lengths``, ``width``, ``mask``, frame spans,
``to``, ``select`` and ``sample``.

Legend: B batch, U steps, K listed units per step, V units of the CTC vocabulary, D encoder width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from espnet_psslm.device import HOST

SPANS = ("frame_start", "frame_end")


class _Batch:
    """What both kinds of Steps do with all their tensors."""

    @property
    def mask(self) -> Tensor:
        """(B, U), True on valid steps."""
        steps = torch.arange(self.num_steps, device=self.lengths.device)
        return steps < self.lengths[:, None]

    def to(self, device: torch.device | str) -> Self:
        """The same steps on another device."""
        moved = {name: value.to(device) for name, value in self._tensors().items()}
        return replace(self, **moved)

    def select(self, index: Tensor) -> Self:
        """Some utterances of the batch.

        Args:
            index: (B',), long, or (B,), bool.
        """
        return replace(self, **{name: value[index] for name, value in self._tensors().items()})

    def sample(self, row: int) -> dict[str, Tensor]:
        """The steps of one utterance, without padding, as a data reader gives them."""
        count = int(self.lengths[row])
        return {name: getattr(self, of)[row, :count] for name, of in self.fields.items()}

    def moved(self, frames: int) -> Self:
        """The same steps so many frames later."""
        return replace(self, **{name: getattr(self, name) + frames for name in SPANS})

    def piece(self, first: int, stop: int) -> Self:
        """Steps ``first`` to ``stop`` of the only utterance, without padding."""
        cut = {name: t[:, first:stop] for name, t in self._tensors().items() if name != "lengths"}
        return replace(self, **cut, lengths=torch.full_like(self.lengths, stop - first))

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


@dataclass(frozen=True, eq=False)
class FeatureSteps(_Batch):
    """Dense steps: reduced encoder outputs.

    Args:
        values: (B, U, D), zero on padding.
        lengths: (B,), valid steps; may be 0.
        frame_start: (B, U), first frame of the step.
        frame_end: (B, U), one past its last frame.
    """

    values: Tensor
    lengths: Tensor
    frame_start: Tensor | None = None
    frame_end: Tensor | None = None

    fields = {"features": "values"}

    @property
    def width(self) -> int:
        """D."""
        return self.values.shape[2]

    @property
    def num_steps(self) -> int:
        """U, padding included."""
        return self.values.shape[1]


@dataclass(frozen=True, eq=False)
class PosteriorSteps(_Batch):
    """Sparse posteriors, one row per step.

    A row sums to 1: ``sum_k probs[k] + (V - K) * rest = 1``. A free slot of a row with fewer
    than K units of its own holds some unlisted unit with ``probs = rest``, which changes nothing.
    Padding rows are uniform (every probability 1/V), so that no statistic of theirs is singular.

    Args:
        unit_ids: (B, U, K), long, distinct within a row.
        probs: (B, U, K), linear domain.
        lengths: (B,), valid steps; may be 0.
        num_units: V.
        frame_start: (B, U), first frame of the step, where there was audio.
        frame_end: (B, U), one past its last frame.
    """

    unit_ids: Tensor
    probs: Tensor
    lengths: Tensor
    num_units: int
    frame_start: Tensor | None = None
    frame_end: Tensor | None = None

    fields = {"unit_ids": "unit_ids", "probs": "probs"}

    def __post_init__(self) -> None:
        if self.unit_ids.shape != self.probs.shape or self.unit_ids.dim() != 3:
            raise ValueError(
                f"unit_ids {tuple(self.unit_ids.shape)} and probs {tuple(self.probs.shape)} "
                "must both be (batch, steps, listed units)"
            )
        if self.unit_ids.shape[2] > self.num_units:
            raise ValueError(
                f"{self.unit_ids.shape[2]} listed units per step, but the vocabulary has "
                f"num_units={self.num_units}"
            )

    @property
    def width(self) -> int:
        """V: the width of a step's dense form."""
        return self.num_units

    @property
    def num_steps(self) -> int:
        """U, padding included."""
        return self.unit_ids.shape[1]

    @property
    def rest(self) -> Tensor:
        """(B, U), probability of EACH unlisted unit; 0 where every unit is listed."""
        unlisted = self.num_units - self.unit_ids.shape[2]
        if unlisted == 0:
            return torch.zeros_like(self.probs[..., 0])
        probs = self.probs.double() if self.probs.dtype == torch.float64 else self.probs.float()
        # Stored probabilities are rounded: their sum may exceed 1 by the last bit.
        return (1.0 - probs.sum(-1)).clamp_min(0.0) / unlisted

    def dense(self) -> Tensor:
        """(B, U, V), the full posteriors: for tests, plots and small vocabularies."""
        rows = self.rest[..., None].expand(*self.probs.shape[:2], self.num_units)
        return rows.scatter(2, self.unit_ids, self.probs.to(rows.dtype))

    def best_units(self) -> Tensor:
        """(B, U), the likeliest unit of each step."""
        return self.unit_ids.gather(2, self.probs.argmax(2, keepdim=True))[..., 0]

    def has_unit(self, *, blank_id: int) -> Tensor:
        """(B,), whether the likeliest unit of any step is one: of silence all are the blank."""
        return ((self.best_units() != blank_id) & self.mask).any(1)


Steps = PosteriorSteps | FeatureSteps
STEP_KINDS: dict[str, type[Steps]] = {"posterior": PosteriorSteps, "feature": FeatureSteps}


def uniform_rows(
    num_rows: int, num_listed: int, num_units: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Padding rows: units 0..K-1, each of probability 1/V. Returns (N, K) ids and probs."""
    unit_ids = torch.arange(num_listed).expand(num_rows, num_listed)
    return unit_ids, torch.full((num_rows, num_listed), 1.0 / num_units, dtype=dtype)


def widen(
    unit_ids: Tensor, probs: Tensor, num_listed: int, num_units: int
) -> tuple[Tensor, Tensor]:
    """Give rows free slots: unlisted units with the probability that they have anyway.

    Args:
        unit_ids: (N, k), distinct within a row.
        probs: (N, k).
        num_listed: K >= k wanted.
        num_units: V >= K.

    Returns:
        (N, K) ids and probs of the same dense rows.
    """
    missing = num_listed - unit_ids.shape[1]
    if missing <= 0:
        return unit_ids, probs
    # Among the first K ids at most k are taken, so the K - k smallest free ones are below K.
    free = torch.ones(unit_ids.shape[0], num_listed, dtype=torch.bool)
    taken = unit_ids < num_listed
    rows = torch.arange(unit_ids.shape[0])[:, None].expand_as(unit_ids)
    free[rows[taken], unit_ids[taken]] = False
    fill = free.int().argsort(dim=1, descending=True, stable=True)[:, :missing]
    rest = (1.0 - probs.sum(1, keepdim=True)).clamp_min(0.0) / (num_units - unit_ids.shape[1])
    return torch.cat([unit_ids, fill], 1), torch.cat([probs, rest.expand(-1, missing)], 1)


def collate_steps(
    rows: Sequence[tuple[Tensor, Tensor]], *, num_units: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Pad the rows of several utterances into one batch.

    Args:
        rows: per utterance ``unit_ids (U_i, K_i)`` and ``probs (U_i, K_i)``; K_i may differ.
        num_units: V.

    Returns:
        unit_ids (B, U, K), probs (B, U, K), lengths (B,); padding rows are uniform.
    """
    num_listed = max(ids.shape[1] for ids, _ in rows)
    lengths = torch.tensor([ids.shape[0] for ids, _ in rows])
    max_steps = max(1, int(lengths.max()))
    widened = [widen(ids, probs, num_listed, num_units) for ids, probs in rows]
    padding = uniform_rows(len(rows) * max_steps, num_listed, num_units)
    unit_ids, probs = (x.reshape(len(rows), max_steps, num_listed).clone() for x in padding)
    valid = torch.arange(max_steps) < lengths[:, None]
    unit_ids[valid] = torch.cat([ids for ids, _ in widened])
    probs[valid] = torch.cat([probs for _, probs in widened]).float()
    return unit_ids, probs, lengths


def collate_features(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad dense steps (U_i, D) of several utterances: (B, U, D), zero on padding, and (B,)."""
    lengths = torch.tensor([len(row) for row in rows])
    values = torch.zeros(len(rows), max(1, int(lengths.max())), rows[0].shape[1])
    for padded, row in zip(values, rows, strict=True):
        padded[: len(row)] = row
    return values, lengths


def join_utterances(parts: Sequence[Steps]) -> Steps:
    """Batches one after the other, as one.

    Args:
        parts: of one kind, on any device.

    Returns:
        Steps of as many utterances as all have, on the host; with frame spans if all have them.

    Raises:
        ValueError: if they are of different kinds.
    """
    if len(kinds := {type(part).__name__ for part in parts}) > 1:
        raise ValueError(
            f"a batch holds {' beside '.join(sorted(kinds))}: encoder outputs cannot be simulated "
            "from text; set step_kind or source, or dump the Steps again"
        )
    parts = [part.to(HOST) for part in parts]
    samples = [part.sample(row) for part in parts for row in range(len(part.lengths))]
    if isinstance(parts[0], FeatureSteps):
        joined = FeatureSteps(*collate_features([sample["features"] for sample in samples]))
    else:
        rows = [(sample["unit_ids"], sample["probs"]) for sample in samples]
        num_units = parts[0].num_units
        joined = PosteriorSteps(*collate_steps(rows, num_units=num_units), num_units)
    if any(part.frame_start is None for part in parts):
        return joined
    spans = {name: torch.zeros_like(joined.mask, dtype=torch.long) for name in SPANS}
    for name, frames in spans.items():
        frames[joined.mask] = torch.cat([getattr(part, name)[part.mask] for part in parts])
    return replace(joined, **spans)


def join_stretches(parts: Sequence[Steps], first_frames: Sequence[int]) -> Steps:
    """One utterance that was reduced stretch by stretch, as a whole.

    Args:
        parts: of its stretches (1, U, ...), of one kind, with frame spans.
        first_frames: of each stretch.
    """
    columns = [
        vars(part.moved(first).piece(0, int(part.lengths[0])))
        for part, first in zip(parts, first_frames, strict=True)
    ]
    joined = {
        name: torch.cat([column[name] for column in columns], 1)
        for name, value in columns[0].items()
        if isinstance(value, Tensor) and value.dim() > 1
    }
    return replace(parts[0], **joined, lengths=sum(part.lengths for part in parts))
