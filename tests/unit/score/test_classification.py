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


def test_case_and_punctuation_matter_to_labels_alone():
    refs, hyps = {"a": "north London"}, {"a": "North London."}
    assert accuracy(refs, hyps, seed=0).rate == 0
    exact = accuracy(refs, hyps, metric="exact", seed=0)
    assert (exact.metric, exact.rate) == ("exact", 1)
    # No space counts between characters that are written without any.
    spaced = {"a": "\u5317\u4eac"}, {"a": "\u5317 \u4eac\u3002"}
    assert accuracy(*spaced, metric="exact", language="zh", seed=0).rate == 1
    assert accuracy(*spaced, metric="exact", language="en", seed=0).rate == 0


def test_ties_go_to_the_first_in_the_alphabet():
    assert accuracy({"a": "z", "b": "c"}, {}, seed=0).majority_class == "c"


def test_nothing_to_score():
    with pytest.raises(ValueError, match="no references"):
        accuracy({}, {}, seed=0)
    with pytest.raises(ValueError, match="'b'"):
        accuracy({"a": "x"}, {"b": "x"}, seed=0)
