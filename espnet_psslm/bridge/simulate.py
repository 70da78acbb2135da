"""Posterior simulation: what a CTC model would have said, made from text alone.

TASU (arXiv 2511.03310) trains the projector on simulated posteriors; no audio is read. A
simulator turns the units of a transcript into rows that are one-hot up to a few units and a
uniform rest, i.e. into ``PosteriorSteps`` of one utterance.

Legend: U steps, K listed units per step, V units.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.random import Generator

Rows = tuple[np.ndarray, np.ndarray]  # unit ids (U, K) and probs (U, K)


def one_hot_rows(unit_ids: list[int]) -> Rows:
    """The noise-free posterior of a transcript: one sure step per unit."""
    ids = np.asarray(unit_ids, dtype=np.int64).reshape(-1, 1)
    return ids, np.ones(ids.shape, dtype=np.float32)


class Simulator(ABC):
    """Makes the rows of one utterance from the units of its transcript.

    Args:
        num_units: V.
        blank_id: the CTC blank.
    """

    writes_together = False  # many texts at once are far faster: see ``Learned.together``
    epoch = 0  # of training, counted from 1; 0 in validation
    made: Mapping[str, Any] = MappingProxyType({})  # of the Steps that it imitates: steps/made

    def __init__(self, num_units: int, *, blank_id: int) -> None:
        self.num_units = num_units
        self.blank_id = blank_id

    @abstractmethod
    def __call__(self, unit_ids: list[int], rng: Generator) -> Rows:
        """Draw one posterior.

        Args:
            unit_ids: units of the transcript, no blanks.
            rng: all randomness comes from here.

        Returns:
            ids (U, K) distinct within a row, probs (U, K), float32; empty only for empty text.
        """

    def together(self, texts: Sequence[list[int]], rngs: Iterable[Generator]) -> list[Rows]:
        """What the call gives for each of many texts.

        Args:
            texts: units of each.
            rngs: the randomness of each, asked for one after the other.
        """
        return [self(text, rng) for text, rng in zip(texts, rngs, strict=True)]


class TASUSimulator(Simulator):
    """The published simulation ("CPS").

    One-hot rows are smoothed with one alpha per utterance, ``(1 - alpha) onehot + alpha / V``;
    rows are deleted; rows are inserted at random places, half of them a duplicate of the row
    before, the others a pure blank.

    Args:
        num_units: V.
        blank_id: the CTC blank.
        max_smoothing: alpha is uniform in [0, max_smoothing].
        delete_prob: probability that a row is deleted; at least one row stays.
        insert_prob: share of insertions per remaining row.
        duplicate_prob: probability that an insertion is a duplicate, not a blank.
    """

    def __init__(
        self,
        num_units: int,
        *,
        blank_id: int,
        max_smoothing: float = 0.1,
        delete_prob: float = 0.05,
        insert_prob: float = 0.0,
        duplicate_prob: float = 0.5,
    ) -> None:
        super().__init__(num_units, blank_id=blank_id)
        self.max_smoothing = max_smoothing
        self.delete_prob = delete_prob
        self.insert_prob = insert_prob
        self.duplicate_prob = duplicate_prob

    def __call__(self, unit_ids: list[int], rng: Generator) -> Rows:
        """Draw one posterior; see ``Simulator``."""
        if not unit_ids:
            return one_hot_rows(unit_ids)
        alpha = self.max_smoothing * rng.random()
        prob = 1.0 - alpha + alpha / self.num_units
        ids = np.asarray(unit_ids, dtype=np.int64)
        kept = ids[rng.random(len(ids)) >= self.delete_prob]
        if not len(kept):
            kept = ids[rng.integers(len(ids))][None]
        num_inserted = int(len(kept) * self.insert_prob)
        if not num_inserted:
            return kept[:, None], np.full((len(kept), 1), prob, dtype=np.float32)
        rows = [(unit, prob) for unit in kept]
        for _ in range(num_inserted):
            place = int(rng.integers(1, len(rows) + 1))
            duplicate = rng.random() < self.duplicate_prob
            rows.insert(place, rows[place - 1] if duplicate else (self.blank_id, 1.0))
        return (
            np.array([[unit] for unit, _ in rows], dtype=np.int64),
            np.array([[prob] for _, prob in rows], dtype=np.float32),
        )


class MeasuredSimulator(Simulator):
    """Makes the errors that an acoustic model was measured to make (stage 9).

    The published simulation has neither the blank-labelled steps that survive reduction, nor soft
    peaks, nor wrong units; a bridge trained on it stumbles over all three in real posteriors. Each
    is drawn here at the rate, and with the probabilities, found on development speech.

    Args:
        num_units: V.
        blank_id: the CTC blank.
        measured: what ``bridge.measure.measure`` returns.
        error_scale: multiplies the rates of wrong, missing and extra units; above 1 for speech
            that is harder than what was measured.

    Raises:
        ValueError: if ``measured`` lacks a number, or was measured on other units.
    """

    NUMBERS = (
        "num_units", "peaks", "wrong_peaks", "blank_peaks", "blank_rate", "blank_share",
        "rival_share", "delete_rate", "insert_rate", "substitute_rate", "rivals",
    )  # fmt: skip

    def __init__(
        self, num_units: int, *, blank_id: int, measured: dict, error_scale: float = 1.0
    ) -> None:
        super().__init__(num_units, blank_id=blank_id)
        if missing := [name for name in self.NUMBERS if name not in measured]:
            raise ValueError(f"simulator_conf.measured lacks {missing}: run stage 9 again")
        if measured["num_units"] != num_units:
            raise ValueError(
                f"simulator_conf.measured is of {measured['num_units']} units, the vocabulary has "
                f"{num_units}: run stage 9 again"
            )
        self.measured = measured
        self.made = measured.get("made", {})
        self.error_scale = error_scale
        self.quantiles = {  # of evenly spaced shares
            name: (np.linspace(0, 1, len(measured[name])), np.asarray(measured[name], float))
            for name in ("peaks", "wrong_peaks", "blank_peaks")
        }
        self.rivals = {
            int(unit): ([int(u) for u, _ in rows], np.cumsum([float(w) for _, w in rows]))
            for unit, rows in measured["rivals"].items()
            if any(w > 0.0 for _, w in rows)  # half precision may leave nothing beside a sure unit
        }

    def __call__(self, unit_ids: list[int], rng: Generator) -> Rows:
        """Draw one posterior; at most one substitution, insertion and blank step per unit."""
        rows: list[tuple[list[int], list[float]]] = []
        m, scale = self.measured, self.error_scale
        for unit in unit_ids:
            fate = rng.random()
            if fate >= m["delete_rate"] * scale:
                wrong = fate < (m["delete_rate"] + m["substitute_rate"]) * scale
                rows.append(self._step(unit, wrong=wrong, rng=rng))
            if rng.random() < m["insert_rate"] * scale:
                extra = self._other(unit, rng)
                rows.append(self._step(extra, wrong=False, rng=rng, peaks="wrong_peaks"))
            if rng.random() < m["blank_rate"]:
                rows.append(self._row(self.blank_id, unit, self._draw("blank_peaks", rng)))
        if not rows:  # every unit was deleted: an utterance keeps a step, as text keeps a word
            rows = [self._step(unit, wrong=False, rng=rng) for unit in unit_ids[:1]]
        if not rows:
            return one_hot_rows([])
        ids, probs = zip(*rows, strict=True)
        return np.array(ids, dtype=np.int64), np.array(probs, dtype=np.float32)

    def _draw(self, name: str, rng: Generator) -> float:
        """A value from a distribution stored as evenly spaced quantiles."""
        return float(np.interp(rng.random(), *self.quantiles[name]))

    def _other(self, unit: int, rng: Generator) -> int:
        """A unit that is heard in place of this one: measured, else any."""
        if unit in self.rivals:
            units, weights = self.rivals[unit]
            return units[int(np.searchsorted(weights, rng.random() * weights[-1]))]
        other = int(rng.integers(self.num_units))
        while other in (unit, self.blank_id):
            other = int(rng.integers(self.num_units))
        return other

    def _step(
        self, unit: int, *, wrong: bool, rng: Generator, peaks: str = "peaks"
    ) -> tuple[list[int], list[float]]:
        rival = self._other(unit, rng)
        best, second = (rival, unit) if wrong else (unit, rival)
        return self._row(best, second, self._draw("wrong_peaks" if wrong else peaks, rng))

    def _row(self, best: int, second: int, peak: float) -> tuple[list[int], list[float]]:
        """Best unit, second unit and blank; what they leave is spread over all others."""
        left = 1.0 - peak
        if best == self.blank_id:
            # The third slot takes any unit that is free, at the probability it has anyway.
            third = next(u for u in range(self.num_units) if u not in (best, second))
            spare = 1.0 - self.measured["blank_share"]  # of what a unit's step leaves
            to_second = left * (self.measured["rival_share"] / spare if spare > 0.0 else 1.0)
            return [best, second, third], [
                peak, to_second, (left - to_second) / (self.num_units - 2),
            ]  # fmt: skip
        shares = self.measured["rival_share"], self.measured["blank_share"]
        return [best, second, self.blank_id], [peak, left * shares[0], left * shares[1]]
