"""Measured simulation: hand-drawn Steps in, their rates out, and the same rates drawn again."""

import numpy as np
import pytest
import torch

from espnet_psslm.bridge.measure import measure
from espnet_psslm.bridge.simulate import MeasuredSimulator

BLANK, A, B, C = 0, 1, 2, 3
NUM_UNITS = 6


def steps(*rows):
    """Rows of (best unit, its probability, second unit, its probability)."""
    ids = torch.tensor([[best, second] for best, _, second, _ in rows])
    probs = torch.tensor([[p, q] for _, p, _, q in rows])
    return ids.reshape(-1, 2), probs.reshape(-1, 2)


def measured_by_hand():
    utterances = [
        # a right, b heard as c, a blank-labelled step, a right, then an extra b
        ([A, B, A], *steps((A, 0.8, BLANK, 0.1), (C, 0.6, B, 0.3), (BLANK, 0.7, A, 0.2),
                           (A, 0.8, BLANK, 0.1), (B, 0.4, C, 0.3))),
        ([B, C], *steps((B, 0.9, A, 0.08))),  # c has no step
        ([C], *steps()),  # an empty reduction
    ]  # fmt: skip
    return measure(utterances, num_units=NUM_UNITS, blank_id=BLANK)


def test_hand_drawn_rates():
    result = measured_by_hand()
    assert result["num_aligned"] == 6
    # one event more than was seen, of six units
    assert result["substitute_rate"] == pytest.approx(2 / 6)
    assert result["delete_rate"] == pytest.approx(3 / 6)
    assert result["insert_rate"] == pytest.approx(2 / 6)
    assert result["blank_rate"] == pytest.approx(1 / 6)
    assert result["peaks"][0] == pytest.approx(0.8) and result["peaks"][-1] == pytest.approx(0.9)
    assert result["wrong_peaks"][0] == pytest.approx(0.4)
    assert result["blank_peaks"] == pytest.approx([0.7] * 21)
    # mass beside the peak: twice half of 0.2 on blank, once 0.8 of 0.1 on the rival
    assert result["blank_share"] == pytest.approx(1 / 3)
    assert result["rival_share"] == pytest.approx(0.8 / 3)
    assert result["rivals"][B] == [[C, 1.0], [A, 0.08]]
    # two errors of three units, one of two, one of one
    assert result["error_bins"] == {3: 1.0}


def test_bins_of_the_error_rate():
    sure = steps(*[(A, 0.9, B, 0.1)] * 10)
    few, many, between = [A] * 10, [*[A] * 8, B, B], [*[A] * 19, B]
    heard = [(few, *sure)] * 3 + [(many, *sure)]
    heard.append((between, *steps(*[(A, 0.9, B, 0.1)] * 18, (C, 0.9, B, 0.1))))
    result = measure(heard, num_units=NUM_UNITS, blank_id=BLANK)
    assert result["error_bins"] == {1: 0.6, 2: 0.4}


def test_steps_that_are_all_sure_say_nothing_of_the_rest():
    sure = ([A], *steps((A, 0.9999, BLANK, 0.0001)))
    result = measure([sure], num_units=NUM_UNITS, blank_id=BLANK)
    assert (result["blank_share"], result["rival_share"]) == (0.5, 0.25)


def test_no_agreement_is_an_error():
    with pytest.raises(ValueError, match="no step agrees"):
        measure([([A], *steps((B, 0.9, A, 0.1)))], num_units=NUM_UNITS, blank_id=BLANK)


def simulator(num_units=40, **changes):
    numbers = {
        "num_units": num_units, "peaks": [0.6, 0.9, 1.0], "wrong_peaks": [0.3, 0.6],
        "blank_peaks": [0.5, 0.9], "blank_rate": 0.09, "blank_share": 0.5, "rival_share": 0.3,
        "delete_rate": 0.03, "insert_rate": 0.02, "substitute_rate": 0.05,
        "rivals": {5: [[6, 1.0]]},
    }  # fmt: skip
    return MeasuredSimulator(num_units, blank_id=BLANK, measured=numbers | changes)


def test_rows_are_posteriors():
    draw = simulator()
    rng = np.random.default_rng(0)
    for _ in range(200):
        ids, probs = draw([5, 7, 8, 9, 5], rng)
        assert ids.shape == probs.shape and ids.shape[1] == 3
        assert all(len(set(row)) == 3 for row in ids.tolist())
        assert (probs >= 0).all() and (probs.sum(1) <= 1 + 1e-6).all()


def test_measuring_a_simulation_finds_its_rates():
    draw = simulator()
    rng = np.random.default_rng(1)
    texts = [list(rng.integers(1, 40, size=8)) for _ in range(1500)]
    texts = [[int(unit) for unit in text] for text in texts]
    again = measure(
        ((text, *map(torch.from_numpy, draw(text, rng))) for text in texts),
        num_units=40, blank_id=BLANK,
    )  # fmt: skip
    for name in ("delete_rate", "insert_rate", "substitute_rate", "blank_rate"):
        assert again[name] == pytest.approx(draw.measured[name], rel=0.15), name
    assert again["peaks"][10] == pytest.approx(0.9, abs=0.03)
    assert again["blank_share"] == pytest.approx(0.5, abs=0.02)
    assert again["rival_share"] == pytest.approx(0.3, abs=0.02)


def test_error_scale_zero_keeps_every_unit_and_text_never_vanishes():
    quiet = MeasuredSimulator(
        40, blank_id=BLANK, measured=simulator().measured | {"blank_rate": 0.0}, error_scale=0.0
    )
    ids, _ = quiet([5, 6, 7], np.random.default_rng(0))
    assert ids[:, 0].tolist() == [5, 6, 7]
    deaf = simulator(delete_rate=1.0, insert_rate=0.0, blank_rate=0.0)
    assert len(deaf([5, 6, 7], np.random.default_rng(0))[0]) == 1
    assert deaf([], np.random.default_rng(0))[0].shape == (0, 1)


def test_blank_steps_where_all_spare_mass_was_on_blank():
    draw = simulator(blank_share=1.0, rival_share=0.0, blank_rate=1.0)
    ids, probs = draw([5, 7], np.random.default_rng(0))
    blank = ids[:, 0] == BLANK
    assert blank.sum() == 2
    np.testing.assert_allclose(probs[blank, :2].sum(1), 1.0, atol=1e-6)


def test_measured_on_other_units_or_incomplete():
    with pytest.raises(ValueError, match="of 40 units, the vocabulary has 41"):
        MeasuredSimulator(41, blank_id=BLANK, measured=simulator().measured)
    with pytest.raises(ValueError, match="lacks .*'peaks'"):
        MeasuredSimulator(40, blank_id=BLANK, measured={"num_units": 40})
