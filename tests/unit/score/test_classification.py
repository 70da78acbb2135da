import pytest

from espnet_psslm.score.classification import accuracy


def test_by_hand():
    refs = {"a": "alarm", "b": "alarm", "c": "music", "d": "email"}
    hyps = {"a": "alarm ", "b": "music", "c": "musical"}  # d is missing
    score = accuracy(refs, hyps, seed=0)
    assert (score.num_correct, score.num_utts, score.num_missing) == (1, 4, 1)
    assert score.rate == 0.25
    assert (score.majority_class, score.majority_rate) == ("alarm", 0.5)
    assert score.num_classes == 3
    assert score.num_outside == 2  # "musical" and the missing one
    assert score.ci95[0] <= 0.25 <= score.ci95[1]


def test_case_matters():
    assert accuracy({"a": "alarm"}, {"a": "Alarm"}, seed=0).rate == 0


def test_ties_go_to_the_first_in_the_alphabet():
    assert accuracy({"a": "z", "b": "c"}, {}, seed=0).majority_class == "c"


def test_nothing_to_score():
    with pytest.raises(ValueError, match="no references"):
        accuracy({}, {}, seed=0)
    with pytest.raises(ValueError, match="'b'"):
        accuracy({"a": "x"}, {"b": "x"}, seed=0)
