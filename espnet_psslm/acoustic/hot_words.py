"""Hot words: phrases that beam search prefers, such as names of contacts or places.

The text of a prefix is followed character by character through an automaton of all phrases (Aho and
Corasick, CACM 1975). While it spells a phrase it holds the part of the bonus that it has spelled,
so that the beam keeps it; where it stops matching the part is taken back. Characters, not units,
because a model spells a rare word in units of its own choice. No library that is kept up does this
for prefixes that grow: pyahocorasick, for one, searches whole texts.
"""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from espnet_psslm.acoustic.prefix_scorer import PrefixScorer
from espnet_psslm.common.lines import read_lines
from espnet_psslm.text.scripts import UNSPACED

START = 0


def read_hot_words(path: str | Path) -> list[str]:
    """Read a file of phrases, one a line.

    Raises:
        ValueError: if the file is missing or holds none.
    """
    if not Path(path).is_file():
        raise ValueError(f"--hot_words {path}: no such file; it holds one phrase a line")
    phrases = [" ".join(line.split()) for _, line in read_lines(path) if line.strip()]
    if not phrases:
        raise ValueError(f"--hot_words {path} is empty; it holds one phrase a line")
    return phrases


class HotWords(PrefixScorer):
    """Give every hot word in a prefix a bonus. A state is a node of the automaton.

    Args:
        phrases: as the acoustic model writes them (case, punctuation).
        unit_texts: text of each unit as it stands in a sentence.
        weight: bonus of a phrase, in natural logarithms; parts of it come early.
    """

    def __init__(
        self, phrases: Sequence[str], *, unit_texts: Sequence[str], weight: float = 5.0
    ) -> None:
        self._texts = list(unit_texts)
        self._next: list[dict[str, int]] = [{}]
        self._held = [0.0]  # bonus that a node may have to give back
        self._earned = [0.0]  # bonus of the phrases that end at a node
        for phrase in phrases:
            self._add(_with_borders(phrase), weight)
        self._fallback = [START] * len(self._next)
        self._link()
        self._start = self._walk(START, " ")  # the utterance begins at a word's border
        self._rows: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _add(self, text: str, weight: float) -> None:
        node = START
        for place, character in enumerate(text, start=1):
            if character not in self._next[node]:
                self._next[node][character] = len(self._next)
                self._next.append({})
                self._held.append(0.0)
                self._earned.append(0.0)
            node = self._next[node][character]
            if place < len(text):
                self._held[node] = max(self._held[node], weight * place / len(text))
        self._earned[node] = weight

    def _link(self) -> None:
        """Set each node's fallback: the longest proper suffix that begins some phrase."""
        queue = deque(self._next[START].values())
        while queue:
            node = queue.popleft()
            fallback = self._fallback[node]
            # What ends or may go on in the suffix counts for the longer match too.
            self._earned[node] += self._earned[fallback]
            self._held[node] = max(self._held[node], self._held[fallback])
            for character, child in self._next[node].items():
                self._fallback[child] = self._walk(fallback, character)
                queue.append(child)

    def _walk(self, node: int, character: str) -> int:
        while node != START and character not in self._next[node]:
            node = self._fallback[node]
        return self._next[node].get(character, START)

    def _follow(self, node: int, text: str) -> tuple[int, float]:
        """Node behind a text, and what the text gains."""
        gain = 0.0
        for character in text:
            after = self._walk(node, character)
            gain += self._earned[after] + self._held[after] - self._held[node]
            node = after
        return node, gain

    def _row(self, node: int) -> tuple[np.ndarray, np.ndarray]:
        """Next node and gain of every unit, (V,) each; made once per node."""
        if node not in self._rows:
            nodes, gains = zip(*(self._follow(node, text) for text in self._texts), strict=True)
            self._rows[node] = np.array(nodes), np.array(gains)
        return self._rows[node]

    def start(self) -> int:
        return self._start

    def gains(self, states: Sequence[int], unit_ids: np.ndarray) -> np.ndarray:
        return np.stack([self._row(state)[1][unit_ids] for state in states])

    def advance(self, state: int, unit_id: int) -> int:
        return int(self._row(state)[0][unit_id])

    def finish(self, state: int) -> float:
        """See ``PrefixScorer``; the end of the utterance ends a word."""
        node, gain = self._follow(state, " ")
        return gain - self._held[node] + self._held[self._start]


def _with_borders(phrase: str) -> str:
    """Spaces where a phrase must stand at a word's border: not inside unspaced scripts."""
    before = "" if UNSPACED.match(phrase[0]) else " "
    after = "" if UNSPACED.match(phrase[-1]) else " "
    return before + phrase + after
