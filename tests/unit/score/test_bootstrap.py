import numpy as np
import pytest

from espnet_psslm.score.bootstrap import ratio_interval, resampled_sums


def terms(*columns):
    return np.stack(columns, axis=1)


def test_equal_utterances_have_no_width():
    low, high = ratio_interval(terms(np.full(7, 1), np.full(7, 4)), seed=0)
    assert low == high == 0.25


def test_same_seed_same_interval():
    errors, words = np.array([0, 1, 2, 0, 5]), np.array([4, 6, 5, 3, 7])
    first = ratio_interval(terms(errors, words), seed=3)
    assert first == ratio_interval(terms(errors, words), seed=3)
    assert first != ratio_interval(terms(errors, words), seed=4)
    assert first[0] < errors.sum() / words.sum() < first[1]


def test_agrees_with_the_normal_approximation():
    correct = np.repeat([1, 0], [300, 100])
    low, high = ratio_interval(terms(correct, np.ones(400)), seed=0, num_resamples=4000)
    half_width = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert abs(low - (0.75 - half_width)) < 0.005
    assert abs(high - (0.75 + half_width)) < 0.005


def test_resamples_utterances_as_a_plain_loop_would():
    errors, words = np.array([0, 1, 2, 0, 5]), np.array([4, 6, 5, 3, 7])
    rng = np.random.default_rng(5)
    picks = rng.integers(5, size=(100, 5))
    rates = [sum(errors[i] for i in row) / sum(words[i] for i in row) for row in picks]
    expected = np.percentile(rates, [2.5, 97.5])
    assert ratio_interval(terms(errors, words), seed=5, num_resamples=100) == pytest.approx(
        expected
    )


def test_a_resample_of_empty_references_is_left_out():
    low, high = ratio_interval(np.array([[0, 0], [1, 2]]), seed=0)
    assert (low, high) == (0.5, 0.5)


@pytest.mark.parametrize("num_utts", [0, 2])
def test_refuses_what_cannot_be_divided(num_utts):
    with pytest.raises(ValueError, match=f"{num_utts} utterances with sum 0"):
        ratio_interval(np.zeros((num_utts, 2)), seed=0)


def test_sums_equal_a_plain_loop():
    statistics = np.array([[1.0, 2.0], [0.0, 5.0], [3.0, 1.0]])
    rng = np.random.default_rng(4)
    picks = [rng.integers(3, size=3) for _ in range(6)]
    expected = [sum(statistics[i] for i in pick) for pick in picks]
    assert (
        resampled_sums(statistics, seed=4, num_resamples=6).tolist() == np.array(expected).tolist()
    )
