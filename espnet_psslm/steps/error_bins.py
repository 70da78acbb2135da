"""Bins of the error rate: the condition under which the learned simulator writes."""

from collections.abc import Sequence

import jiwer

# Errors in a hundred units: what few, many and most errors are in TASU2 (arXiv 2604.08384).
ERROR_BINS = ((0.0, 0.06), (0.1, 0.4), (0.5, 1.5))
UNKNOWN_BIN = 0  # how many errors are heard is not said


def error_rate(text_ids: Sequence[int], heard_ids: Sequence[int]) -> float:
    """Wrong, missing and extra units per unit of the text; 1 where one of both has none.

    Args:
        text_ids: units of the transcript.
        heard_ids: best units of the steps, without blanks.
    """
    if not text_ids or not heard_ids:
        return 1.0
    return jiwer.wer(*(" ".join(map(str, ids)) for ids in (text_ids, heard_ids)))


def error_bin(text_ids: Sequence[int], heard_ids: Sequence[int]) -> int:
    """The bin of an utterance's error rate, from 1 on; ``UNKNOWN_BIN`` between the bins.

    Args:
        text_ids: units of the transcript.
        heard_ids: best units of the steps, without blanks.
    """
    return bin_of(error_rate(text_ids, heard_ids))


def bin_of(rate: float) -> int:
    """The bin of an error rate, from 1 on; ``UNKNOWN_BIN`` between the bins."""
    for number, (low, high) in enumerate(ERROR_BINS, 1):
        if low <= rate <= high:
            return number
    return UNKNOWN_BIN
