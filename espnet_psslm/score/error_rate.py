"""Word and character error rate with counts of insertions, deletions and substitutions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import jiwer
import numpy as np

from espnet_psslm.score.base import Score, in_order
from espnet_psslm.score.bootstrap import ratio_interval
from espnet_psslm.score.normalizers import NORMALIZERS

Unit = Literal["word", "char"]


@dataclass(frozen=True)
class ErrorRate(Score):
    """Error rate of one set: (sub + del + ins) / num_ref."""

    num_sub: int
    num_del: int
    num_ins: int
    num_ref: int  # reference words or characters
    num_wrong_utts: int  # utterances with an error
    normalizer: str  # of NORMALIZERS, which both sides went through


def error_rate(
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    *,
    unit: Unit,
    seed: int,
    language: str = "en",
    normalizer: str = "psslm",
) -> ErrorRate:
    """Align each hypothesis with its reference and count the errors.

    Both sides are normalised, by default as the training text was. Blanks count as characters in
    "char", but only single ones between words.

    Args:
        refs: utterance -> reference.
        hyps: utterance -> hypothesis; one that is missing counts as empty.
        unit: what is counted.
        seed: of the bootstrap.
        language: of the normalisation.
        normalizer: name in ``NORMALIZERS``.

    Returns:
        Rates and counts.

    Raises:
        ValueError: for a hypothesis without a reference, or without any reference word.
    """
    counts = _count_normalized(*in_order(refs, hyps), language, unit, normalizer)
    terms = _terms(counts)
    if not counts[:, 3].any():
        raise ValueError(f"{len(refs)} references have no {unit}s: nothing to score against")
    num_sub, num_del, num_ins, total = (int(n) for n in counts.sum(axis=0))
    return ErrorRate(
        metric="wer" if unit == "word" else "cer",
        rate=(num_sub + num_del + num_ins) / total,
        ci95=ratio_interval(terms, seed=seed),
        num_utts=len(refs),
        num_missing=len(refs.keys() - hyps.keys()),
        num_sub=num_sub,
        num_del=num_del,
        num_ins=num_ins,
        num_ref=total,
        num_wrong_utts=int((terms[:, 0] > 0).sum()),
        normalizer=normalizer,
    )


def error_terms(
    refs: Sequence[str], hyps: Sequence[str], language: str, *, unit: Unit
) -> np.ndarray:
    """What an error rate is the quotient of: errors, and words or characters of the reference.

    Args:
        refs: references.
        hyps: hypotheses, in the same order.
        language: of the normalisation.
        unit: what is counted.

    Returns:
        (n_utts, 2).
    """
    return _terms(_count_normalized(refs, hyps, language, unit))


def _terms(counts: np.ndarray) -> np.ndarray:
    return np.stack([counts[:, :3].sum(axis=1), counts[:, 3]], axis=1).astype(np.float64)


def _count_normalized(
    refs: Sequence[str],
    hyps: Sequence[str],
    language: str,
    unit: Unit,
    normalizer: str = "psslm",
) -> np.ndarray:
    normalize = NORMALIZERS[normalizer].apply
    normalized = [[normalize(text, language) for text in side] for side in (refs, hyps)]
    return count_errors(*normalized, unit=unit)


def count_errors(refs: Sequence[str], hyps: Sequence[str], *, unit: Unit) -> np.ndarray:
    """Count the errors of each pair.

    Args:
        refs: normalised references.
        hyps: normalised hypotheses.
        unit: what is counted.

    Returns:
        (n_utts, 4) integers: substitutions, deletions, insertions, reference length.
    """
    counts = np.zeros((len(refs), 4), dtype=np.int64)
    process = jiwer.process_words if unit == "word" else jiwer.process_characters
    for row, ref, hyp in zip(counts, refs, hyps, strict=True):
        if ref:
            out = process(ref, hyp)
            num_ref = out.hits + out.substitutions + out.deletions
            row[:] = out.substitutions, out.deletions, out.insertions, num_ref
        else:
            # jiwer refuses empty references; all of the hypothesis was inserted.
            row[2] = len(hyp.split()) if unit == "word" else len(hyp)
    return counts
