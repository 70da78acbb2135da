"""One table: from the name of a metric to how it is computed, of one system and of two."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from espnet_psslm.score.base import Score
from espnet_psslm.score.bootstrap import quotients
from espnet_psslm.score.classification import accuracy, right_terms
from espnet_psslm.score.error_rate import error_rate, error_terms
from espnet_psslm.score.slu import f1_terms, slu_score_of_lines
from espnet_psslm.score.translation import (
    build_metric,
    rates_of_sums,
    segment_statistics,
    translation_score,
)


@dataclass(frozen=True)
class Metric:
    """One way to score answers.

    Args:
        title: in tables.
        score: references and hypotheses by key, ``language`` of the answers and ``seed`` of the
            bootstrap to the score of a set.
        terms: references, hypotheses in the same order and language to what each utterance adds to
            the sums that a rate follows from, (n_utts, S).
        rates: sums (R, S) and language to rates (R,).
        lower_is_better: an error rate.
    """

    title: str
    score: Callable[..., Score]
    terms: Callable[[Sequence[str], Sequence[str], str], np.ndarray]
    rates: Callable[[np.ndarray, str], np.ndarray] = lambda sums, language: quotients(sums)
    lower_is_better: bool = False


def _error_rate(title: str, unit: str) -> Metric:
    functions = (partial(function, unit=unit) for function in (error_rate, error_terms))
    return Metric(title, *functions, lower_is_better=True)


def _share_of_right(title: str, metric: str) -> Metric:
    return Metric(title, partial(accuracy, metric=metric), partial(right_terms, metric=metric))


def _sacrebleu(title: str, metric: str) -> Metric:
    return Metric(
        title,
        partial(translation_score, metric=metric),
        lambda refs, hyps, language: segment_statistics(build_metric(metric, language), refs, hyps),
        lambda sums, language: rates_of_sums(build_metric(metric, language), sums),
    )


METRICS = {
    "wer": _error_rate("WER", "word"),
    "cer": _error_rate("CER", "char"),
    "accuracy": _share_of_right("Accuracy", "accuracy"),
    "exact": _share_of_right("Exact match", "exact"),
    "bleu": _sacrebleu("BLEU", "bleu"),
    "chrf": _sacrebleu("chrF", "chrf"),
    "slu": Metric(
        "SLU-F1",
        lambda refs, hyps, *, language, seed: slu_score_of_lines(refs, hyps, seed=seed),
        lambda refs, hyps, language: f1_terms(refs, hyps),
    ),
}
