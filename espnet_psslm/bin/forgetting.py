"""Every task before and after fine-tuning on some of them, in one table.

    python -m espnet_psslm.bin.forgetting --manifest dump/raw/test/psslm.jsonl \\
        --before exp/psslm_text/decode/test --after exp/psslm_sft/decode/test \\
        --output exp/forgetting.md

Both folders are those of ``psslm_inference``. Tasks are scored as in stage 13, see
``collect_results``. Writes Markdown, and the same numbers as JSON beside it. Error rates are better
where smaller, all others where larger;
``better`` or ``worse`` stands only where the 95 % intervals do not overlap.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_psslm.atomic import atomic_text
from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.json_files import write_json
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.score.files import read_answers
from espnet_psslm.score.metrics import METRICS
from espnet_psslm.score.report import interval, percent, table
from espnet_psslm.score.tasks import TaskMetrics, can_be_scored

HEADER = ("task", "metric", "before % [95 %]", "after % [95 %]", "change", "")


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser("Scores of every task before and after fine-tuning.")
    parser.add_argument("--manifest", required=True, help="references, JSON Lines")
    parser.add_argument("--before", type=Path, required=True, help="answers of psslm_inference")
    parser.add_argument("--after", type=Path, required=True, help="answers of psslm_inference")
    parser.add_argument("--output", type=Path, required=True, help="Markdown file to write")
    parser.add_argument(
        "--metric",
        nargs="+",
        default=[],
        metavar="TASK=METRIC",
        help=f"in place of the task's own: {', '.join(METRICS)}",
    )
    parser.add_argument("--prompt_file", help='its lines may say the "metric" of their task')
    parser.add_argument("--language", default="en", help="of the speech")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    return parser


def given_metrics(pairs: Sequence[str]) -> dict[str, str]:
    """What ``--metric`` says, by task.

    Raises:
        ValueError: for an unknown metric.
    """
    given = dict(pair.partition("=")[::2] for pair in pairs)
    if unknown := [metric for metric in given.values() if metric not in METRICS]:
        raise ValueError(f"--metric {unknown[0]!r}: write TASK=METRIC, one of {', '.join(METRICS)}")
    return given


def compare(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Scores of both folders, and the change, by task.

    Raises:
        ValueError: if a metric is unknown, or a task has no answers.
    """
    given = given_metrics(args.metric)
    tasks = TaskMetrics.of_file(args.language, args.prompt_file)
    targets: dict[str, dict[str, str]] = {}
    for key, row in read_manifest(args.manifest).items():
        targets.setdefault(row["task"], {})[key] = row["target"]
    found = {}
    for task, refs in targets.items():
        metric = given.get(task) or tasks.metrics(task)[0]
        if not can_be_scored(metric, refs.values()):
            logging.info("task %s has no entities to score", task)
            continue
        options = {"language": tasks.language(task), "seed": args.seed}
        before, after = (
            METRICS[metric].score(refs, read_answers(folder / task), **options).as_dict()
            for folder in (args.before, args.after)
        )
        is_error = METRICS[metric].lower_is_better
        found[task] = {
            "before": before,
            "after": after,
            "change": after["rate"] - before["rate"],
            "verdict": verdict(before["ci95"], after["ci95"], is_error=is_error),
        }
    return found


def verdict(before: Sequence[float], after: Sequence[float], *, is_error: bool) -> str:
    """``better``, ``worse``, or nothing where the intervals (low, high) overlap."""
    if after[0] > before[1]:
        return "worse" if is_error else "better"
    if after[1] < before[0]:
        return "better" if is_error else "worse"
    return ""


def render(found: dict[str, dict[str, Any]]) -> str:
    """The table, in Markdown."""
    lines = []
    for task, row in found.items():
        sides = row["before"], row["after"]
        rates = [f"{percent(s['rate'], digits=2)} {interval(s['ci95'])}" for s in sides]
        change = f"{100 * row['change']:+.2f}"
        lines.append([task, row["before"]["metric"], *rates, change, row["verdict"]])
    return table(HEADER, lines)


def main(cmd: Sequence[str] | None = None) -> None:
    """Score and write."""
    with command(get_parser(), cmd) as args:
        found = compare(args)
        write_json(args.output.with_suffix(".json"), found)
        atomic_text(args.output, render(found))
    worse = [task for task, row in found.items() if row["verdict"] == "worse"]
    logging.info("%d tasks, worse: %s: %s", len(found), ", ".join(worse) or "none", args.output)


if __name__ == "__main__":
    main()
