"""Posterior simulation: what a CTC model would have said, made from text alone.

TASU (arXiv 2511.03310) trains the projector on simulated posteriors; no audio is read. A
simulator turns the units of a transcript into rows that are one-hot up to a few units and a
uniform rest, i.e. into ``PosteriorSteps`` of one utterance.

Legend: U steps, K listed units per step, V units.
"""

from abc import ABC, abstractmethod

import numpy as np

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

    def __init__(self, num_units: int, *, blank_id: int) -> None:
        self.num_units = num_units
        self.blank_id = blank_id

    @abstractmethod
    def __call__(self, unit_ids: list[int], rng: np.random.Generator) -> Rows:
        """Draw one posterior.

        Args:
            unit_ids: units of the transcript, no blanks.
            rng: all randomness comes from here.

        Returns:
            ids (U, K) distinct within a row, probs (U, K), float32; empty only for empty text.
        """


class TASUSimulator(Simulator):
    """The published simulation ("CPS").

    One-hot rows are smoothed with one alpha per utterance, ``(1 - alpha) onehot + alpha / V``;
    rows are deleted; rows are inserted at random places, half of them a duplicate of the row
    before, half a pure blank.

    Args:
        num_units: V.
        blank_id: the CTC blank.
        max_smoothing: alpha is uniform in [0, max_smoothing].
        delete_prob: probability that a row is deleted; at least one row stays.
        insert_prob: share of insertions per remaining row.
    """

    def __init__(
        self,
        num_units: int,
        *,
        blank_id: int,
        max_smoothing: float = 0.1,
        delete_prob: float = 0.05,
        insert_prob: float = 0.0,
    ) -> None:
        super().__init__(num_units, blank_id=blank_id)
        self.max_smoothing = max_smoothing
        self.delete_prob = delete_prob
        self.insert_prob = insert_prob

    def __call__(self, unit_ids: list[int], rng: np.random.Generator) -> Rows:
        if not unit_ids:
            return one_hot_rows(unit_ids)
        alpha = rng.uniform(0.0, self.max_smoothing)
        ids = np.asarray(unit_ids, dtype=np.int64)
        stays = rng.random(len(ids)) >= self.delete_prob
        if not stays.any():
            stays[rng.integers(len(ids))] = True
        rows = [(unit, 1.0 - alpha + alpha / self.num_units) for unit in ids[stays]]
        for _ in range(int(len(rows) * self.insert_prob)):
            place = int(rng.integers(1, len(rows) + 1))
            duplicate = rng.random() < 0.5
            rows.insert(place, rows[place - 1] if duplicate else (self.blank_id, 1.0))
        return (
            np.array([[unit] for unit, _ in rows], dtype=np.int64),
            np.array([[prob] for _, prob in rows], dtype=np.float32),
        )


SIMULATORS = {"tasu": TASUSimulator}
