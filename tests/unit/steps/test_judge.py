"""Judging simulators: by hand on few rows."""

import math

import numpy as np
import pytest
import torch

from espnet_psslm.bridge.measure import measure
from espnet_psslm.bridge.simulate import MeasuredSimulator, TASUSimulator
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.steps.judge import Errors, Judgement, predicted_rows
from espnet_psslm.steps.learned import LearnedSimulator
from espnet_psslm.steps.simulation import Learned, Weights

V, BLANK = 8, 0
TEXT = [3, 4, 5]
BEGINS = [False, False, False, True, False, True, True, True]


def rows(labels, *, peak=0.9):
    """(U, 2): the label, and the unit beside it."""
    ids = torch.tensor([[label, (label + 1) % V] for label in labels])
    return ids, torch.tensor([[peak, 1 - peak]] * len(labels))


@pytest.fixture
def measured():
    """Half of the units 4 are heard as 6; nothing else is wrong but a blank step at the end."""
    heard = [
        (TEXT, *rows([3, 4, 5, BLANK])),
        (TEXT, *rows([3, 6, 5, BLANK])),
    ]
    numbers = measure(heard, num_units=V, blank_id=BLANK)
    return MeasuredSimulator(V, blank_id=BLANK, measured=numbers)


def test_a_rule_expects_the_next_unit_of_the_text():
    tasu = TASUSimulator(V, blank_id=BLANK)
    predicted = predicted_rows(tasu, TEXT, *rows([3, 4, 5]))
    assert predicted.argmax(1).tolist() == TEXT
    torch.testing.assert_close(predicted.sum(1), torch.ones(3))
    # 5 % are deleted, then comes the unit behind; smoothing takes 5 % at most 10, so 5 on average.
    assert predicted[0, 4] == pytest.approx(0.95 * 0.05 + 0.05 / V)
    assert predicted[2, 5] == pytest.approx(0.95 * 0.95 / (0.95 * 0.95 + 0.05) + 0, rel=0.02)


def test_what_was_skipped_or_put_in_moves_the_place_in_the_text():
    tasu = TASUSimulator(V, blank_id=BLANK)
    assert predicted_rows(tasu, TEXT, *rows([3, 5])).argmax(1).tolist() == [3, 4]
    after_extra = predicted_rows(tasu, TEXT, *rows([3, 7, 4, 5])).argmax(1).tolist()
    assert after_extra[0] == 3 and after_extra[-1] == 5
    after_blank = predicted_rows(tasu, TEXT, *rows([3, BLANK, 4, 5])).argmax(1).tolist()
    assert after_blank == [3, 4, 4, 5]


def test_measured_rates_are_expected(measured):
    """The mean of many drawn first rows is what is predicted for one."""
    predicted = predicted_rows(measured, TEXT, *rows([3, 4]))[1]
    assert predicted.sum() == pytest.approx(1.0)
    assert predicted[6] > 10 * predicted[7]
    rng = np.random.default_rng(0)
    mean = np.zeros(V)
    count = 0
    for _ in range(4000):
        ids, probs = measured([4], rng)
        if ids[0, 0] in (4, 6):
            row = np.full(V, (1 - probs[0].sum()) / (V - len(ids[0])))
            row[ids[0]] = probs[0]
            mean += row
            count += 1
    mean /= count
    simulated = mean[4] / (mean[4] + mean[6])
    assert float(predicted[4] / (predicted[4] + predicted[6])) == pytest.approx(simulated, abs=0.05)


def test_units_beside_which_nothing_was_measured_are_as_those_that_were_not_measured(measured):
    numbers = measured.measured | {"rivals": measured.measured["rivals"] | {3: [[5, 0.0]]}}
    simulator = MeasuredSimulator(V, blank_id=BLANK, measured=numbers)
    without = MeasuredSimulator(
        V,
        blank_id=BLANK,
        measured=numbers | {"rivals": {k: v for k, v in numbers["rivals"].items() if k != 3}},
    )
    predicted = predicted_rows(simulator, TEXT, *rows([3, 4, 5]))
    assert predicted.sum(1).tolist() == pytest.approx([1.0] * 3)
    torch.testing.assert_close(predicted, predicted_rows(without, TEXT, *rows([3, 4, 5])))


class OfTwoBins(Learned):
    """A learned simulator whose network is random."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.network = LearnedSimulator(
                V, num_bins=2, width=16, layers=1, heads=2, hidden=32
            ).eval()
        self.num_units, self.epoch = V, 0
        self.bins = {0: Weights.of({1: 3.0, 2: 1.0}, 2, "bins")}


def test_a_network_is_expected_to_go_on_as_the_bins_that_fit_the_rows_so_far():
    simulator, (ids, probs) = OfTwoBins(), rows([3, 6, 5])
    expected = []
    for place in range(3):
        of_bins = []
        for number, weight in ((1, 0.75), (2, 0.25)):
            steps = PosteriorSteps(ids[None], probs[None], torch.tensor([3]), V)
            log_rows = simulator.network(
                torch.tensor([TEXT]), torch.tensor([3]), steps, torch.tensor([number])
            ).units[0]
            likely = weight
            for before in range(place):
                likely *= log_rows[before, ids[before, 0]].exp()
            of_bins.append(likely * log_rows[place, :V].exp())
        row = sum(of_bins)
        expected.append(row / row.sum())
    torch.testing.assert_close(predicted_rows(simulator, TEXT, ids, probs), torch.stack(expected))


def test_cross_entropy_and_disagreement_by_hand():
    judgement = Judgement(Errors())
    predicted = torch.full((2, V), 0.05)
    predicted[0, 3] = predicted[1, 5] = 0.65
    judgement.add_predicted(predicted, *rows([3, 4]))
    judgement.add_predicted(predicted[:0], *rows([]))
    expected = [-(0.9 * math.log(0.65) + 0.1 * math.log(0.05))]
    expected.append(-(0.9 * math.log(0.05) + 0.1 * math.log(0.65)))
    figures = judgement.figures()
    assert figures["cross_entropy"] == pytest.approx(np.mean(expected))
    assert figures["disagreement"] == 0.5


def test_errors_are_counted_where_they_are():
    errors = Errors()
    errors.add([3, 4, 5, 6], [3, 7, 5, BLANK, 6, 1], blank_id=BLANK, begins_word=BEGINS)
    errors.add([3, 4, 5], [3, BLANK, 4, BLANK], blank_id=BLANK, begins_word=BEGINS)
    assert errors.errors == {(4, 7): 1, (None, 1): 1, (5, None): 1}
    figures = errors.figures()
    assert figures["error_rate"] == pytest.approx(3 / 7)
    assert figures["length_ratio"] == pytest.approx(10 / 7)
    assert figures["blanks_at_word_edges"] == pytest.approx(2 / 5)  # before 6, and at the end
    assert figures["blanks_inside_words"] == pytest.approx(1 / 2)  # before 4


def test_errors_that_come_together_say_something_of_each_other():
    alone, together = Errors(), Errors()
    for first in (False, True):
        for second in (False, True):
            labels = [7 if first else 3, 7 if second else 4]
            alone.add([3, 4], labels, blank_id=BLANK, begins_word=BEGINS)
        labels = [7, 7] if first else [3, 4]
        together.add([3, 4], labels, blank_id=BLANK, begins_word=BEGINS)
    assert alone.figures()["neighbour_information"] == pytest.approx(0.0)
    assert together.figures()["neighbour_information"] == pytest.approx(1.0)
    assert together.distance(together) == 0.0
    assert Errors().distance(together) == 1.0
    assert Errors().figures()["error_rate"] == 0.0
