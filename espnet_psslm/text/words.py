"""Words of a unit sequence: where they begin, and what they are.

Units of all vocabularies say with their text where words begin: "▁turn" is " turn". Where no space
is written (Chinese, Thai), every character counts as a word, signs above and below it with it.
"""

import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from espnet_psslm.text.scripts import UNSPACED


def spell_words(text: str) -> list[str]:
    """Words of a text; characters where no space is written between words."""
    return [item for word in text.split() for item in (word if UNSPACED.search(word) else [word])]


def _begins_character(text: str) -> bool:
    """Whether a text starts with a character that is a word, no sign that belongs to one."""
    return bool(UNSPACED.match(text)) and not unicodedata.category(text[0]).startswith("M")


class UnitWords:
    """Group units into words.

    Args:
        unit_texts: text of each unit as it stands in a sentence (``Units.unit_texts``).
        decode: unit ids to text.
    """

    def __init__(
        self, unit_texts: Sequence[str], *, decode: Callable[[Sequence[int]], str]
    ) -> None:
        self._decode = decode
        self.unit_texts = list(unit_texts)
        self.begins = np.array(
            [text[:1].isspace() or _begins_character(text) for text in unit_texts], dtype=bool
        )  # (V,)
        self._is_space = np.array([text.isspace() for text in unit_texts], dtype=bool)

    def text(self, unit_ids: Sequence[int]) -> str:
        """Text of some units, without white space at its ends."""
        return self._decode(unit_ids).strip()

    def spans(self, unit_ids: Sequence[int]) -> list[tuple[int, int]]:
        """First and one past the last place of each word's units.

        Units that are nothing but a space belong to no word.
        """
        spans: list[tuple[int, int]] = []
        open_word = False
        for place, unit in enumerate(unit_ids):
            if self._is_space[unit]:
                open_word = False
            elif open_word and not self.begins[unit]:
                spans[-1] = (spans[-1][0], place + 1)
            else:
                spans.append((place, place + 1))
                open_word = True
        return [(first, end) for first, end in spans if self.text(unit_ids[first:end])]
