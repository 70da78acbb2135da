"""N-gram scores of prefixes against KenLM's score of the whole sentence."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from espnet_psslm.acoustic.prefix_beam import PrefixBeamSearch
from espnet_psslm.acoustic.prefix_scorer import UnitNgram, WordNgram
from espnet_psslm.text.words import UnitWords

TEXTS = ["", " a", "b", " ", " c", ""]
TOKENS = ["<blank>", "_a", "b", "_", "_c", "<sos/eos>"]
ARPA = """\\data\\
ngram 1={}
ngram 2={}

\\1-grams:
-1.1\t<unk>\t0
0\t<s>\t-0.4
-0.9\t</s>\t0
{}

\\2-grams:
{}

\\end\\
"""


def write_arpa(path: Path, one: dict[str, float], two: dict[str, float]) -> Path:
    ones = "\n".join(f"{score}\t{word}\t-0.3" for word, score in one.items())
    twos = "\n".join(f"{score}\t{words}" for words, score in two.items())
    path.write_text(ARPA.format(len(one) + 3, len(two), ones, twos))
    return path


@pytest.fixture
def word_arpa(tmp_path: Path) -> Path:
    one = {"a": -0.7, "ab": -1.3, "c": -0.8}
    return write_arpa(tmp_path / "w.arpa", one, {"<s> a": -0.2, "a c": -0.1, "c </s>": -0.25})


def decode(unit_ids) -> str:
    return "".join(TEXTS[unit] for unit in unit_ids)


def whole(scorer, unit_ids) -> float:
    """Sum of what a scorer says on the way, asked for one unit and for many."""
    state, total = scorer.start(), 0.0
    for unit in unit_ids:
        gains = scorer.gains([state, scorer.start()], np.arange(1, 5))
        assert gains.shape == (2, 4)
        total += gains[0, unit - 1]
        state = scorer.advance(state, unit)
    return total + scorer.finish(state)


def test_word_ngram_equals_the_score_of_the_sentence(word_arpa: Path) -> None:
    import kenlm

    words = UnitWords(TEXTS, decode=decode)
    scorer = WordNgram(word_arpa, words=words, weight=0.7, bonus=0.3)
    model = kenlm.Model(str(word_arpa))
    for length in range(5):
        for unit_ids in itertools.product((1, 2, 3, 4), repeat=length):
            text = decode(unit_ids).split()
            expected = 0.7 * math.log(10) * model.score(" ".join(text)) + 0.3 * len(text)
            assert whole(scorer, unit_ids) == pytest.approx(expected, abs=1e-5), unit_ids


def test_unit_ngram_equals_the_score_of_the_sentence(tmp_path: Path) -> None:
    import kenlm

    one = {"_a": -0.7, "b": -1.3, "_c": -0.8}
    path = write_arpa(tmp_path / "u.arpa", one, {"<s> _a": -0.2, "_a b": -0.1})
    scorer = UnitNgram(path, token_list=TOKENS, weight=0.5, bonus=-0.2)
    model = kenlm.Model(str(path))
    for unit_ids in itertools.product((1, 2, 3, 4), repeat=3):
        text = " ".join(TOKENS[unit] for unit in unit_ids)
        expected = 0.5 * math.log(10) * model.score(text) - 0.2 * 3
        assert whole(scorer, unit_ids) == pytest.approx(expected, abs=1e-5)


def test_a_language_model_changes_what_is_found(word_arpa: Path) -> None:
    """CTC slightly prefers "ab c", the language model knows "a c"."""
    rows = torch.tensor([[[0.02, 0.94, 0.02, 0.01, 0.01, 0.0], [0.4, 0.05, 0.52, 0.02, 0.01, 0.0],
                          [0.02, 0.01, 0.02, 0.01, 0.94, 0.0]]])  # fmt: skip
    arguments = rows.log(), torch.tensor([3])
    options = {"blank_id": 0, "beam_size": 20, "units_per_step": 5}
    (plain,) = PrefixBeamSearch(**options)(*arguments).nbest[0]
    words = UnitWords(TEXTS, decode=decode)
    scorers = [WordNgram(word_arpa, words=words, weight=0.5)]
    (ranked,) = PrefixBeamSearch(**options, scorers=scorers)(*arguments).nbest[0]
    assert plain.unit_ids == [1, 2, 4] and ranked.unit_ids == [1, 4]
    assert ranked.log_prob < plain.log_prob
    assert ranked.score == pytest.approx(ranked.log_prob + whole(scorers[0], [1, 4]), abs=1e-5)


def test_unusable_files(tmp_path: Path) -> None:
    (tmp_path / "bad.arpa").write_text("nothing")
    with pytest.raises(ValueError, match=r"bad.arpa is no n-gram model"):
        UnitNgram(tmp_path / "bad.arpa", token_list=TOKENS)
    with pytest.raises(ValueError, match="--ngram_file .*none.arpa: no such file"):
        UnitNgram(tmp_path / "none.arpa", token_list=TOKENS)


def test_without_kenlm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kenlm", None)
    with pytest.raises(ValueError, match="pip install camel-kenlm"):
        UnitNgram(tmp_path / "none.arpa", token_list=TOKENS)
