"""Distances between Steps, against plain sums over dense rows."""

import math

import numpy as np
import pytest
import torch

from espnet_psslm.bridge.distance import FLOOR, step_distance

NUM_UNITS = 6


def steps(*rows):
    """Rows of {unit: probability}; all rows list equally many units."""
    ids = torch.tensor([list(row) for row in rows]).reshape(len(rows), -1)
    return ids, torch.tensor([list(row.values()) for row in rows]).reshape(len(rows), -1)


def distance(real, simulated):
    return step_distance(real, simulated, num_units=NUM_UNITS)


def dense(row):
    rest = (1 - sum(row.values())) / (NUM_UNITS - len(row))
    return [row.get(unit, rest) for unit in range(NUM_UNITS)]


def entropy(row):
    return -sum(p * math.log2(p) for p in row if p > 0)


def test_values_of_one_pair():
    real, simulated = {1: 0.7, 2: 0.2, 0: 0.05}, {1: 0.9}
    found = distance(steps(real), steps(simulated))
    p, q = dense(real), dense(simulated)
    mean = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    expected = entropy(mean) - (entropy(p) + entropy(q)) / 2
    assert found.jensen_shannon == pytest.approx(expected, abs=1e-6)
    expected = -sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    assert found.cross_entropy == pytest.approx(expected, abs=1e-6)
    assert (found.argmax_agreement, found.edit_distance) == (1, 0)


def test_same_and_opposite():
    same = distance(steps({1: 1.0}, {2: 1.0}), steps({1: 1.0}, {2: 1.0}))
    assert (same.jensen_shannon, same.cross_entropy) == pytest.approx((0, 0), abs=1e-9)
    other = distance(steps({1: 1.0}), steps({2: 1.0}))
    assert other.jensen_shannon == pytest.approx(1)
    assert other.cross_entropy == pytest.approx(-math.log(FLOOR))
    assert (other.argmax_agreement, other.edit_distance) == (0, 1)


def test_only_pairs_are_compared_as_distributions():
    # 1 pairs with 1, 3 was heard for 2, 4 has no partner.
    real = steps({1: 1.0}, {3: 1.0}, {4: 1.0})
    simulated = steps({1: 1.0}, {2: 1.0})
    found = distance(real, simulated)
    assert (found.num_real, found.num_simulated) == (3, 2)
    assert found.argmax_agreement == pytest.approx(1 / 3)
    assert found.edit_distance == pytest.approx(2 / 3)
    assert found.jensen_shannon == pytest.approx(1 / 2)
    back = distance(simulated, real)
    assert (back.edit_distance, back.jensen_shannon) == pytest.approx((1, 1 / 2))


def test_stored_precision_and_order_of_units_do_not_matter():
    real = {1: 0.7, 2: 0.2, 0: 0.05}
    ids, probs = steps(real)
    half = distance((ids, probs.half().float()), steps({1: 0.9}))
    turned = distance((ids.flip(1), probs.flip(1)), steps({1: 0.9}))
    plain = distance((ids, probs), steps({1: 0.9}))
    assert half.jensen_shannon == pytest.approx(plain.jensen_shannon, abs=1e-3)
    assert turned == plain


@pytest.mark.parametrize(
    ("real", "simulated", "agreement", "edits"),
    [((), (), 1, 0), (({1: 1.0},), (), 0, 1), ((), ({1: 1.0}, {2: 1.0}), 0, 2)],
)
def test_empty_sides(real, simulated, agreement, edits):
    empty = torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, 1)
    sides = [steps(*side) if side else empty for side in (real, simulated)]
    found = distance(*sides)
    assert np.isnan(found.jensen_shannon) and np.isnan(found.cross_entropy)
    assert (found.argmax_agreement, found.edit_distance) == (agreement, edits)
