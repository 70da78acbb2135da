"""What changes the ranking of prefixes in beam search besides CTC: n-gram language models.

KenLM (Heafield, WMT 2011) reads the model and scores it; hot words stand in ``hot_words``.

Legend: W beam size, K units listed per step, V units.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_psslm.text.words import UnitWords

SENTENCE_END = "</s>"


class PrefixScorer(ABC):
    """Scores of prefixes, unit by unit. A state belongs to one prefix and is never changed."""

    @abstractmethod
    def start(self) -> Any:
        """State of the empty prefix."""

    @abstractmethod
    def gains(self, states: Sequence[Any], unit_ids: np.ndarray) -> np.ndarray:
        """What each prefix gains by each unit.

        Args:
            states: of W prefixes.
            unit_ids: (K,).

        Returns:
            (W, K), natural logarithms.
        """

    @abstractmethod
    def advance(self, state: Any, unit_id: int) -> Any:
        """State of the prefix with one more unit."""

    @abstractmethod
    def finish(self, state: Any) -> float:
        """What a prefix gains by the end of the utterance."""


class NgramScorer(PrefixScorer):
    """An n-gram language model that KenLM reads.

    Args:
        path: ``.arpa``, also compressed, or KenLM's binary.
        weight: factor of its natural log probability.

    Raises:
        ValueError: if KenLM is not installed, or cannot read the file.
    """

    def __init__(self, path: str | Path, *, weight: float) -> None:
        try:
            import kenlm
        except ImportError as error:
            raise ValueError(
                "an n-gram language model needs KenLM: pip install camel-kenlm (wheels) "
                "or kenlm (needs a compiler)"
            ) from error
        if not Path(path).is_file():
            raise ValueError(f"--ngram_file {path}: no such file")
        config = kenlm.Config()
        config.show_progress = False
        try:
            self._model = kenlm.Model(str(path), config)
        except OSError as error:
            raise ValueError(f"--ngram_file {path} is no n-gram model: {error}") from error
        self._new_state: Callable[[], Any] = kenlm.State
        self._factor = weight * math.log(10.0)  # KenLM's logarithms are decimal

    def _begin(self) -> Any:
        state = self._new_state()
        self._model.BeginSentenceWrite(state)
        return state

    def _score(self, state: Any, word: str) -> tuple[float, Any]:
        """Weighted log probability of a word, and the state behind it."""
        after = self._new_state()
        return self._factor * self._model.BaseScore(state, word, after), after


@dataclass(frozen=True)
class _WordState:
    context: Any  # KenLM's, behind the last whole word
    unit_ids: tuple[int, ...]  # of the word that is being spelled
    gain: float  # if that word ends here
    after: Any  # KenLM's, if that word ends here


class WordNgram(NgramScorer):
    """Over words: a word is scored when the next one begins, or the utterance ends.

    Args:
        path: see ``NgramScorer``.
        words: where the units' words begin, and how they are spelled.
        weight: see ``NgramScorer``.
        bonus: added per word: language models prefer few words.
    """

    def __init__(
        self, path: str | Path, *, words: UnitWords, weight: float = 0.5, bonus: float = 0.0
    ) -> None:
        super().__init__(path, weight=weight)
        self._words = words
        self._bonus = bonus

    def start(self) -> _WordState:
        context = self._begin()
        return _WordState(context, (), 0.0, context)

    def gains(self, states: Sequence[_WordState], unit_ids: np.ndarray) -> np.ndarray:
        return np.outer([state.gain for state in states], self._words.begins[unit_ids])

    def advance(self, state: _WordState, unit_id: int) -> _WordState:
        if self._words.begins[unit_id]:
            context, unit_ids = state.after, (unit_id,)
        else:
            context, unit_ids = state.context, (*state.unit_ids, unit_id)
        word = self._words.text(unit_ids)
        if not word:
            return _WordState(context, unit_ids, 0.0, context)
        gain, after = self._score(context, word)
        return _WordState(context, unit_ids, gain + self._bonus, after)

    def finish(self, state: _WordState) -> float:
        return state.gain + self._score(state.after, SENTENCE_END)[0]


class UnitNgram(NgramScorer):
    """Over units, written as in ``tokens.txt``: what ESPnet's recipes train with ``use_ngram``.

    Args:
        path: see ``NgramScorer``.
        token_list: the units.
        weight: see ``NgramScorer``.
        bonus: added per unit.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        token_list: Sequence[str],
        weight: float = 0.5,
        bonus: float = 0.0,
    ) -> None:
        super().__init__(path, weight=weight)
        self._tokens = list(token_list)
        self._bonus = bonus

    def start(self) -> Any:
        return self._begin()

    def gains(self, states: Sequence[Any], unit_ids: np.ndarray) -> np.ndarray:
        tokens = [self._tokens[unit] for unit in unit_ids.tolist()]
        scores = [[self._score(state, token)[0] for token in tokens] for state in states]
        return np.array(scores) + self._bonus

    def advance(self, state: Any, unit_id: int) -> Any:
        return self._score(state, self._tokens[unit_id])[1]

    def finish(self, state: Any) -> float:
        return self._score(state, SENTENCE_END)[0]
