import pytest

from espnet_psslm.score.error_rate import count_errors, error_rate


def test_words_by_hand():
    refs = {"a": "turn on the light", "b": "play jazz", "c": "stop"}
    # a: "on" deleted, "light" -> "lights"; b: "some" inserted; c: missing, one deletion
    hyps = {"a": "turn the lights", "b": "play some jazz"}
    score = error_rate(refs, hyps, unit="word", seed=0)
    assert (score.num_sub, score.num_del, score.num_ins) == (1, 2, 1)
    assert (score.num_ref, score.num_utts, score.num_missing) == (7, 3, 1)
    assert score.rate == 4 / 7
    assert score.ci95[0] <= score.rate <= score.ci95[1]
    assert score.as_dict()["metric"] == "wer"


def test_characters_by_hand():
    score = error_rate({"a": "abcd"}, {"a": "abxde"}, unit="char", seed=0)
    # abcd -> abxde: one substitution or insertion each way, two edits in all
    assert score.num_sub + score.num_del + score.num_ins == 2
    assert score.num_ref == 4
    assert score.rate == 0.5


def test_both_sides_are_normalised():
    score = error_rate({"a": "Don't stop,  now!"}, {"a": "don't stop now"}, unit="word", seed=0)
    assert score.rate == 0


def test_counts_one_row_per_utterance_and_takes_empty_references():
    counts = count_errors(["", "a b"], ["x y z", ""], unit="word")
    assert counts.tolist() == [[0, 0, 3, 0], [0, 2, 0, 2]]


def test_unknown_hypothesis_is_named():
    with pytest.raises(ValueError, match="1 hypotheses have no reference, e.g. 'b'"):
        error_rate({"a": "x"}, {"a": "x", "b": "y"}, unit="word", seed=0)


def test_no_reference_words():
    with pytest.raises(ValueError, match="1 references have no words"):
        error_rate({"a": "..."}, {"a": "x"}, unit="word", seed=0)
