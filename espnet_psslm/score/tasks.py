"""One table: from a task to its metrics, and from a metric to its scorer."""

from collections.abc import Mapping
from typing import Any

from espnet_psslm.data.labelled import ACTION, ASR, ENTITIES, SCENARIO
from espnet_psslm.score.classification import accuracy
from espnet_psslm.score.error_rate import error_rate
from espnet_psslm.score.slu import parse_answers, slu_score
from espnet_psslm.score.translation import translation_score
from espnet_psslm.text.scripts import is_unspaced
from espnet_psslm.text.slu_answer import parse_answer
from espnet_psslm.text.tasks import translation_languages

METRIC_OF = {SCENARIO: "accuracy", ACTION: "accuracy", ENTITIES: "slu"}


def metrics_of(task: str, language: str) -> tuple[tuple[str, ...], str]:
    """Choose how a task is scored.

    Args:
        task: of the manifest.
        language: of the speech.

    Returns:
        Metrics, the one to compare systems by first, and the language of the answers. No metric:
        the task is not scored.
    """
    if task == ASR:
        return (("cer",) if is_unspaced(language) else ("wer", "cer")), language
    if languages := translation_languages(task):
        return ("bleu", "chrf"), languages[1]
    return ((METRIC_OF[task],) if task in METRIC_OF else ()), language


def score(
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    *,
    metric: str,
    language: str,
    seed: int,
    normalizer: str = "psslm",
) -> dict[str, Any]:
    """Score one hypothesis file by one metric.

    Args:
        refs: key -> reference.
        hyps: key -> hypothesis.
        metric: of :func:`metrics_of`.
        language: of the answers.
        seed: of the bootstrap.
        normalizer: of error rates.

    Returns:
        The score, as plain types.
    """
    if metric == "accuracy":
        return accuracy(refs, hyps, seed=seed).as_dict()
    if metric == "slu":
        right = {key: parse_answer(line) for key, line in refs.items()}
        return slu_score(right, parse_answers(hyps), seed=seed).as_dict()
    if metric in ("bleu", "chrf"):
        return translation_score(refs, hyps, metric=metric, language=language, seed=seed).as_dict()
    unit = "word" if metric == "wer" else "char"
    return error_rate(
        refs, hyps, unit=unit, language=language, seed=seed, normalizer=normalizer
    ).as_dict()
