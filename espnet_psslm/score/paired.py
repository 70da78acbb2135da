"""Comparison of two systems on one test set by paired bootstrap (Koehn, EMNLP 2004).

Both systems are scored on the same resampled utterances, so what makes an utterance hard for both
cancels out. Bisani and Ney (ICASSP 2004) call the share of resamples on which B is better the
probability of improvement.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from espnet_psslm.score.base import in_order
from espnet_psslm.score.bootstrap import NUM_RESAMPLES, percentile_interval, resampled_sums
from espnet_psslm.score.metrics import METRICS


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
    metric: str,
    language: str = "en",
    seed: int,
    num_resamples: int = NUM_RESAMPLES,
) -> Comparison:
    """Compare system B with system A.

    Args:
        refs: utterance -> reference.
        hyps_a: of system A; one that is missing counts as empty.
        hyps_b: of system B, likewise.
        metric: name in ``METRICS``.
        language: of the texts.
        seed: of the bootstrap.
        num_resamples: bootstrap samples.

    Returns:
        The comparison.

    Raises:
        ValueError: for a hypothesis without a reference, or references without anything to count.
    """
    chosen = METRICS[metric]
    rates, resampled = [], []
    for hyps in (hyps_a, hyps_b):
        terms = chosen.terms(*in_order(refs, hyps), language)
        rates.append(float(chosen.rates(terms.sum(axis=0, keepdims=True), language)[0]))
        if not np.isfinite(rates[-1]):
            raise ValueError(
                f"{len(refs)} references have no words or entities: nothing to compare on"
            )
        # The same seed draws the same utterances for both.
        sums = resampled_sums(terms, seed=seed, num_resamples=num_resamples)
        resampled.append(chosen.rates(sums, language))
    differences = resampled[1] - resampled[0]
    interval = percentile_interval(differences)
    differences = differences[np.isfinite(differences)]  # a resample of empty references only
    gains = -differences if chosen.lower_is_better else differences
    # One more on both sides: no finite number of resamples shows a probability of 0.
    tails = [(np.sum(side <= 0) + 1) / (len(gains) + 1) for side in (gains, -gains)]
    return Comparison(
        metric=metric,
        rate_a=rates[0],
        rate_b=rates[1],
        difference=rates[1] - rates[0],
        ci95=interval,
        probability_b_better=float(np.mean(gains > 0)),
        p_value=min(1.0, float(2 * min(tails))),
        num_utts=len(refs),
        num_resamples=num_resamples,
    )
