"""What the commands that decode a manifest are asked, and what they read and load for it."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from espnet_psslm.common.switch import add_switch, add_trust

if TYPE_CHECKING:
    from espnet_psslm.inference.decoder import PSSLMDecoder


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, and how its answers are searched for."""
    parser.add_argument("--psslm_train_config", required=True, help="config.yaml of the training")
    parser.add_argument("--psslm_model_file", required=True, help="checkpoint")
    parser.add_argument("--batch_size", type=int, default=16, help="rows per batch")
    parser.add_argument("--beam_size", type=int, default=4, help="beams; 1 is greedy")
    parser.add_argument("--max_new_tokens", type=int, default=64, help="longest answer")
    parser.add_argument(
        "--maxlenratio",
        type=float,
        default=0.0,
        help="longest answer in tokens per step heard (8 tokens are always allowed); "
        "0: --max_new_tokens alone",
    )
    add_switch(
        parser,
        "--merge_lora",
        help="add trained adapters to the weights: faster; rounded, where these are bfloat16",
    )
    add_trust(parser)


def add_row_arguments(parser: argparse._ActionsContainer) -> None:
    """Which rows are answered, from what, and how many may be unusable."""
    parser.add_argument("--tasks", nargs="+", default=[], help="answer only these")
    parser.add_argument(
        "--source",
        choices=("auto", "audio", "steps", "text"),
        default="auto",
        help="what the model hears; auto: what a row has, dumped Steps before audio before text",
    )
    add_switch(
        parser, "--oracle", help="hear the noise-free simulation of the true transcripts (field GT)"
    )
    parser.add_argument("--asr_train_config", help="acoustic model in place of the training's")
    parser.add_argument("--asr_model_file", help="its checkpoint")
    add_skipped_arguments(parser)


def add_skipped_arguments(parser: argparse._ActionsContainer) -> None:
    """How much may be left out because it cannot be used."""
    parser.add_argument(
        "--max_skipped", type=float, default=0.01, help="share of rows that may be unusable"
    )
    add_switch(
        parser,
        "--judge_skipped",
        default="true",
        help="false: leave --max_skipped to join_jobs, which knows the rows of all jobs",
    )


def add_answer_arguments(parser: argparse._ActionsContainer) -> None:
    """What answers may be, and what is written about them."""
    parser.add_argument("--nbest", type=int, default=1, help="answers per row, with their scores")
    parser.add_argument(
        "--choice_tasks",
        nargs="+",
        default=[],
        help="answers of these tasks must be one of the task's labels",
    )
    parser.add_argument(
        "--label_manifest",
        help="labels of --choice_tasks: the targets in this JSON Lines file, e.g. the training's; "
        "else the field labels of the prompt file",
    )
    parser.add_argument(
        "--confidence",
        choices=("token_mean", "posterior"),
        help="token_mean: geometric mean of token probabilities; posterior: share among all "
        "answers that the beams found (over the labels, with as many beams as labels)",
    )
    parser.add_argument(
        "--guard_tasks",
        nargs="+",
        default=[],
        help="transcripts that fall back to CTC's text where they depart from it or repeat "
        "themselves",
    )
    parser.add_argument(
        "--guard_distance",
        type=float,
        default=0.5,
        help="largest edit distance to CTC's text, by the characters of the longer one",
    )
    parser.add_argument(
        "--guard_repeats",
        type=int,
        default=3,
        help="how often in a row the same may be said, unless CTC has it as often",
    )


def read_rows(
    args: argparse.Namespace, known_tasks: Sequence[str]
) -> tuple[dict[str, list[dict[str, object]]], dict[str, str]]:
    """Rows of the manifest by task; and, by file and line, why others cannot be used.

    Raises:
        ValueError: if no row can be used, or a task of ``--tasks`` is not there.
    """
    from espnet_psslm.data.manifest import check_manifest

    rows, problems = check_manifest(args.manifest, tasks=known_tasks)
    if not rows:
        raise ValueError(problems[0] if problems else f"{args.manifest}: holds no row")
    unusable = {f"{p.file}:{p.line}": f"{p.reason}; {p.fix}" for p in problems}
    by_task: dict[str, list[dict[str, object]]] = {}
    for row in rows.values():
        by_task.setdefault(row["task"], []).append(row)
    if absent := [task for task in args.tasks if task not in by_task]:
        raise ValueError(f"--tasks {absent}: {args.manifest} has rows of {sorted(by_task)} only")
    return {task: by_task[task] for task in args.tasks or by_task}, unusable


def read_labels(
    args: argparse.Namespace, prompts: Sequence[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Labels of ``--choice_tasks``.

    Args:
        args: of the command line.
        prompts: lines of the prompt file.

    Raises:
        ValueError: if a task has none.
    """
    from espnet_psslm.data.manifest import read_manifest

    found: dict[str, dict[str, None]] = {}  # in the order of their first occurrence
    if args.label_manifest:
        for row in read_manifest(args.label_manifest).values():
            found.setdefault(row["task"], {})[row["target"].strip()] = None
    else:
        for prompt in prompts:
            found.setdefault(prompt["task"], {}).update(dict.fromkeys(prompt.get("labels", ())))
    if lacking := [task for task in args.choice_tasks if not found.get(task)]:
        where = args.label_manifest or "the prompt file"
        raise ValueError(
            f"--choice_tasks {lacking}: {where} has no labels for them; give --label_manifest a "
            'manifest with their targets, or their prompts a field "labels"'
        )
    return {task: list(found[task]) for task in args.choice_tasks}


def load_decoder(args: argparse.Namespace, prompts: Sequence[Mapping[str, Any]]) -> "PSSLMDecoder":
    """Load the model.

    Args:
        args: of the command line.
        prompts: lines of the prompt file.

    Raises:
        ValueError: if a file is missing or does not fit the others.
    """
    known = {prompt["task"] for prompt in prompts}
    if unknown := {*args.choice_tasks, *args.guard_tasks} - known:
        raise ValueError(
            f"--choice_tasks or --guard_tasks {sorted(unknown)}: the prompt file knows "
            f"{sorted(known)}"
        )
    choices = read_labels(args, prompts)
    from espnet_psslm.bridge.guard import Guard
    from espnet_psslm.inference.decoder import PSSLMDecoder

    guard = Guard(args.guard_tasks, args.guard_distance, args.guard_repeats)
    acoustic = {"train_config": args.asr_train_config, "model_file": args.asr_model_file}
    if (None in acoustic.values()) != (set(acoustic.values()) == {None}):
        raise ValueError("give --asr_train_config and --asr_model_file together, or neither")
    return PSSLMDecoder(
        args.psslm_train_config,
        args.psslm_model_file,
        device=args.device,
        source=args.source,
        oracle=args.oracle,
        acoustic_conf=None if args.asr_model_file is None else acoustic,
        batch_size=args.batch_size,
        beam_size=args.beam_size,
        max_new_tokens=args.max_new_tokens,
        max_len_ratio=args.maxlenratio,
        merge_lora=args.merge_lora,
        nbest=args.nbest,
        confidence=args.confidence,
        choices=choices,
        guard=guard if args.guard_tasks else None,
        trust_remote_code=args.trust_remote_code,
    )
