"""Comparison of two systems on one test set by paired bootstrap (Koehn, EMNLP 2004).

Both systems are scored on the same resampled utterances, so what makes an utterance hard for both
cancels out. Bisani and Ney (ICASSP 2004) call the share of resamples on which B is better the
probability of improvement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from espnet_psslm.score.bootstrap import NUM_RESAMPLES, resampled_sums
from espnet_psslm.score.error_rate import check_keys, count_errors
from espnet_psslm.score.slu import f1_terms
from espnet_psslm.score.translation import build_metric, rates_of_sums, segment_statistics
from espnet_psslm.text.normalize import normalize_text

Metric = Literal["wer", "cer", "accuracy", "bleu", "chrf", "slu"]
METRICS = ("wer", "cer", "accuracy", "bleu", "chrf", "slu")
LOWER_IS_BETTER = ("wer", "cer")


@dataclass(frozen=True)
class Comparison:
    """Two systems on one set; rates and differences are fractions."""

    metric: str
    rate_a: float
    rate_b: float
    difference: float  # rate_b - rate_a
    ci95: tuple[float, float]  # of the difference
    probability_b_better: float  # share of resamples
    p_value: float  # two-sided: of a difference like this where there is none
    num_utts: int
    num_resamples: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain types for JSON."""
        return {**asdict(self), "ci95": list(self.ci95)}


def compare(
    refs: Mapping[str, str],
    hyps_a: Mapping[str, str],
    hyps_b: Mapping[str, str],
    *,
    metric: Metric,
    language: str = "en",
    seed: int,
    num_resamples: int = NUM_RESAMPLES,
) -> Comparison:
    """Compare system B with system A.

    Args:
        refs: utterance -> reference.
        hyps_a: of system A; one that is missing counts as empty.
        hyps_b: of system B, likewise.
        metric: what is compared.
        language: of the texts.
        seed: of the bootstrap.
        num_resamples: bootstrap samples.

    Returns:
        The comparison.

    Raises:
        ValueError: for a hypothesis without a reference, or references without anything to count.
    """
    if not refs:
        raise ValueError("no references: nothing to compare on")
    keys = sorted(refs)
    references = [refs[key] for key in keys]
    rate, statistics = _ratio, partial(_statistics, metric=metric, language=language)
    if metric in ("bleu", "chrf"):
        scorer = build_metric(metric, language)
        rate, statistics = partial(rates_of_sums, scorer), partial(segment_statistics, scorer)
    rates, resampled = [], []
    for hyps in (hyps_a, hyps_b):
        check_keys(refs, hyps)
        of_utts = statistics(references, [hyps.get(key, "") for key in keys])
        rates.append(_whole(rate, of_utts))
        # The same seed draws the same utterances for both.
        resampled.append(rate(resampled_sums(of_utts, seed=seed, num_resamples=num_resamples)))
    differences = resampled[1] - resampled[0]
    differences = differences[np.isfinite(differences)]  # a resample of empty references only
    gains = -differences if metric in LOWER_IS_BETTER else differences
    low, high = np.percentile(differences, [2.5, 97.5])
    # One more on both sides: no finite number of resamples shows a probability of 0.
    tails = [(np.sum(side <= 0) + 1) / (len(gains) + 1) for side in (gains, -gains)]
    return Comparison(
        metric=metric,
        rate_a=rates[0],
        rate_b=rates[1],
        difference=rates[1] - rates[0],
        ci95=(float(low), float(high)),
        probability_b_better=float(np.mean(gains > 0)),
        p_value=min(1.0, float(2 * min(tails))),
        num_utts=len(keys),
        num_resamples=num_resamples,
    )


def _statistics(
    refs: Sequence[str], hyps: Sequence[str], *, metric: Metric, language: str
) -> np.ndarray:
    """What is counted, and what it is divided by: (n_utts, 2)."""
    if metric == "slu":
        return f1_terms(refs, hyps)
    if metric == "accuracy":
        right = [ref.strip() == hyp.strip() for ref, hyp in zip(refs, hyps, strict=True)]
        return np.stack([np.array(right, dtype=np.float64), np.ones(len(refs))], axis=1)
    normalized = [[normalize_text(text, language) for text in side] for side in (refs, hyps)]
    counts = count_errors(*normalized, unit="word" if metric == "wer" else "char")
    return np.stack([counts[:, :3].sum(axis=1), counts[:, 3]], axis=1).astype(np.float64)


def _ratio(sums: np.ndarray) -> np.ndarray:
    """(R, 2) to (R,); not a number where nothing is there to divide by."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def _whole(rate: Callable[[np.ndarray], np.ndarray], of_utts: np.ndarray) -> float:
    value = float(rate(of_utts.sum(axis=0, keepdims=True))[0])
    if not np.isfinite(value):
        raise ValueError(
            f"{len(of_utts)} references have no words or entities: nothing to compare on"
        )
    return value
