import numpy as np
import pytest
import sacrebleu

from espnet_psslm.score.translation import build_metric, rates_of_sums, segment_statistics
from espnet_psslm.score.translation import translation_score as score

REFS = {
    "a": "The cat sat on the mat.",
    "b": "It's raining in the old town today.",
    "c": "Please close the window before you go.",
}
HYPS = {"a": "The cat sat on a mat.", "b": "It rains in the old town today .", "c": ""}
ZH_REFS = {"a": "今天天气很好，我们去公园。", "b": "他们在学校学习中文。"}
ZH_HYPS = {"a": "今天天气很好我们去学校。", "b": "他们在学校学中文。"}


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_equals_sacrebleu(metric):
    ours = score(REFS, HYPS, metric=metric, language="en", seed=0)
    function = getattr(sacrebleu, f"corpus_{metric}")
    theirs = function(list(HYPS.values()), [list(REFS.values())])
    assert 100 * ours.rate == pytest.approx(theirs.score, abs=1e-12)
    assert ours.ci95[0] <= ours.rate <= ours.ci95[1]
    assert (ours.num_utts, ours.num_missing) == (3, 0)
    assert ("(BP = " in ours.verbose) == (metric == "bleu")


def test_signature_names_the_tokeniser():
    assert "|tok:13a|" in score(REFS, HYPS, metric="bleu", language="de", seed=0).signature
    zh = score(ZH_REFS, ZH_HYPS, metric="bleu", language="zh-CN", seed=0)
    assert "|tok:zh|" in zh.signature and "version:" in zh.signature
    assert "|tok:char|" in score(ZH_REFS, ZH_HYPS, metric="bleu", language="ja", seed=0).signature
    yue = score(ZH_REFS, ZH_HYPS, metric="bleu", language="yue", seed=0)
    assert (yue.rate, "|tok:zh|" in yue.signature) == (zh.rate, True)
    assert "|tok:char|" in score(ZH_REFS, ZH_HYPS, metric="bleu", language="th", seed=0).signature
    wrong = score(ZH_REFS, ZH_HYPS, metric="bleu", language="en", seed=0)
    assert zh.rate > 0.4 > wrong.rate  # as words there is next to nothing in common


def test_case_and_punctuation_count():
    refs, lower = {"a": "Der Hund schläft im Haus."}, {"a": "der hund schläft im haus"}
    assert score(refs, refs, metric="bleu", language="de", seed=0).rate == pytest.approx(1.0)
    assert score(refs, lower, metric="bleu", language="de", seed=0).rate < 0.5


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_statistics_of_a_resample_score_as_the_texts_do(metric):
    scorer = build_metric(metric, "en")
    refs, hyps = list(REFS.values()), list(HYPS.values())
    of_utts = segment_statistics(scorer, refs, hyps)
    picks = [0, 0, 1]
    summed = rates_of_sums(scorer, of_utts[picks].sum(axis=0, keepdims=True))
    drawn = scorer.corpus_score([hyps[i] for i in picks], [[refs[i] for i in picks]])
    assert 100 * summed[0] == pytest.approx(drawn.score, abs=1e-9)
    assert np.isfinite(rates_of_sums(scorer, of_utts[2:])).all()  # an empty answer alone


def test_missing_and_unknown():
    assert score(REFS, {"a": "x"}, metric="bleu", language="en", seed=0).num_missing == 2
    with pytest.raises(ValueError, match="no references"):
        score({}, {}, metric="bleu", language="en", seed=0)
    with pytest.raises(ValueError, match="'z'"):
        score(REFS, {"z": "x"}, metric="chrf", language="en", seed=0)
