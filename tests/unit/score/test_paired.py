import numpy as np
import pytest

from espnet_psslm.score.error_rate import error_rate
from espnet_psslm.score.metrics import METRICS
from espnet_psslm.score.paired import compare

WORDS = "one two three four five six seven eight nine ten".split()
REFS = {f"u{i:02d}": " ".join(WORDS[: 4 + i % 6]) for i in range(40)}
# A leaves out the last word everywhere; B in every fourth utterance only.
A = {utt: text.rsplit(" ", 1)[0] for utt, text in REFS.items()}
B = {utt: A[utt] if i % 4 == 0 else text for i, (utt, text) in enumerate(REFS.items())}


def sides(metric):
    """References, A, B; of SLU_entities the words are those of an entity."""
    if metric != "slu":
        return REFS, A, B
    lines = ({utt: f"alarm | set | time: {t}" for utt, t in side.items()} for side in (REFS, A, B))
    return tuple(lines)


@pytest.mark.parametrize("metric", METRICS)
def test_a_better_system_is_found(metric):
    refs, a, b = sides(metric)
    result = compare(refs, a, b, metric=metric, seed=0)
    assert (result.difference < 0) == METRICS[metric].lower_is_better == (metric in ("wer", "cer"))
    assert result.ci95[0] <= result.difference <= result.ci95[1]
    assert result.probability_b_better == 1.0
    assert result.p_value < 0.01
    turned = compare(refs, b, a, metric=metric, seed=0)
    assert turned.difference == -result.difference
    assert turned.probability_b_better == 0.0
    assert turned.p_value == result.p_value


@pytest.mark.parametrize("metric", METRICS)
def test_a_system_does_not_differ_from_itself(metric):
    refs, a, _ = sides(metric)
    result = compare(refs, a, a, metric=metric, seed=0)
    assert (result.difference, result.ci95) == (0.0, (0.0, 0.0))
    assert (result.probability_b_better, result.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("metric", METRICS)
def test_rates_are_those_of_the_scorers(metric):
    refs, a, b = sides(metric)
    a = a | {"u07": "no answer"}
    result = compare(refs, a, b, metric=metric, seed=0)
    scores = [METRICS[metric].score(refs, hyps, language="en", seed=0) for hyps in (a, b)]
    assert [result.rate_a, result.rate_b] == pytest.approx([score.rate for score in scores])
    assert scores[0].rate != scores[1].rate


def test_pairing_is_narrower_than_two_intervals():
    result = compare(REFS, A, B, metric="wer", seed=0)
    apart = error_rate(REFS, A, unit="word", seed=0).ci95
    assert result.ci95[1] < 0 and result.ci95[1] - result.ci95[0] < 0.1
    assert apart[0] <= result.rate_a <= apart[1]


def test_small_differences_are_not_significant():
    hyps = dict(A)
    hyps["u03"] = REFS["u03"]
    assert compare(REFS, A, hyps, metric="accuracy", seed=0).p_value > 0.3


def test_resamples_of_empty_references_are_left_out():
    refs, hyps = {"a": "", "b": "x y"}, {"b": "x y"}
    result = compare(refs, {"b": "x"}, hyps, metric="wer", seed=0)
    assert np.isfinite(result.ci95).all()
    with pytest.raises(ValueError, match="have no words"):
        compare({"a": "."}, {}, {}, metric="wer", seed=0)
    with pytest.raises(ValueError, match="no references"):
        compare({}, {}, {}, metric="wer", seed=0)
