"""Hot words in growing prefixes, against a search in the whole text."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from espnet_psslm.acoustic.hot_words import HotWords, read_hot_words

TEXTS = ["", " a", "b", " ab", "c", " ", "\u4f60", "\u597d"]


def totals(scorer: HotWords, unit_ids: tuple[int, ...]) -> list[float]:
    """Sum of the gains before each unit and at the end."""
    state, sums = scorer.start(), [0.0]
    for unit in unit_ids:
        sums.append(sums[-1] + float(scorer.gains([state], np.array([unit]))[0, 0]))
        state = scorer.advance(state, unit)
    return [*sums, sums[-1] + scorer.finish(state)]


def count(text: str, phrase: str) -> int:
    """Occurrences with borders, overlapping ones too."""
    return sum(f" {text} "[place:].startswith(phrase) for place in range(len(text) + 2))


PHRASES = {
    "ab": " ab ",
    "a": " a ",
    "abc ab": " abc ab ",
    "b": " b ",
    "\u4f60\u597d": "\u4f60\u597d",
}


@pytest.mark.parametrize(
    "phrases", [["ab"], ["a", "ab"], ["abc ab", "ab"], ["ab", "b", "\u4f60\u597d"]]
)
def test_every_occurrence_counts_once_however_it_is_spelled(phrases: list[str]) -> None:
    scorer = HotWords(phrases, unit_texts=TEXTS, weight=2.0)
    for length in range(5):
        for unit_ids in itertools.product(range(1, 8), repeat=length):
            text = "".join(TEXTS[unit] for unit in unit_ids)
            expected = 2.0 * sum(count(text, PHRASES[phrase]) for phrase in phrases)
            assert totals(scorer, unit_ids)[-1] == pytest.approx(expected, abs=1e-9), text


def test_a_part_counts_until_it_stops_matching() -> None:
    scorer = HotWords(["ab"], unit_texts=TEXTS, weight=4.0)
    first = totals(scorer, ())[0]  # at a border: " " of " ab " is there already
    assert totals(scorer, (1, 2, 5))[:4] == pytest.approx([first, 1.0, 2.0, 3.0 + 1.0])
    assert totals(scorer, (1, 4))[2] == pytest.approx(-1.0)  # " ac": nothing of it is left


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "hot.txt"
    path.write_text("Madrid \n\n  the  big   house\n")
    assert read_hot_words(path) == ["Madrid", "the big house"]
    path.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        read_hot_words(path)
    with pytest.raises(ValueError, match="no such file"):
        read_hot_words(tmp_path / "none")
