"""Every task before and after fine-tuning on some of them, in one table.

    python -m espnet_psslm.bin.forgetting --manifest dump/raw/test/psslm.jsonl \\
        --before exp/psslm_text/decode/test --after exp/psslm_sft/decode/test \\
        --output exp/forgetting.md

Both folders are those of ``psslm_inference``. Tasks are scored as in stage 13: transcripts by WER,
in languages without spaces between words by CER, translations by BLEU. Writes Markdown, and the
same numbers as JSON beside it. Error rates are better where smaller, all others where larger;
``better`` or ``worse`` stands only where the 95 % intervals do not overlap.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_psslm.atomic import atomic_text
from espnet_psslm.bin import score
from espnet_psslm.bin.command import command
from espnet_psslm.data.labelled import ASR
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.score.files import write_json
from espnet_psslm.score.tasks import metrics_of
from espnet_psslm.text.slu_answer import parse_answer

TRANSCRIPTS = ("hotword", "prevtext")
METRIC_OF = {"sentiment": "accuracy", "SLU_entities": "slu"}  # beside those of stage 13
ERRORS = ("wer", "cer")
HEADER = (
    "| task | metric | before % [95 %] | after % [95 %] | change | |\n|---|---|---|---|---|---|\n"
)


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(
        description="Scores of every task before and after fine-tuning.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--manifest", required=True, help="references, JSON Lines")
    parser.add_argument("--before", type=Path, required=True, help="answers of psslm_inference")
    parser.add_argument("--after", type=Path, required=True, help="answers of psslm_inference")
    parser.add_argument("--output", type=Path, required=True, help="Markdown file to write")
    parser.add_argument(
        "--metric",
        nargs="+",
        default=[],
        metavar="TASK=METRIC",
        help=f"for tasks without one: {', '.join(score.METRICS)}",
    )
    parser.add_argument("--language", default="en", help="of the speech")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    return parser


def metric_of(task: str, language: str) -> tuple[str | None, str]:
    """The metric of a task, None where it has none, and the language of its answers."""
    known, answered = metrics_of(ASR if task in TRANSCRIPTS else task, language)
    return (known[0] if known else METRIC_OF.get(task)), answered


def metrics(args: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """Metric of each task of the manifest that has one, and the language of its answers.

    Raises:
        ValueError: if no task has one, or an unknown one.
    """
    given = dict(pair.partition("=")[::2] for pair in args.metric)
    if unknown := [metric for metric in given.values() if metric not in score.METRICS]:
        raise ValueError(f"--metric {unknown[0]!r}: write TASK=METRIC, one of {score.METRICS}")
    targets: dict[str, list[str]] = {}
    for row in read_manifest(args.manifest).values():
        targets.setdefault(row["task"], []).append(row["target"])
    known: dict[str, tuple[str, str]] = {}
    for task, answers in targets.items():
        metric, language = metric_of(task, args.language)
        metric = given.get(task, metric)
        if metric == "slu" and not any(parse_answer(line).entities for line in answers):
            logging.info("task %s has no entities to score", task)
        elif metric is None:
            logging.warning(
                "task %s has no metric and is left out: give --metric %s=...", task, task
            )
        else:
            known[task] = (metric, language)
    if not known:
        raise ValueError(
            f"none of the tasks {list(targets)} has a metric: give --metric TASK=METRIC"
        )
    return known


def score_task(
    args: argparse.Namespace, folder: Path, task: str, metric: str, language: str
) -> dict[str, Any]:
    """Score the answers of one folder.

    Raises:
        ValueError: if they are not there, or cannot be scored.
    """
    text = folder / task / "1best_recog" / "text"
    if not text.is_file():
        raise ValueError(f"{text}: no such file; decode task {task} with psslm_inference")
    options = ["--ref", args.manifest, "--hyp", text, "--task", task, "--metric", metric]
    options += ["--language", language, "--output", args.output, "--seed", args.seed]
    return score.score(score.get_parser().parse_args([str(o) for o in options])).as_dict()


def compare(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Scores of both folders, and the change, by task.

    Raises:
        ValueError: if a task has no metric, or no answers.
    """
    found = {}
    for task, (metric, language) in metrics(args).items():
        before, after = (
            score_task(args, folder, task, metric, language) for folder in (args.before, args.after)
        )
        found[task] = {
            "before": before,
            "after": after,
            "change": after["rate"] - before["rate"],
            "verdict": verdict(before["ci95"], after["ci95"], is_error=metric in ERRORS),
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
        cells = [task, row["before"]["metric"]]
        for side in (row["before"], row["after"]):
            low, high = (100 * bound for bound in side["ci95"])
            cells.append(f"{100 * side['rate']:.2f} [{low:.2f}, {high:.2f}]")
        cells += [f"{100 * row['change']:+.2f}", row["verdict"]]
        lines.append(f"| {' | '.join(cells)} |\n")
    return HEADER + "".join(lines)


def main(cmd: Sequence[str] | None = None) -> None:
    """Score and write.

    Args:
        cmd: arguments; None reads the command line.
    """
    with command(get_parser(), cmd) as args:
        found = compare(args)
        write_json(args.output.with_suffix(".json"), found)
        atomic_text(args.output, render(found))
    worse = [task for task, row in found.items() if row["verdict"] == "worse"]
    logging.info("%d tasks, worse: %s: %s", len(found), ", ".join(worse) or "none", args.output)


if __name__ == "__main__":
    main()
