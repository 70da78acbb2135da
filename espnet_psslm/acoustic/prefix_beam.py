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

import numpy as np
from torch import Tensor

from espnet_psslm.acoustic.ctc_search import CTCSearch, Hypothesis, SearchResult
from espnet_psslm.acoustic.prefix_scorer import PrefixScorer

NO_NODE = -2  # node of a dead beam
NO_PARENT = -3  # parent of a dead beam: no node has this number
NO_UNIT = -1


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
        blank = to_numpy(log_posterior[..., self.blank_id].double())
        return SearchSteps(
            to_numpy(unit_ids),
            to_numpy(log_probs.double()),
            blank,
            np.zeros(blank.shape, dtype=bool),
            to_numpy(lengths),
            np.zeros(len(blank)),
        )


def to_numpy(values: Tensor) -> np.ndarray:
    """A tensor's values on the CPU."""
    return values.detach().cpu().numpy()


class _PrefixTree:
    """All prefixes that were ever in a beam: a prefix that comes back gets its old number."""

    def __init__(self, num_utts: int, scorers: Sequence[PrefixScorer]) -> None:
        self.scorers = scorers
        self.parents = [-1] * num_utts  # the first nodes are the empty prefixes
        self.units = [NO_UNIT] * num_utts
        self.states = [tuple(scorer.start() for scorer in scorers)] * num_utts
        self._children: dict[tuple[int, int], int] = {}

    def child(self, parent: int, unit: int) -> int:
        """Node of a prefix with one more unit."""
        node = self._children.get((parent, unit))
        if node is None:
            node = self._children[parent, unit] = len(self.units)
            self.parents.append(parent)
            self.units.append(unit)
            if self.scorers:
                pairs = zip(self.scorers, self.states[parent], strict=True)
                self.states.append(tuple(scorer.advance(state, unit) for scorer, state in pairs))
        return node

    def finish(self, node: int) -> float:
        """What a prefix gains by the end of the utterance."""
        if not self.scorers:
            return 0.0
        pairs = zip(self.scorers, self.states[node], strict=True)
        return sum(scorer.finish(state) for scorer, state in pairs)

    def unit_ids(self, node: int) -> list[int]:
        """Units of a prefix, in order."""
        units = []
        while self.parents[node] >= 0:
            units.append(self.units[node])
            node = self.parents[node]
        return units[::-1]


class _Beams:
    """The beams of a batch. Rows are ordered by length, so that those not yet done come first."""

    def __init__(
        self, steps: SearchSteps, beam_size: int, scorers: Sequence[PrefixScorer]
    ) -> None:
        self.order = np.argsort(-steps.lengths, kind="stable")
        self.steps = SearchSteps(*(value[self.order] for value in vars(steps).values()))
        self.scorers = scorers
        shape = (len(self.order), beam_size)
        self.tree = _PrefixTree(shape[0], scorers)
        self.ends_blank = np.full(shape, -np.inf)
        self.ends_unit = np.full(shape, -np.inf)
        self.bonus = np.zeros(shape)
        self.node = np.full(shape, NO_NODE)
        self.parent = np.full(shape, NO_PARENT)
        self.last = np.full(shape, NO_UNIT)
        self.ends_blank[:, 0] = self.steps.left_out
        self.node[:, 0] = np.arange(shape[0])
        self.parent[:, 0] = -1

    def advance(self, step: int) -> None:
        """Take one step in all utterances that have it."""
        rows = slice(0, int((self.steps.lengths > step).sum()))
        unit_ids = self.steps.unit_ids[rows, step]  # (B, K)
        log_probs = self.steps.log_probs[rows, step]
        self._pass_left_out(rows, self.steps.after_blank[rows, step])
        ends_blank, ends_unit = self.ends_blank[rows], self.ends_unit[rows]
        total = np.logaddexp(ends_blank, ends_unit)  # (B, W)

        is_last = unit_ids[:, None] == self.last[rows, :, None]  # (B, W, K)
        has_last, place = is_last.any(2), is_last.argmax(2)
        again = np.where(has_last, np.take_along_axis(log_probs, place, 1), -np.inf)
        stay_blank = total + self.steps.blank[rows, step, None]
        stay_unit = ends_unit + again
        grow = np.where(is_last, ends_blank[..., None], total[..., None]) + log_probs[:, None]
        self._merge(rows, stay_unit, grow, has_last, place)

        gain = self.bonus[rows, :, None] + self._outside(rows, unit_ids)  # (B, W, K) or (B, W, 1)
        stay_score = np.logaddexp(stay_blank, stay_unit) + self.bonus[rows]
        scores = np.concatenate([stay_score, (grow + gain).reshape(len(grow), -1)], 1)
        self._keep(rows, scores, stay_blank, stay_unit, grow, gain, unit_ids)

    def _pass_left_out(self, rows: slice, after_blank: np.ndarray) -> None:
        """Where frames were left out as blank, every alignment ends in blank."""
        if after_blank.any():
            where = after_blank[:, None]
            total = np.logaddexp(self.ends_blank[rows], self.ends_unit[rows])
            self.ends_blank[rows] = np.where(where, total, self.ends_blank[rows])
            self.ends_unit[rows] = np.where(where, -np.inf, self.ends_unit[rows])

    def _merge(
        self,
        rows: slice,
        stay_unit: np.ndarray,
        grow: np.ndarray,
        has_last: np.ndarray,
        place: np.ndarray,
    ) -> None:
        """Add a grown prefix to the beam that already holds it."""
        is_parent = self.parent[rows, :, None] == self.node[rows, None]  # (B, child, parent)
        row, child = (is_parent.any(2) & has_last).nonzero()
        parent, unit = is_parent[row, child].argmax(1), place[row, child]
        stay_unit[row, child] = np.logaddexp(stay_unit[row, child], grow[row, parent, unit])
        grow[row, parent, unit] = -np.inf

    def _outside(self, rows: slice, unit_ids: np.ndarray) -> np.ndarray:
        """What the scorers add to each beam for each unit."""
        if not self.scorers:
            return np.zeros((1, 1, 1))
        gains = np.zeros((*self.node[rows].shape, unit_ids.shape[1]))
        for row, nodes in enumerate(self.node[rows].tolist()):
            # A dead beam is scored like the empty prefix: its log probability stays -inf.
            states = [self.tree.states[node if node >= 0 else row] for node in nodes]
            for index, scorer in enumerate(self.scorers):
                gains[row] += scorer.gains([state[index] for state in states], unit_ids[row])
        return gains

    def _keep(
        self,
        rows: slice,
        scores: np.ndarray,
        stay_blank: np.ndarray,
        stay_unit: np.ndarray,
        grow: np.ndarray,
        gain: np.ndarray,
        unit_ids: np.ndarray,
    ) -> None:
        """Make the best candidates the new beams."""
        beam_size, num_listed = stay_blank.shape[1], unit_ids.shape[1]
        best = np.argpartition(-scores, beam_size - 1, axis=1)[:, :beam_size]
        alive = np.take_along_axis(scores, best, 1) > -np.inf
        grows = best >= beam_size
        source, unit = np.divmod(np.where(grows, best - beam_size, best * num_listed), num_listed)
        row = np.arange(len(best))[:, None]
        self.ends_blank[rows] = np.where(grows, -np.inf, stay_blank[row, source])
        self.ends_unit[rows] = np.where(grows, grow[row, source, unit], stay_unit[row, source])
        bonus = np.broadcast_to(gain, grow.shape)[row, source, unit]
        self.bonus[rows] = np.where(grows, bonus, self.bonus[rows][row, source])
        old = self.node[rows][row, source]
        self.parent[rows] = np.where(grows, old, self.parent[rows][row, source])
        self.last[rows] = np.where(grows, unit_ids[row, unit], self.last[rows][row, source])
        self.node[rows] = old
        self.node[rows][~alive], self.parent[rows][~alive] = NO_NODE, NO_PARENT
        new = (grows & alive).nonzero()
        pairs = zip(self.parent[rows][new].tolist(), self.last[rows][new].tolist(), strict=True)
        self.node[rows][new] = [self.tree.child(parent, last) for parent, last in pairs]

    def hypotheses(self, nbest: int) -> list[list[Hypothesis]]:
        """Best first, in the order of the batch."""
        found: list[list[Hypothesis]] = [[] for _ in self.order]
        log_probs = np.logaddexp(self.ends_blank, self.ends_unit)
        for row, utt in enumerate(self.order.tolist()):
            alive = (self.node[row] >= 0).nonzero()[0].tolist()
            nodes = {place: int(self.node[row, place]) for place in alive}
            scores = {
                place: float(log_probs[row, place] + self.bonus[row, place])
                + self.tree.finish(node)
                for place, node in nodes.items()
            }
            for place in sorted(alive, key=scores.__getitem__, reverse=True)[:nbest]:
                unit_ids = self.tree.unit_ids(nodes[place])
                found[utt].append(
                    Hypothesis(unit_ids, float(log_probs[row, place]), scores[place])
                )
        return found
