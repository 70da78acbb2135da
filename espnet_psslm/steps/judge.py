"""How well a simulator knows what an acoustic model hears, judged on speech that both have not met.

Two kinds of figures. *Predicted*: given a text and the rows that were really heard so far, how
likely is the next row (teacher forced)? *Drawn*: what is drawn for the same texts, compared as a
whole with what was heard: which errors, whether they come together, how many rows and blanks.

Legend: L units of a text, U rows, V units.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from torch import Tensor

from espnet_psslm.bridge.measure import align
from espnet_psslm.bridge.simulate import MeasuredSimulator, TASUSimulator
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.steps.simulation import Learned

FLOOR = 1e-8  # least probability inside a logarithm


def predicted_rows(
    simulator: TASUSimulator | MeasuredSimulator | Learned,
    text_ids: Sequence[int],
    unit_ids: Tensor,
    probs: Tensor,
) -> Tensor:
    """What a simulator expects of each row, given the text and the rows before it.

    Args:
        simulator: any.
        text_ids: units of the text.
        unit_ids: (U, K), the rows that were heard, best unit first.
        probs: (U, K).

    Returns:
        (U, V), rows that sum to 1.
    """
    if isinstance(simulator, Learned):
        return _of_network(simulator, text_ids, unit_ids, probs)
    by_rule = _TASURows(simulator) if isinstance(simulator, TASUSimulator) else _Rows(simulator)
    rows = []
    spoken = 0  # units of the text that the rows so far have used up
    used = _used(text_ids, unit_ids[:, 0].tolist(), blank_id=simulator.blank_id)
    for after in used:
        rows.append(by_rule(text_ids, spoken))
        spoken = after
    return torch.stack(rows) if rows else torch.zeros(0, simulator.num_units)


def _of_network(
    simulator: Learned, text_ids: Sequence[int], unit_ids: Tensor, probs: Tensor
) -> Tensor:
    """Expected rows. The error bin is drawn, so each row is a mean over bins.

    How likely a bin is by then follows from its weight and from the rows before (Bayes).
    """
    weights = simulator.weights
    count = len(weights.bins)
    steps = PosteriorSteps(
        unit_ids.expand(count, -1, -1),
        probs.expand(count, -1, -1),
        torch.full((count,), len(unit_ids)),
        simulator.num_units,
    )
    with torch.no_grad():
        predicted = simulator.network(
            torch.tensor([list(text_ids)] * count),
            torch.full((count,), len(text_ids)),
            steps,
            torch.tensor(weights.bins),
        )
    log_rows = predicted.units[:, : len(unit_ids)].double()
    of_best = log_rows.gather(2, steps.unit_ids[..., :1])[..., 0]
    before = of_best.cumsum(1) - of_best
    bins = (torch.from_numpy(weights.each).log()[:, None] + before).softmax(0)
    rows = (bins[..., None] * log_rows[..., : simulator.num_units].exp()).sum(0)
    return (rows / rows.sum(1, keepdim=True)).float()  # that it goes on is known: rules know no end


def _used(text_ids: Sequence[int], labels: Sequence[int], *, blank_id: int) -> list[int]:
    """After each row, how many units of the text are used up."""
    spoken = [row for row, label in enumerate(labels) if label != blank_id]
    reached = dict.fromkeys(spoken, 0)
    place = 0
    for kind, _, row in align(list(text_ids), [labels[row] for row in spoken]):
        place += kind != "insert"
        if row is not None:
            reached[spoken[row]] = place
    used, last = [], 0
    for row in range(len(labels)):
        last = reached.get(row, last)
        used.append(last)
    return used


class _Rows:
    """Expected rows of ``MeasuredSimulator``, whose rates do not depend on what was heard."""

    def __init__(self, simulator: MeasuredSimulator) -> None:
        measured, scale = simulator.measured, simulator.error_scale
        self.simulator = simulator
        self.blank = measured["blank_rate"]
        self.insert = measured["insert_rate"] * scale
        self.delete = min(measured["delete_rate"] * scale, 1.0)
        self.substitute = measured["substitute_rate"] * scale
        self.peaks = {
            name: float(np.mean(values)) for name, (_, values) in simulator.quantiles.items()
        }
        self.shares = measured["rival_share"], measured["blank_share"]

    def __call__(self, text_ids: Sequence[int], spoken: int) -> Tensor:
        """(V,), the next row behind so many units."""
        last = text_ids[max(spoken - 1, 0)]
        following = [text_ids[i] for i in (spoken, spoken + 1) if i < len(text_ids)]
        extra, blank = self.insert, self.blank
        total = 1.0 + extra + blank  # rows per unit that is spoken
        unit = sum(
            share * self._unit(unit)
            for share, unit in zip((1.0 - self.delete, self.delete), following, strict=False)
        )
        if not len(following):
            unit = self._unit(last)
        row = (
            unit
            + extra * self._around(self._rivals(last), "wrong_peaks")
            + blank * self._around(self._one(self.simulator.blank_id), "blank_peaks")
        ) / total
        return row / row.sum()

    def _unit(self, unit: int) -> Tensor:
        right = self._around(self._one(unit), "peaks", rival=self._rivals(unit))
        wrong = self._around(self._rivals(unit), "wrong_peaks", rival=self._one(unit))
        return (1.0 - self.substitute) * right + self.substitute * wrong

    def _around(self, best: Tensor, peaks: str, *, rival: Tensor | None = None) -> Tensor:
        peak = self.peaks[peaks]
        left = 1.0 - peak
        row = peak * best + left * self.shares[1] * self._one(self.simulator.blank_id)
        if rival is not None:
            row = row + left * self.shares[0] * rival
        return row + (1.0 - row.sum()) / len(row)

    def _rivals(self, unit: int) -> Tensor:
        row = torch.full((self.simulator.num_units,), 0.0)
        if unit not in self.simulator.rivals:
            return torch.full_like(row, 1.0 / len(row))
        units, weights = self.simulator.rivals[unit]
        row[units] = torch.tensor(np.diff(weights, prepend=0.0) / weights[-1], dtype=row.dtype)
        return row

    def _one(self, unit: int) -> Tensor:
        row = torch.zeros(self.simulator.num_units)
        row[unit] = 1.0
        return row


class _TASURows:
    """Expected rows of ``TASUSimulator`` without insertions."""

    def __init__(self, simulator: TASUSimulator) -> None:
        self.simulator = simulator

    def __call__(self, text_ids: Sequence[int], spoken: int) -> Tensor:
        """(V,), the next row behind so many units."""
        alpha = self.simulator.max_smoothing / 2
        row = torch.full((self.simulator.num_units,), alpha / self.simulator.num_units)
        following = [text_ids[i] for i in (spoken, spoken + 1) if i < len(text_ids)]
        delete = self.simulator.delete_prob
        for share, unit in zip((1 - delete, delete), following or text_ids[-1:], strict=False):
            row[unit] += (1 - alpha) * share
        return row / row.sum()


@dataclass
class Errors:
    """What becomes of units of texts, over many utterances."""

    errors: Counter = field(default_factory=Counter)  # (unit or None, heard or None)
    pairs: Counter = field(default_factory=Counter)  # (wrong, next one wrong)
    num_units: int = 0
    num_rows: int = 0
    blanks: Counter = field(default_factory=Counter)  # whether at a word's edge
    edges: int = 0  # units that begin a word

    def add(
        self,
        text_ids: Sequence[int],
        labels: Sequence[int],
        *,
        blank_id: int,
        begins_word: Sequence[bool],
    ) -> None:
        """Count an utterance.

        Args:
            text_ids: its units.
            labels: best unit of each row.
            blank_id: the CTC blank.
            begins_word: (V,), of each unit.
        """
        spoken = [label for label in labels if label != blank_id]
        wrong = []
        for kind, unit, row in align(list(text_ids), spoken):
            if kind == "insert":
                self.errors[None, unit] += 1
                continue
            wrong.append(kind != "equal")
            if kind == "substitute":
                self.errors[unit, spoken[row]] += 1
            elif kind == "delete":
                self.errors[unit, None] += 1
        self.pairs.update(zip(wrong, wrong[1:], strict=False))
        self.num_units += len(text_ids)
        self.num_rows += len(labels)
        self.edges += sum(begins_word[unit] for unit in text_ids)
        for row, label in enumerate(labels):
            if label == blank_id:
                following = labels[row + 1 :]
                at_edge = not following or begins_word[following[0]]
                self.blanks[at_edge] += 1

    def distance(self, other: Self) -> float:
        """Total variation between the distributions of errors, in [0, 1]."""
        if not self.errors or not other.errors:
            return float(bool(self.errors) != bool(other.errors))
        shares = [
            {error: count / counts.total() for error, count in counts.items()}
            for counts in (self.errors, other.errors)
        ]
        every = shares[0].keys() | shares[1].keys()
        return 0.5 * sum(abs(shares[0].get(e, 0.0) - shares[1].get(e, 0.0)) for e in every)

    def figures(self) -> dict[str, float]:
        """Rates per unit of text, and mutual information of neighbouring errors in bits."""
        inside = max(self.num_units - self.edges, 1)
        return {
            "error_rate": self.errors.total() / max(self.num_units, 1),
            "neighbour_information": _mutual_information(self.pairs),
            "length_ratio": self.num_rows / max(self.num_units, 1),
            "blanks_at_word_edges": self.blanks[True] / max(self.edges, 1),
            "blanks_inside_words": self.blanks[False] / inside,
        }


@dataclass
class Judgement:
    """Sums over utterances.

    Args:
        heard: errors of what was heard, which all simulators of the same speech share.
    """

    heard: Errors
    cross_entropies: list[float] = field(default_factory=list)  # nats, one a row
    agreements: list[bool] = field(default_factory=list)  # of the likeliest unit, one a row
    drawn: Errors = field(default_factory=Errors)

    def add_predicted(self, predicted: Tensor, unit_ids: Tensor, probs: Tensor) -> None:
        """Count an utterance: (U, V) and the rows that were heard (U, K)."""
        if not len(unit_ids):
            return
        lengths = torch.tensor([len(unit_ids)])
        real = PosteriorSteps(unit_ids[None], probs[None], lengths, predicted.shape[1]).dense()[0]
        entropy = -(real * predicted.clamp_min(FLOOR).log()).sum(1)
        self.cross_entropies += entropy.tolist()
        self.agreements += (predicted.argmax(1) == unit_ids[:, 0]).tolist()

    def figures(self) -> dict[str, float]:
        """By name; those of what was heard begin with ``heard_``."""
        return {
            "cross_entropy": float(np.mean(self.cross_entropies)),
            "disagreement": 1.0 - float(np.mean(self.agreements)),
            "confusion_distance": self.heard.distance(self.drawn),
            **{f"heard_{name}": value for name, value in self.heard.figures().items()},
            **self.drawn.figures(),
        }


def _mutual_information(pairs: Counter) -> float:
    """Of two neighbours, whether the one is wrong says this much of the other; bits."""
    total = pairs.total()
    if not total:
        return 0.0
    first, second = Counter(), Counter()
    for (one, two), count in pairs.items():
        first[one] += count
        second[two] += count
    return sum(
        count / total * math.log2(count * total / (first[one] * second[two]))
        for (one, two), count in pairs.items()
    )
