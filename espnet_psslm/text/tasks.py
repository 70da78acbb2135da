"""Names of tasks, and of the metrics that a prompt file may give them.

``EN2DE`` is a translation from English to German. Languages are named without region, so that
``en_zh-CN`` of a corpus is ``EN2ZH`` of a prompt file.
"""

import re

from espnet_psslm.text.scripts import language_code

TRANSCRIPTS = ASR, HOTWORD, PREVTEXT = "ASR", "hotword", "prevtext"
SCENARIO, ACTION, ENTITIES = "SLU_scenario", "SLU_action", "SLU_entities"
SENTIMENT = "sentiment"

# How answers can be scored: the keys of the table in score/metrics.py.
METRICS = ("wer", "cer", "accuracy", "exact", "bleu", "chrf", "slu")

_TRANSLATION = re.compile(r"([A-Z]{2,3})2([A-Z]{2,3})")


def translation_task(source: str, target: str) -> str:
    """Name the task of a language pair.

    Args:
        source: language code, a region may follow.
        target: likewise.

    Returns:
        The task.
    """
    return "2".join(language_code(code).upper() for code in (source, target))


def translation_languages(task: str) -> tuple[str, str] | None:
    """Return source and target of a translation task.

    Args:
        task: any task.

    Returns:
        Language codes in lower case; None for a task that is no translation.
    """
    match = _TRANSLATION.fullmatch(task)
    return None if match is None else (match[1].lower(), match[2].lower())
