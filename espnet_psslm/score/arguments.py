"""Options of the commands that score a task of a manifest."""

import argparse

from espnet_psslm.score.metrics import METRICS
from espnet_psslm.score.tasks import TaskMetrics


def add_task_arguments(parser: argparse.ArgumentParser) -> None:
    """References, the task among them, and how it is scored."""
    parser.add_argument("--ref", required=True, help="manifest (.jsonl) or text file")
    parser.add_argument("--task", help="task of the manifest to score")
    parser.add_argument(
        "--key_field", default="key", choices=("key", "utt"), help="what answers are keyed by"
    )
    parser.add_argument(
        "--metric", choices=tuple(METRICS), help="default: the task's, as stage 13 has it"
    )
    parser.add_argument("--prompt_file", help='its lines may say the "metric" of their task')
    parser.add_argument(
        "--language",
        help="of the texts: their normalisation, the tokeniser of BLEU; default: en, of "
        "translations the language that the task names",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--output", required=True, help="JSON file to write")


def metric_and_language(args: argparse.Namespace) -> tuple[str, str]:
    """How the task is scored.

    Raises:
        ValueError: if neither a metric nor a task is given, or the prompt file cannot be used.
    """
    if args.metric is None and args.task is None:
        raise ValueError(f"give --task, or --metric, one of {', '.join(METRICS)}")
    tasks = TaskMetrics.of_file(args.language or "en", args.prompt_file)
    language = args.language or tasks.language(args.task or "")
    return args.metric or tasks.metrics(args.task)[0], language
