"""From a task to its metrics: what its line in the prompt file says, a table, or a default."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from espnet_psslm.text.prompt import read_prompt_file
from espnet_psslm.text.scripts import is_unspaced
from espnet_psslm.text.slu_answer import parse_answer
from espnet_psslm.text.tasks import (
    ACTION,
    ENTITIES,
    SCENARIO,
    SENTIMENT,
    TRANSCRIPTS,
    translation_languages,
)

METRIC_OF = {
    **dict.fromkeys(TRANSCRIPTS, "wer"),
    **dict.fromkeys((SCENARIO, ACTION, SENTIMENT), "accuracy"),
    ENTITIES: "slu",
}
BESIDE = {"wer": ("cer",), "bleu": ("chrf",)}  # metrics that tables give with the first one


class TaskMetrics:
    """Choose how tasks are scored.

    Args:
        language: of the speech.
        prompts: lines of the prompt file, which may name metrics.
    """

    def __init__(self, language: str, prompts: Iterable[Mapping[str, Any]] = ()) -> None:
        self.speech = language
        self._chosen: dict[str, str] = {}
        self._labelled: set[str] = set()
        for row in prompts:
            if "metric" in row:
                self._chosen[row["task"]] = row["metric"]
            if row.get("labels"):
                self._labelled.add(row["task"])

    @classmethod
    def of_file(cls, language: str, prompt_file: str | Path | None) -> "TaskMetrics":
        """Read the prompt file, if there is one.

        Raises:
            ValueError: if it cannot be used.
        """
        return cls(language, [] if prompt_file is None else read_prompt_file(prompt_file))

    def language(self, task: str) -> str:
        """Language of a task's answers."""
        languages = translation_languages(task)
        return self.speech if languages is None else languages[1]

    def metrics(self, task: str) -> tuple[str, ...]:
        """Names of a task's metrics, first the one that systems are compared by.

        Words cannot be counted where no space is between them: there ``wer`` becomes ``cer``.
        """
        if task not in self._chosen:
            self._chosen[task] = METRIC_OF.get(task) or self._unsaid(task)
        metric = self._chosen[task]
        if metric == "wer" and is_unspaced(self.language(task)):
            return ("cer",)
        return (metric, *BESIDE.get(metric, ()))

    def _unsaid(self, task: str) -> str:
        if translation_languages(task):
            return "bleu"
        metric = "accuracy" if task in self._labelled else "exact"
        logging.info(
            'task %s is scored by %s: no "metric" in the prompt file says another', task, metric
        )
        return metric


def can_be_scored(metric: str, refs: Iterable[str]) -> bool:
    """Tell whether references have anything to count: of answers with entities, an entity."""
    return metric != "slu" or any(parse_answer(line).entities for line in refs)
