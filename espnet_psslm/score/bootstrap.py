"""Bootstrap confidence intervals by resampling utterances (Bisani and Ney, ICASSP 2004).

A rate of a set is a function of sums over its utterances: of errors and of reference words, say.
"""

import numpy as np

NUM_RESAMPLES = 1000
TAILS = (2.5, 97.5)  # percentiles between which 95 % lie


def quotients(sums: np.ndarray) -> np.ndarray:
    """Sums (R, 2) to rates (R,); not a number where there is nothing to divide by."""
    nothing = np.full(len(sums), np.nan)
    return np.divide(sums[:, 0], sums[:, 1], out=nothing, where=sums[:, 1] > 0)


def percentile_interval(rates: np.ndarray) -> tuple[float, float]:
    """What 95 % of resampled rates (R,) lie between; what is not a number says nothing."""
    low, high = np.percentile(rates[np.isfinite(rates)], TAILS)
    return float(low), float(high)


def ratio_interval(
    terms: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """Interval of a rate that is one sum by another.

    Args:
        terms: (n_utts, 2), what each utterance adds, such as errors and reference words.
        seed: of the resampling; the same seed gives the same interval.
        num_resamples: bootstrap samples.

    Returns:
        Lower and upper bound, as fractions.

    Raises:
        ValueError: if there is nothing to divide by.
    """
    if not terms[:, 1].sum() > 0:
        raise ValueError(f"nothing to resample: {len(terms)} utterances with sum 0")
    sums = resampled_sums(terms, seed=seed, num_resamples=num_resamples)
    return percentile_interval(quotients(sums))


def resampled_sums(
    terms: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> np.ndarray:
    """Sum over utterances drawn with replacement.

    The draws depend on seed and number of utterances only: two systems on one test set are given
    the same ones.

    Args:
        terms: (n_utts, S), what each utterance adds.
        seed: of the resampling.
        num_resamples: R.

    Returns:
        (R, S).

    Raises:
        ValueError: without utterances.
    """
    n_utts = len(terms)
    if n_utts == 0:
        raise ValueError("no utterances to resample")
    rng = np.random.default_rng(seed)
    sums = np.empty((num_resamples, terms.shape[1]))
    for row in sums:
        times_drawn = np.bincount(rng.integers(n_utts, size=n_utts), minlength=n_utts)
        row[:] = times_drawn @ terms
    return sums
