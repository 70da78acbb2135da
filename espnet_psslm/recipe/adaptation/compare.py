"""What a model has learnt and what it has forgotten: answers before and after."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_psslm.data.manifest import Row
from espnet_psslm.inference.decoder import PSSLMDecoder
from espnet_psslm.progress import show_progress
from espnet_psslm.score.metrics import METRICS
from espnet_psslm.score.report import table
from espnet_psslm.score.tasks import TaskMetrics

SIMULATED, HEARD = "text", "audio"


@dataclass(frozen=True)
class Rows:
    """Some rows that a model answers."""

    name: str  # in the table
    rows: Sequence[Row]
    source: str  # ``SIMULATED`` from their texts, or ``HEARD``


@dataclass(frozen=True)
class Change:
    """One line of the table; rates in [0, 1], ``None`` where the model had no such task."""

    name: str
    task: str
    num_rows: int
    metric: str
    before: float | None
    after: float

    def cells(self) -> list[str]:
        """For the table."""
        rates = ["-" if x is None else f"{100 * x:.2f}" for x in (self.before, self.after)]
        better = "lower" if METRICS[self.metric].lower_is_better else "higher"
        return [
            self.name,
            self.task,
            str(self.num_rows),
            f"{self.metric} ({better} is better)",
            *rates,
        ]


def answer(
    parts: Sequence[Rows],
    *,
    config_file: Path,
    model_file: Path,
    device: str,
    tasks: TaskMetrics,
    name: str,
) -> dict[tuple[str, str], tuple[int, str, float]]:
    """Answer rows with a model and score them.

    Args:
        parts: what to answer.
        config_file: of the model.
        model_file: its parameters.
        device: where.
        tasks: how answers are scored.
        name: of the model, for the progress.

    Returns:
        (part, task) -> number of rows, metric and rate; tasks that the model lacks are left out.

    Raises:
        ValueError: if a row cannot be used.
    """
    found = {}
    for source in (SIMULATED, HEARD):
        by_task = _by_task(part for part in parts if part.source == source)
        if not by_task:
            continue
        decoder = PSSLMDecoder(config_file, model_file, device=device, source=source, beam_size=1)
        known = decoder.preprocessor.prompts.tasks
        by_task = {place: rows for place, rows in by_task.items() if place[1] in known}
        total = sum(map(len, by_task.values()))
        with show_progress(total, f"answers of the {name} model", units="rows") as progress:
            for (part, task), rows in by_task.items():
                answers = decoder.decode_usable(rows, progress=progress)
                for key, reason in answers.skipped.items():
                    raise ValueError(f"{part}, {key}: {reason}")
                texts = {key: best.text for key, best in answers.hypotheses.items()}
                found[part, task] = len(rows), *_rate(task, rows, texts, tasks)
    return found


def _by_task(parts: Iterable[Rows]) -> dict[tuple[str, str], list[Row]]:
    """Rows by the name of their part and by task."""
    found: dict[tuple[str, str], list[Row]] = {}
    for part in parts:
        for row in part.rows:
            found.setdefault((part.name, row["task"]), []).append(row)
    return found


def _rate(
    task: str, rows: Sequence[Row], texts: Mapping[str, str], tasks: TaskMetrics
) -> tuple[str, float]:
    """The measure of a task, and its value."""
    metric, targets = tasks.metrics(task)[0], {row["key"]: row["target"] for row in rows}
    score = METRICS[metric].score(targets, texts, language=tasks.language(task), seed=0)
    return metric, score.rate


def changes(
    before: dict[tuple[str, str], tuple[int, str, float]],
    after: dict[tuple[str, str], tuple[int, str, float]],
) -> list[Change]:
    """Join what :func:`answer` says of the old and of the new model."""
    return [
        Change(*place, *what[:2], before[place][2] if place in before else None, what[2])
        for place, what in after.items()
    ]


def render(found: Sequence[Change]) -> str:
    """Markdown table of the changes."""
    header = ["rows", "task", "number", "measure, %", "before", "after"]
    return table(header, [change.cells() for change in found])
