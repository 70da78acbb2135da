"""Word and character error rate with counts of insertions, deletions and substitutions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import jiwer
import numpy as np

from espnet_psslm.score.bootstrap import ratio_interval
from espnet_psslm.score.normalizers import NORMALIZERS


@dataclass(frozen=True)
class ErrorRate:
    """Error rate of one set; all rates are fractions."""

    metric: str  # wer or cer
    rate: float  # (sub + del + ins) / num_ref
    ci95: tuple[float, float]  # bootstrap interval by utterance
    num_sub: int
    num_del: int
    num_ins: int
    num_ref: int  # reference words or characters
    num_utts: int
    num_missing: int  # references without a hypothesis, counted as empty ones
    num_wrong_utts: int  # utterances with an error
    normalizer: str  # of NORMALIZERS, which both sides went through

    def as_dict(self) -> dict[str, Any]:
        """Return plain types for JSON."""
        return {**asdict(self), "ci95": list(self.ci95)}


def error_rate(
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    *,
    unit: Literal["word", "char"],
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
    check_keys(refs, hyps)
    keys = sorted(refs)
    normalize = NORMALIZERS[normalizer].apply
    ref_texts = [normalize(refs[key], language) for key in keys]
    hyp_texts = [normalize(hyps.get(key, ""), language) for key in keys]
    counts = count_errors(ref_texts, hyp_texts, unit=unit)
    num_errors = counts[:, :3].sum(axis=1)
    num_ref = counts[:, 3]
    if num_ref.sum() == 0:
        raise ValueError(f"{len(keys)} references have no {unit}s: nothing to score against")
    num_sub, num_del, num_ins, total = (int(n) for n in counts.sum(axis=0))
    return ErrorRate(
        metric="wer" if unit == "word" else "cer",
        rate=(num_sub + num_del + num_ins) / total,
        ci95=ratio_interval(num_errors, num_ref, seed=seed),
        num_sub=num_sub,
        num_del=num_del,
        num_ins=num_ins,
        num_ref=total,
        num_utts=len(keys),
        num_missing=len(refs.keys() - hyps.keys()),
        num_wrong_utts=int((num_errors > 0).sum()),
        normalizer=normalizer,
    )


def check_keys(refs: Mapping[str, str], hyps: Mapping[str, str]) -> None:
    """Refuse hypotheses that have no reference.

    Args:
        refs: utterance -> reference.
        hyps: utterance -> hypothesis.

    Raises:
        ValueError: naming one such utterance.
    """
    unknown = hyps.keys() - refs.keys()
    if unknown:
        raise ValueError(
            f"{len(unknown)} hypotheses have no reference, e.g. {min(unknown)!r}: "
            "hypotheses and references must come from one set (score --unknown left_out does "
            "without them)"
        )


def count_errors(refs: list[str], hyps: list[str], *, unit: Literal["word", "char"]) -> np.ndarray:
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
