"""CTC units that are strings of the text itself: characters, or a list of the user's own."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from espnet_psslm.common.lines import read_lines
from espnet_psslm.text.units import BLANK, SOS_EOS, UNK, WORD_START, Units

SPACE = "<space>"  # ESPnet's name of the unit between words
_BLANK_NAMES = (BLANK, "<blk>", "<eps>")  # of other toolkits' lists
_UNKNOWN_COST = 1_000  # units: an unknown character is worse than any spelling


def character_token_list(sentences: Iterable[str]) -> list[str]:
    """The characters of a text, sorted."""
    characters = sorted(set("".join(sentences)) - {" "})
    return [BLANK, UNK, SPACE, *characters, SOS_EOS]


def read_unit_file(path: str | Path) -> list[str]:
    """Read a vocabulary of the user's own: a unit a line, or ``unit index``.

    Args:
        path: the file. Indices, where given, must be 0, 1, 2, ... in any order of lines; they stay
            if index 0 is the blank or is not taken, else every unit moves up by one. ``<blk>``
            and ``<eps>`` are other names of the blank.

    Returns:
        The token list: ``<blank>`` first, ``<unk>`` and ``<sos/eos>`` (last) added if absent.

    Raises:
        ValueError: if the file is missing or empty, an index is wrong, or a special unit is not
            where it must be.
    """
    if not Path(path).is_file():
        raise ValueError(f"unit file {path} does not exist; name one with a unit a line")
    rows = [line.split() for _, line in read_lines(path) if line.strip()]
    if not rows:
        raise ValueError(f"unit file {path} is empty")
    indexed = all(len(row) == 2 and row[1].isdecimal() for row in rows)
    if not indexed and any(len(row) != 1 for row in rows):
        bad = next(" ".join(row) for row in rows if len(row) != 1)
        raise ValueError(f"unit file {path}: '{bad}' is neither 'unit' nor 'unit index'")
    units = _in_order(rows, path) if indexed else [row[0] for row in rows]
    if units[0] in _BLANK_NAMES:
        units = units[1:]
    elif indexed:
        logging.info("%s: unit 0 is the blank here: units are their index + 1", path)
    if found := [unit for unit in units if unit in _BLANK_NAMES]:
        raise ValueError(f"unit file {path}: {found[0]} must be the first unit (index 0)")
    if SOS_EOS in units[:-1]:
        raise ValueError(f"unit file {path}: {SOS_EOS} must be the last unit, or be left out")
    body = [unit for unit in units if unit != SOS_EOS]
    return [BLANK, *body, *([] if UNK in body else [UNK]), SOS_EOS]


def _in_order(rows: Sequence[list[str]], path: str | Path) -> list[str]:
    by_index = {int(index): unit for unit, index in rows}
    if 0 not in by_index:
        by_index[0] = BLANK
        rows = [*rows, [BLANK, "0"]]
    if sorted(by_index) != list(range(len(rows))):
        raise ValueError(
            f"unit file {path}: {len(rows)} units must have the indices 0 to {len(rows) - 1}, "
            "each once"
        )
    return [by_index[index] for index in range(len(rows))]


class CharacterUnits(Units):
    """Characters; ``<space>`` between words."""

    def __init__(self, token_list: str | Path | list[str] | tuple[str, ...]) -> None:
        super().__init__(token_list)
        self._index = {token: unit_id for unit_id, token in enumerate(self.tokens)}

    def _encode(self, text: str) -> list[int]:
        return [self._index.get(SPACE if c == " " else c, self.unk_id) for c in text]

    def _decode(self, unit_ids: list[int]) -> str:
        texts = (self.tokens[unit_id] for unit_id in unit_ids)
        return " ".join("".join(" " if text == SPACE else text for text in texts).split())

    def unit_texts(self) -> list[str]:
        return [
            "" if unit_id in self._specials else " " if token == SPACE else token
            for unit_id, token in enumerate(self.tokens)
        ]


class ListedUnits(Units):
    """A vocabulary of the user's own; text is split into as few of its units as possible.

    How words are told apart follows from the list: a unit with "\u2581" anywhere (as SentencePiece
    writes it): that mark stands for the space; ``<space>``: that unit does; neither, and all units
    are single characters: spaces are not written; else: units are whole words.
    """

    def __init__(self, token_list: str | Path | list[str] | tuple[str, ...]) -> None:
        super().__init__(token_list)
        plain = {t: i for i, t in enumerate(self.tokens) if i not in self._specials}
        self._words = False
        self._space = ""
        if any(WORD_START in token for token in plain):
            self._space = WORD_START
        elif SPACE in plain:
            plain[" "] = plain.pop(SPACE)
            self._space = " "
        else:
            self._words = any(len(token) > 1 for token in plain)
        self._index = plain
        self._text = {unit_id: token for token, unit_id in plain.items()}
        self._longest = max(map(len, plain))

    def _encode(self, text: str) -> list[int]:
        if self._words:
            return [self._index.get(word, self.unk_id) for word in text.split()]
        words = text.split()
        if self._space == WORD_START:
            return self._segment("".join(WORD_START + word for word in words))
        return self._segment(self._space.join(words))

    def _segment(self, text: str) -> list[int]:
        """The fewest units; of equally few, those whose first ones are longest."""
        cost = [0] * (len(text) + 1)
        choice: list[tuple[int, int]] = [(0, 0)] * len(text)  # unit, its end
        for start in reversed(range(len(text))):
            cost[start], choice[start] = cost[start + 1] + _UNKNOWN_COST, (self.unk_id, start + 1)
            for end in range(min(len(text), start + self._longest), start, -1):
                unit_id = self._index.get(text[start:end])
                if unit_id is not None and cost[end] + 1 < cost[start]:
                    cost[start], choice[start] = cost[end] + 1, (unit_id, end)
        unit_ids: list[int] = []
        place = 0
        while place < len(text):
            unit_id, place = choice[place]
            if unit_id != self.unk_id or unit_ids[-1:] != [self.unk_id]:
                unit_ids.append(unit_id)
        return unit_ids

    def _decode(self, unit_ids: list[int]) -> str:
        joined = (" " if self._words else "").join(self._text[unit_id] for unit_id in unit_ids)
        return " ".join(joined.replace(WORD_START, " ").split())

    def unit_texts(self) -> list[str]:
        lead = " " if self._words else ""
        texts = [""] * self.num_units
        for unit_id, text in self._text.items():
            texts[unit_id] = lead + text.replace(WORD_START, " ")
        return texts
