"""How sure the model is of an answer: a number in [0, 1].

- ``token_mean``: geometric mean of the probabilities of the answer's tokens, end of turn included.
- ``posterior``: the answer's share of the probability of all answers that the beams found; those
  with the same text count together. Where a task keeps to its labels and there are at least as
  many beams as labels, this is the posterior over the labels.

An empty reduction, which the language model is not asked about, has 1. Where the guard fell back to
CTC, both are the geometric mean of the probabilities of CTC's units.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from espnet_psslm.llm.answers import Hypothesis


class Confidence(ABC):
    """From the answers to a sample to the confidence of the best."""

    needs_beams = False  # whether all answers of the beams are to be found, not the best alone

    @abstractmethod
    def __call__(self, answers: Sequence[Hypothesis]) -> float:
        """Confidence of the first of ``answers``, which stand in their order."""


class TokenMean(Confidence):
    """Geometric mean of token probabilities."""

    def __call__(self, answers: Sequence[Hypothesis]) -> float:
        """As the base class says."""
        return math.exp(answers[0].score)


class Posterior(Confidence):
    """Share of the probability of all answers found."""

    needs_beams = True

    def __call__(self, answers: Sequence[Hypothesis]) -> float:
        """As the base class says."""
        if answers[0].fallback:  # no answer competed with it
            return math.exp(answers[0].score)
        top = max(answer.log_prob for answer in answers)
        weights = [math.exp(answer.log_prob - top) for answer in answers]
        pairs = zip(answers, weights, strict=True)
        same = sum(weight for answer, weight in pairs if answer.text == answers[0].text)
        return same / sum(weights)


CONFIDENCES: dict[str, type[Confidence]] = {"token_mean": TokenMean, "posterior": Posterior}
