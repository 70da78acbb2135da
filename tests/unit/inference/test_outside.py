"""What is outside of what a model knows: evidence, threshold, file; drawn by hand."""

import math

import pytest

from espnet_psslm.bridge.clarity import Clarity
from espnet_psslm.inference import outside
from espnet_psslm.inference.outside import (
    Familiarity,
    calibrate,
    confidence,
    pairs_of,
    transcript_confidence,
    word_pairs,
)
from espnet_psslm.llm.answers import Hypothesis

CLEAR = Clarity(3 * math.log(0.9), 3)


PAIRS = pairs_of(["turn on the light", "turn it off"])


def transcript(text="turn on the light", heard=CLEAR):
    return Hypothesis(text, (5, 6, 7), -0.4, 4, heard=heard)


def clear(probability):
    return Clarity(3 * math.log(probability), 3)


def test_word_pairs():
    assert word_pairs("Stop!") == ["<s> stop", "stop </s>"]
    assert word_pairs("开灯") == ["<s> 开", "开 灯", "灯 </s>"]
    assert word_pairs("") == ["<s> </s>"]
    assert pairs_of(["a b", "a b a"]) == {"<s> a", "a b", "b </s>", "b a", "a </s>"}


def test_a_text_of_no_small_domain(monkeypatch):
    monkeypatch.setattr(outside, "MAX_PAIRS", 4)
    assert len(pairs_of(["a b c"])) == 4
    with pytest.raises(ValueError, match="5 different pairs of words, more than 4: .*_share 0"):
        pairs_of(["a b c d"])


def test_confidence_grows_with_both():
    assert confidence(heard=1.0, known=1.0) == 1.0
    for worse in ({"heard": 0.5, "known": 0.9}, {"heard": 0.9, "known": 0.5}):
        assert 0.0 <= confidence(**worse) < confidence(heard=0.9, known=0.9) < 1.0


def test_evidence_of_a_transcript():
    for text, known in (("Turn on the light.", 1.0), ("turn on it off", 4 / 5), ("go home", 0.0)):
        found = transcript_confidence(transcript(text), PAIRS)
        assert found == pytest.approx(confidence(heard=0.9, known=known)), text


def test_silence_is_familiar_and_of_encoder_outputs_nothing_is_known():
    silence = Hypothesis("", (), 0.0, 0, heard=Clarity(0.0, 0))
    assert transcript_confidence(silence, PAIRS) == 1.0
    assert transcript_confidence(transcript(heard=None), PAIRS) is None
    with pytest.raises(ValueError, match="encoder outputs .step_kind: feature.*no check"):
        calibrate([transcript(heard=None)] * 50, pairs=PAIRS, share=0.01)


@pytest.mark.parametrize(("num_utts", "share"), [(50, 0.01), (50, 0.1), (101, 0.01), (999, 0.05)])
def test_at_most_the_share_is_outside(num_utts, share):
    found = [
        transcript(heard=clear(((7 * place) % num_utts + 1) / (num_utts + 1)))
        for place in range(num_utts)
    ]
    made = calibrate(found, pairs=PAIRS, share=share)
    assert (made.share, made.num_utts, made.pairs) == (share, num_utts, PAIRS)
    judged = [transcript_confidence(one, PAIRS, new_words=1) for one in found]
    outside = sum(made.is_outside(confidence) for confidence in judged)
    assert share * num_utts - 1 < outside <= share * num_utts
    assert made.is_outside(made.threshold - 1e-9) and not made.is_outside(made.threshold)


def test_too_few_utterances():
    with pytest.raises(ValueError, match="^49 utterances of .* ASR: at least 50 are needed"):
        calibrate([transcript()] * 49, pairs=PAIRS, share=0.01)
    made = calibrate([transcript()] * 50, pairs=PAIRS, share=0.01)
    assert made.threshold == pytest.approx(confidence(heard=0.9, known=3 / 5))


def test_a_sentence_with_a_new_word_is_familiar_and_words_in_any_order_are_not():
    """Of "turn on the light" one new word breaks two of five pairs."""
    found = calibrate([transcript()] * 50, pairs=PAIRS, share=0.01)
    expected = {"turn on the lamp": False, "turn on a light": False}
    expected |= {"the on it light": True, "light": True}
    for text, is_outside in expected.items():
        one = transcript(text)
        assert found.judge([one], one)[0].outside == is_outside, text
    assert transcript_confidence(transcript("light"), PAIRS, new_words=1) == 0.0


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 5.0, math.nan])
def test_shares_without_sense(share):
    with pytest.raises(ValueError, match="share .* must lie between 0 and 1, e.g. 0.01 for 1 %"):
        calibrate([transcript()] * 50, pairs=PAIRS, share=share)


def test_a_verdict_is_said_by_every_answer():
    answers = [Hypothesis("alarm", (3,), -0.1, 2), Hypothesis("music", (4,), -3.0, 2)]
    familiarity = Familiarity(threshold=0.6, share=0.01, num_utts=99, pairs=PAIRS)
    for one, verdict in ((transcript("the on it"), True), (transcript(), False)):
        judged = familiarity.judge(answers, one)
        assert [answer.outside for answer in judged] == [verdict] * 2
        assert {answer.confidence for answer in judged} == {transcript_confidence(one, PAIRS)}
        assert [answer.text for answer in judged] == ["alarm", "music"]
    assert familiarity.judge(answers, transcript(heard=None)) == answers


def test_written_and_read(tmp_path):
    pairs = frozenset({"<s> öl", "öl </s>", "no yes"})  # a plain word of YAML 1.1 is no boolean
    made = Familiarity(threshold=0.625, share=0.01, num_utts=120, pairs=pairs)
    made.write(tmp_path / "new/outside.yaml")
    assert Familiarity.read(tmp_path / "new/outside.yaml") == made
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["outside.yaml"]
    text = (tmp_path / "new/outside.yaml").read_text()
    head = "threshold: 0.625\nshare: 0.01\nnum_utts: 120\npairs:\n- <s> öl\n"
    assert text.startswith(head)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "no such file; bin/calibrate makes"),
        ("share: 0.01\nnum_utts: 60\npairs: []\n", "lacks 'threshold'; bin/calibrate makes"),
        (
            "threshold: 1.5\nshare: 0.01\nnum_utts: 60\npairs: []\n",
            r"threshold \(1.5\) must lie in \[0, 1\]",
        ),
        ("threshold: .nan\nshare: 0.01\nnum_utts: 60\npairs: []\n", "threshold"),
        (
            "threshold: high\nshare: 0.01\nnum_utts: 60\npairs: []\n",
            "says nothing of what is outside",
        ),
        (
            "threshold: 0.5\nshare: 0.01\nnum_utts: [1]\npairs: []\n",
            "says nothing of what is outside",
        ),
        ("", "says nothing of what is outside"),
        ("words", "says nothing of what is outside"),
        ("a: [", "says nothing of what is outside"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, match):
    path = tmp_path / "outside.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=match) as error:
        Familiarity.read(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
