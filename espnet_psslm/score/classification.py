"""Accuracy of labels that were written freely, beside what always guessing one label would give."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from espnet_psslm.score.bootstrap import ratio_interval
from espnet_psslm.score.error_rate import check_keys


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one set; all rates are fractions."""

    metric: str  # accuracy
    rate: float
    ci95: tuple[float, float]  # bootstrap interval by utterance
    num_correct: int
    num_utts: int
    num_missing: int  # references without a hypothesis, counted as wrong
    num_classes: int  # different labels among the references
    majority_class: str  # the most frequent reference label
    majority_rate: float  # accuracy of always answering it
    num_outside: int  # hypotheses that are no label of the references

    def as_dict(self) -> dict[str, Any]:
        """Return plain types for JSON."""
        return {**asdict(self), "ci95": list(self.ci95)}


def accuracy(refs: Mapping[str, str], hyps: Mapping[str, str], *, seed: int) -> Accuracy:
    """Count hypotheses that equal their reference, white space at the ends apart.

    Args:
        refs: utterance -> label.
        hyps: utterance -> what the system wrote; one that is missing counts as wrong.
        seed: of the bootstrap.

    Returns:
        Accuracy and what to compare it with.

    Raises:
        ValueError: without references, or for a hypothesis without a reference.
    """
    if not refs:
        raise ValueError("no references: nothing to score against")
    check_keys(refs, hyps)
    keys = sorted(refs)
    labels = [refs[key].strip() for key in keys]
    answers = [hyps.get(key, "").strip() for key in keys]
    correct = np.array([label == answer for label, answer in zip(labels, answers, strict=True)])
    # Of equally frequent labels the first in the alphabet, so that reruns agree.
    classes = Counter(sorted(labels))
    majority_class, majority_count = classes.most_common(1)[0]
    return Accuracy(
        metric="accuracy",
        rate=float(correct.mean()),
        ci95=ratio_interval(
            correct.astype(np.int64), np.ones(len(keys), dtype=np.int64), seed=seed
        ),
        num_correct=int(correct.sum()),
        num_utts=len(keys),
        num_missing=len(refs.keys() - hyps.keys()),
        num_classes=len(classes),
        majority_class=majority_class,
        majority_rate=majority_count / len(keys),
        num_outside=sum(answer not in classes for answer in answers),
    )
