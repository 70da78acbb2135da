"""Share of right answers that were written freely, beside what always giving one would get.

``accuracy`` is for labels: every character counts. ``exact`` is for answers in words, as of
questions: both sides are normalised first, so that case and punctuation do not count.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from espnet_psslm.score.base import Score, in_order
from espnet_psslm.score.bootstrap import ratio_interval
from espnet_psslm.text.normalize import normalize_text

Kind = Literal["accuracy", "exact"]


@dataclass(frozen=True)
class Accuracy(Score):
    """Accuracy of one set; what is missing counts as wrong."""

    num_correct: int
    num_classes: int  # different labels among the references
    majority_class: str  # the most frequent reference label
    majority_rate: float  # accuracy of always answering it
    num_outside: int  # hypotheses that are no label of the references


def accuracy(
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    *,
    seed: int,
    metric: Kind = "accuracy",
    language: str = "en",
) -> Accuracy:
    """Count hypotheses that equal their reference, white space at the ends apart.

    Args:
        refs: utterance -> label.
        hyps: utterance -> what the system wrote; one that is missing counts as wrong.
        seed: of the bootstrap.
        metric: ``exact`` normalises both sides first.
        language: of the normalisation.

    Returns:
        Accuracy and what to compare it with.

    Raises:
        ValueError: without references, or for a hypothesis without a reference.
    """
    sides = in_order(refs, hyps)
    terms = right_terms(*sides, language, metric=metric)
    labels, answers = (_tidy(side, metric, language) for side in sides)
    # Of equally frequent labels the first in the alphabet, so that reruns agree.
    classes = Counter(sorted(labels))
    majority_class, majority_count = classes.most_common(1)[0]
    return Accuracy(
        metric=metric,
        rate=float(terms[:, 0].mean()),
        ci95=ratio_interval(terms, seed=seed),
        num_utts=len(labels),
        num_missing=len(refs.keys() - hyps.keys()),
        num_correct=int(terms[:, 0].sum()),
        num_classes=len(classes),
        majority_class=majority_class,
        majority_rate=majority_count / len(labels),
        num_outside=sum(answer not in classes for answer in answers),
    )


def right_terms(
    refs: Sequence[str], hyps: Sequence[str], language: str, *, metric: Kind = "accuracy"
) -> np.ndarray:
    """What an accuracy is the quotient of: whether each hypothesis is right, and 1.

    Args:
        refs: labels.
        hyps: what the system wrote, in the same order.
        language: of the normalisation.
        metric: as of :func:`accuracy`.

    Returns:
        (n_utts, 2).
    """
    pairs = zip(_tidy(refs, metric, language), _tidy(hyps, metric, language), strict=True)
    return np.array([(label == answer, 1) for label, answer in pairs], dtype=np.float64)


def _tidy(texts: Iterable[str], metric: Kind, language: str) -> list[str]:
    if metric == "exact":
        return [normalize_text(text, language) for text in texts]
    return [text.strip() for text in texts]
