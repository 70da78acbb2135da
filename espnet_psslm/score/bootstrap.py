"""Bootstrap confidence intervals by resampling utterances (Bisani and Ney, ICASSP 2004).

Both error rates and accuracies are a sum over utterances divided by another sum over utterances:
errors over reference words, or right answers over answers. So one function serves both. Other
metrics are functions of several sums over utterances: :func:`resampled_sums` draws those.
"""

import numpy as np

NUM_RESAMPLES = 1000
# Resamples drawn at once: bounds the memory at this number times the utterances.
CHUNK = 256


def ratio_interval(
    numerators: np.ndarray,
    denominators: np.ndarray,
    *,
    seed: int,
    num_resamples: int = NUM_RESAMPLES,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of ``sum(numerators) / sum(denominators)``.

    Args:
        numerators: (n_utts,), for example errors of each utterance.
        denominators: (n_utts,), for example reference words of each utterance.
        seed: of the resampling; the same seed gives the same interval.
        num_resamples: bootstrap samples.
        level: coverage, 0.95 for the 2.5th and 97.5th percentile.

    Returns:
        Lower and upper bound, as fractions.

    Raises:
        ValueError: if the arrays differ in shape, are empty, or have nothing to divide by.
    """
    if numerators.shape != denominators.shape or numerators.ndim != 1:
        raise ValueError(
            f"numerators {numerators.shape} and denominators {denominators.shape} must be two "
            "vectors of one length"
        )
    if not denominators.sum() > 0:
        raise ValueError(f"nothing to resample: {len(denominators)} utterances with sum 0")
    rng = np.random.default_rng(seed)
    n_utts = len(numerators)
    ratios = []
    for start in range(0, num_resamples, CHUNK):
        n_rows = min(CHUNK, num_resamples - start)
        picks = rng.integers(n_utts, size=(n_rows, n_utts))
        below = denominators[picks].sum(axis=1)
        # A resample of empty references only says nothing about the rate.
        kept = below > 0
        ratios.append(numerators[picks].sum(axis=1)[kept] / below[kept])
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(np.concatenate(ratios), [tail, 100 - tail])
    return float(low), float(high)


def resampled_sums(
    statistics: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> np.ndarray:
    """Sum statistics over utterances drawn with replacement.

    The draws depend on seed and number of utterances only: two systems on one test set are given
    the same ones.

    Args:
        statistics: (n_utts, S), what each utterance adds.
        seed: of the resampling.
        num_resamples: R.

    Returns:
        (R, S).

    Raises:
        ValueError: without utterances.
    """
    n_utts = len(statistics)
    if n_utts == 0:
        raise ValueError("no utterances to resample")
    rng = np.random.default_rng(seed)
    sums = np.empty((num_resamples, statistics.shape[1]))
    for row in sums:
        times_drawn = np.bincount(rng.integers(n_utts, size=n_utts), minlength=n_utts)
        row[:] = times_drawn @ statistics
    return sums
