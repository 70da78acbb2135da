"""CTC prefix beam search (Hannun et al., arXiv 1408.2873), batched, with outside scores.

A prefix is a unit sequence without blanks. Its probability is summed over the alignments that give
it, kept in two parts: those that end in blank and those that end in its last unit, because a unit
after itself starts anew only behind a blank. A step of the search keeps the ``beam_size`` prefixes
of the highest score: log probability, and what language model and hot words add.

All beams of all utterances advance together, in float64 numpy on the CPU, where a small array
operation costs a tenth of torch's. Of a step's posterior only the ``units_per_step`` best units and
blank are looked at; the others count as impossible. With all V units and a beam that holds every
prefix the search is exact.

Legend: B batch, U steps (frames, in the plain search), K units listed per step, W beam size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from espnet_psslm.acoustic.ctc_search import CTCSearch, Hypothesis, SearchResult
from espnet_psslm.acoustic.prefix_scorer import PrefixScorer

# Names of prefixes: 64-bit hashes. Wrong only if two of the W prefixes of one step share one: for
# ten beams and a thousand steps that is one search in 10^14.
EMPTY, EMPTY_PARENT, DEAD, DEAD_PARENT = range(1, 5)
MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xD1342543DE82EF95], dtype=np.uint64)
NO_UNIT = -1  # last unit of the empty prefix


@dataclass(frozen=True)
class SearchSteps:
    """What the beam advances over.

    Args:
        unit_ids: (B, U, K), distinct within a row.
        log_probs: (B, U, K), -inf where the unit is blank.
        blank: (B, U), log probability of blank.
        after_blank: (B, U), True where frames before the step were left out as blank: every
            alignment ends in blank there.
        lengths: (B,), valid steps.
        left_out: (B,), log probability of the frames that were left out.
    """

    unit_ids: np.ndarray
    log_probs: np.ndarray
    blank: np.ndarray
    after_blank: np.ndarray
    lengths: np.ndarray
    left_out: np.ndarray


class PrefixBeamSearch(CTCSearch):
    """Frame-synchronous: the beam advances over every frame.

    Args:
        blank_id: the CTC blank.
        beam_size: W, prefixes kept.
        nbest: hypotheses returned per utterance, fewer where the beam holds fewer.
        units_per_step: K, units looked at per frame (all, where the vocabulary is smaller).
        scorers: language model, hot words.

    Raises:
        ValueError: if a number does not fit.
    """

    def __init__(
        self,
        *,
        blank_id: int,
        beam_size: int = 10,
        nbest: int = 1,
        units_per_step: int = 20,
        scorers: Sequence[PrefixScorer] = (),
    ) -> None:
        super().__init__(blank_id=blank_id)
        if min(beam_size, units_per_step) < 1:
            raise ValueError(
                f"beam_size ({beam_size}) and units_per_step ({units_per_step}) must be at least 1"
            )
        if not 1 <= nbest <= beam_size:
            raise ValueError(f"nbest ({nbest}) must lie between 1 and beam_size ({beam_size})")
        self.beam_size = beam_size
        self.nbest = nbest
        self.units_per_step = units_per_step
        self.scorers = tuple(scorers)

    def __call__(self, log_posterior: Tensor, lengths: Tensor) -> SearchResult:
        """See ``CTCSearch``; ``log_prob`` is summed over the alignments that the beam held."""
        steps = self._steps(log_posterior, lengths)
        beams = _Beams(steps, self.beam_size, self.scorers)
        for step in range(int(steps.lengths.max(initial=0))):
            beams.advance(step)
        return SearchResult(beams.hypotheses(self.nbest), steps.lengths.tolist())

    def _steps(self, log_posterior: Tensor, lengths: Tensor) -> SearchSteps:
        num_listed = min(self.units_per_step, log_posterior.shape[2])
        log_probs, unit_ids = log_posterior.topk(num_listed, dim=2)
        log_probs = log_probs.masked_fill(unit_ids == self.blank_id, -np.inf)
        blank = to_numpy(log_posterior[..., self.blank_id]).astype(np.float64)
        return SearchSteps(
            to_numpy(unit_ids),
            to_numpy(log_probs).astype(np.float64),
            blank,
            np.zeros(blank.shape, dtype=bool),
            to_numpy(lengths),
            np.zeros(len(blank)),
        )


def to_numpy(values: Tensor) -> np.ndarray:
    """A tensor's values on the CPU; bfloat16, which numpy lacks, as float32."""
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _hash_of(parent: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Name of a prefix with one more unit; wraps around by design."""
    mixed = (parent ^ (unit.astype(np.uint64) + np.uint64(1)) * MULTIPLIERS[0]) * MULTIPLIERS[1]
    return mixed ^ (mixed >> np.uint64(29))


class _Beams:
    """The beams of a batch. Rows are ordered by length, so that those not yet done come first."""

    def __init__(self, steps: SearchSteps, beam_size: int, scorers: Sequence[PrefixScorer]) -> None:
        self.order = np.argsort(-steps.lengths, kind="stable")
        self.steps = SearchSteps(*(value[self.order] for value in vars(steps).values()))
        self.beam_size = beam_size
        self.scorers = scorers
        shape = (len(self.order), beam_size)
        self.ends_blank = np.full(shape, -np.inf)
        self.ends_unit = np.full(shape, -np.inf)
        self.bonus = np.zeros(shape)
        self.name = np.full(shape, DEAD, dtype=np.uint64)
        self.parent = np.full(shape, DEAD_PARENT, dtype=np.uint64)
        self.last = np.full(shape, NO_UNIT)
        self.ends_blank[:, 0] = self.steps.left_out
        self.name[:, 0], self.parent[:, 0] = EMPTY, EMPTY_PARENT
        start = tuple(scorer.start() for scorer in scorers)
        self.states = [[start] * beam_size for _ in range(shape[0])]
        # Per step, for each new beam: the beam that it comes from, and its new unit or NO_UNIT.
        self.history: list[tuple[np.ndarray, np.ndarray]] = []

    def advance(self, step: int) -> None:
        """Take one step in all utterances that have it."""
        rows = slice(0, int((self.steps.lengths > step).sum()))
        unit_ids = self.steps.unit_ids[rows, step]  # (B, K)
        log_probs = self.steps.log_probs[rows, step]
        ends_blank, ends_unit = self.ends_blank[rows], self.ends_unit[rows]
        total = np.logaddexp(ends_blank, ends_unit)  # (B, W)
        if (after_blank := self.steps.after_blank[rows, step, None]).any():
            ends_blank = np.where(after_blank, total, ends_blank)
            ends_unit = np.where(after_blank, -np.inf, ends_unit)
        stay_blank = total + self.steps.blank[rows, step, None]
        stay_unit = np.full_like(stay_blank, -np.inf)
        grow = total[..., None] + log_probs[:, None]  # (B, W, K)

        # Beams whose last unit is listed: the same unit again, or anew behind a blank.
        row, beam, place = (unit_ids[:, None] == self.last[rows, :, None]).nonzero()
        again = log_probs[row, place]
        stay_unit[row, beam] = ends_unit[row, beam] + again
        grow[row, beam, place] = ends_blank[row, beam] + again
        # If such a beam's parent is a beam too, growing that by the unit gives this prefix again.
        is_parent = self.parent[rows][row, beam, None] == self.name[rows][row]  # (n, W)
        index, parent = is_parent.nonzero()
        row, beam, place = row[index], beam[index], place[index]
        stay_unit[row, beam] = np.logaddexp(stay_unit[row, beam], grow[row, parent, place])
        grow[row, parent, place] = -np.inf
        self._keep(rows, unit_ids, stay_blank, stay_unit, grow)

    def _keep(
        self,
        rows: slice,
        unit_ids: np.ndarray,
        stay_blank: np.ndarray,
        stay_unit: np.ndarray,
        grow: np.ndarray,
    ) -> None:
        """Make the best of the candidates the new beams: those that stay, those that grow."""
        num_rows, size, num_listed = grow.shape
        log_probs = np.concatenate(
            [np.logaddexp(stay_blank, stay_unit), grow.reshape(num_rows, -1)], 1
        )
        bonus = self._bonus(rows, unit_ids)  # (B, W + W * K), or None
        scores = log_probs if bonus is None else log_probs + bonus
        best = np.argpartition(-scores, size - 1, axis=1)[:, :size]
        grows = best >= size
        source, place = np.divmod(np.where(grows, best - size, best * num_listed), num_listed)
        row = np.arange(num_rows)[:, None]
        source_at = row * size + source  # in flat arrays: taking from them is fastest
        best_at = row * log_probs.shape[1] + best
        alive = scores.take(best_at) > -np.inf
        unit = np.where(grows, unit_ids[row, place], NO_UNIT)

        self.ends_blank[rows] = np.where(grows, -np.inf, stay_blank.take(source_at))
        self.ends_unit[rows] = np.where(grows, log_probs.take(best_at), stay_unit.take(source_at))
        if bonus is not None:
            self.bonus[rows] = bonus.take(best_at)
        name, parent = self.name.take(source_at), self.parent.take(source_at)
        self.name[rows] = np.where(alive, np.where(grows, _hash_of(name, unit), name), DEAD)
        self.parent[rows] = np.where(alive, np.where(grows, name, parent), DEAD_PARENT)
        self.last[rows] = np.where(grows, unit, self.last.take(source_at))
        self.history.append((source, unit))
        if self.scorers:
            self._advance_scorers(source, unit)

    def _bonus(self, rows: slice, unit_ids: np.ndarray) -> np.ndarray | None:
        """Bonus of every candidate: of those that stay, then of those that grow."""
        if not self.scorers:
            return None
        stay = self.bonus[rows]
        grow = np.repeat(stay[..., None], unit_ids.shape[1], axis=2)  # (B, W, K)
        for row in range(len(stay)):
            for scorer, states in zip(
                self.scorers, zip(*self.states[row], strict=True), strict=True
            ):
                grow[row] += scorer.gains(states, unit_ids[row])
        return np.concatenate([stay, grow.reshape(len(stay), -1)], 1)

    def _advance_scorers(self, source: np.ndarray, unit: np.ndarray) -> None:
        for row, (sources, units) in enumerate(zip(source.tolist(), unit.tolist(), strict=True)):
            old = self.states[row]
            self.states[row] = [
                old[beam] if new == NO_UNIT else self._behind(old[beam], new)
                for beam, new in zip(sources, units, strict=True)
            ]

    def _behind(self, states: tuple[Any, ...], unit: int) -> tuple[Any, ...]:
        pairs = zip(self.scorers, states, strict=True)
        return tuple(scorer.advance(state, unit) for scorer, state in pairs)

    def hypotheses(self, nbest: int) -> list[list[Hypothesis]]:
        """Best first, in the order of the batch."""
        log_probs = np.logaddexp(self.ends_blank, self.ends_unit)
        scores = log_probs + self.bonus
        if self.scorers:
            scores += np.array([[self._end(beam) for beam in row] for row in self.states])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :nbest]
        alive = np.take_along_axis(self.name != DEAD, best, 1)
        log_prob = np.take_along_axis(log_probs, best, 1)
        score = np.take_along_axis(scores, best, 1)
        units = self._trace(best)
        is_unit = units != NO_UNIT
        ends = is_unit.sum(2)[alive].cumsum().tolist()
        flat = units[is_unit & alive[..., None]].tolist()
        found: list[list[Hypothesis]] = [[] for _ in self.order]
        for utt, start, end, *values in zip(
            np.repeat(self.order, alive.sum(1)).tolist(),
            [0, *ends],
            ends,
            log_prob[alive].tolist(),
            score[alive].tolist(),
            strict=False,  # one start more than there are ends
        ):
            found[utt].append(Hypothesis(flat[start:end], *values))
        return found

    def _end(self, states: tuple[Any, ...]) -> float:
        pairs = zip(self.scorers, states, strict=True)
        return sum(scorer.finish(state) for scorer, state in pairs)

    def _trace(self, beam: np.ndarray) -> np.ndarray:
        """New unit or NO_UNIT of each step, (B, n, U), on the way to some beams (B, n)."""
        units = np.full((len(self.history), *beam.shape), NO_UNIT)
        row = self.beam_size * np.arange(len(beam))[:, None]
        beam = beam + row  # in flat arrays: taking from them is fastest
        for step in reversed(range(len(self.history))):
            source, unit = self.history[step]
            count = len(source)  # the utterances that have this step
            units[step, :count] = unit.take(beam[:count])
            beam[:count] = source.take(beam[:count]) + row[:count]
        return np.moveaxis(units, 0, 2)
