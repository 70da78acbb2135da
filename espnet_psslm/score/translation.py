"""BLEU and chrF by sacreBLEU, with the tokeniser that fits the language and the signature.

Translations are scored as they are: with case and punctuation. sacreBLEU (Post, WMT 2018) says in
its signature how a score was made; scores with different signatures cannot be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from espnet_psslm.score.base import Score, in_order
from espnet_psslm.score.bootstrap import percentile_interval, resampled_sums
from espnet_psslm.text.scripts import UNSPACED_LANGUAGES, language_code

# Language -> sacreBLEU's tokeniser: its own for Chinese, whichever of its languages. Others without
# spaces by characters, as CoVoST 2 does it for Japanese: mecab would need a package of its own.
CHINESE = ("zh", "cmn", "yue")
TOKENIZERS = dict.fromkeys(UNSPACED_LANGUAGES, "char") | dict.fromkeys(CHINESE, "zh")
DEFAULT_TOKENIZER = "13a"


@dataclass(frozen=True)
class Translation(Score):
    """BLEU or chrF of one set: 0.299 for a BLEU of 29.9."""

    signature: str  # sacreBLEU's
    verbose: str  # precisions, brevity penalty and lengths of BLEU


def build_metric(metric: str, language: str) -> BLEU | CHRF:
    """Make sacreBLEU's object.

    Args:
        metric: bleu or chrf.
        language: of the references, a region may follow.

    Returns:
        The metric.
    """
    if metric == "chrf":
        return CHRF()
    tokenizer = TOKENIZERS.get(language_code(language), DEFAULT_TOKENIZER)
    # force: an answer that ends in " ." is what the model wrote, not a tokenised file.
    return BLEU(tokenize=tokenizer, force=True)


def segment_statistics(metric: BLEU | CHRF, refs: Sequence[str], hyps: Sequence[str]) -> np.ndarray:
    """Count what each utterance adds to the score of a set.

    Args:
        metric: of :func:`build_metric`.
        refs: references.
        hyps: hypotheses, in the same order.

    Returns:
        (n_utts, S).
    """
    # sacreBLEU's own significance tests rest on these two methods; it has no public ones.
    return np.array(metric._extract_corpus_statistics(hyps, [refs]), dtype=np.float64)


def rates_of_sums(metric: BLEU | CHRF, sums: np.ndarray) -> np.ndarray:
    """Score sums of :func:`segment_statistics`.

    Args:
        metric: of :func:`build_metric`.
        sums: (R, S).

    Returns:
        (R,) fractions.
    """
    # Counts are integers, and sacreBLEU computes with Python's.
    rows = sums.round().astype(np.int64).tolist()
    return np.array([metric._compute_score_from_stats(row).score / 100 for row in rows])


def translation_score(
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    *,
    metric: Literal["bleu", "chrf"],
    language: str,
    seed: int,
) -> Translation:
    """Score translations.

    Args:
        refs: utterance -> reference.
        hyps: utterance -> hypothesis; one that is missing counts as empty.
        metric: what is computed.
        language: of the references; decides BLEU's tokeniser.
        seed: of the bootstrap.

    Returns:
        The score.

    Raises:
        ValueError: without references, or for a hypothesis without a reference.
    """
    references, texts = in_order(refs, hyps)
    scorer = build_metric(metric, language)
    whole = scorer.corpus_score(texts, [references])
    sums = resampled_sums(segment_statistics(scorer, references, texts), seed=seed)
    return Translation(
        metric=metric,
        rate=whole.score / 100,
        ci95=percentile_interval(rates_of_sums(scorer, sums)),
        num_utts=len(refs),
        num_missing=len(refs.keys() - hyps.keys()),
        signature=str(scorer.get_signature()),
        # "BLEU = 29.90 60.1/... (BP = ...)": what follows the score; nothing with chrF.
        verbose=str(whole).partition("= ")[2].partition(" ")[2],
    )
