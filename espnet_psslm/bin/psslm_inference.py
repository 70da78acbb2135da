"""Answer the rows of a manifest: batched beam search.

Usage::

    python -m espnet_psslm.bin.psslm_inference --psslm_train_config exp/psslm_sft/config.yaml \\
        --psslm_model_file exp/psslm_sft/valid.acc.ave.pth --manifest dump/raw/test/psslm.jsonl \\
        --output_dir exp/psslm_sft/decode/test --batch_size 16 --beam_size 4 --device auto

Writes, for each task, ``TASK/{n}best_recog/{text,score}`` (``key answer``, in the manifest's order;
log probability per token) and ``TASK/stats.json``: seconds from audio to text, seconds of audio,
samples, and how many of them were too long and answered in pieces. Audio that several tasks share
is read and encoded for the first of them only, and counts there. ``stats.json`` holds the seconds
of loading and the peak of memory. Rows that cannot be used are left out and listed in
``skipped.txt``; more than ``--max_skipped`` of them end in an error, after all others are written
(``--judge_skipped false``, for one of several jobs: ``join_jobs`` judges what all have left out).

Answers are kept as they are found, in ``unfinished.jsonl``: the same command goes on behind them,
and ends with the same files. Those of another model, manifest or other options are not used.
``made_with.json`` holds a hash of model and options.

``--choice_tasks`` keep to their labels. ``--confidence`` writes ``1best_recog/confidence``.
``--guard_tasks`` are transcripts that fall back to CTC's text where the language model's departs
from it too far: ``1best_recog/fallback`` names them with the reason, ``TASK/stats.json`` counts
them.

``--oracle true`` feeds the noise-free simulation of the true transcripts: what the language model
makes of a perfect acoustic model.
"""

import argparse
import logging
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_psslm.bin.command import DEVICE_HELP, command
from espnet_psslm.common.json_files import write_json
from espnet_psslm.common.left_out import check_skipped, write_skipped
from espnet_psslm.inference.options import (
    add_answer_arguments,
    add_row_arguments,
    add_search_arguments,
    load_decoder,
    read_rows,
)
from espnet_psslm.progress import show_progress

if TYPE_CHECKING:
    from espnet_psslm.common.kept_parts import KeptParts
    from espnet_psslm.inference.decoder import PSSLMDecoder


def __getattr__(name: str) -> Any:
    """``Speech2Text``, where ESPnet's users look for it; importing it takes seconds."""
    if name == "Speech2Text":
        from espnet_psslm.inference.speech2text import Speech2Text

        return Speech2Text
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get_parser() -> argparse.ArgumentParser:
    """Options of this command; they may stand in a YAML file (``--config``)."""
    from espnet2.utils.config_argparse import ArgumentParser

    parser = ArgumentParser(
        description="Answer the rows of a manifest with a trained speech language model.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_search_arguments(parser)
    parser.add_argument("--manifest", required=True, help="JSON Lines")
    parser.add_argument("--output_dir", required=True, help="for answers and stats.json")
    add_row_arguments(parser)
    add_answer_arguments(parser)
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    return parser


def run(args: argparse.Namespace) -> int:
    """Load, decode, write.

    Returns:
        Rows answered.

    Raises:
        ValueError: if the model or the manifest cannot be used, or too many rows of it.
    """
    from espnet_psslm.common.fingerprint import fingerprint
    from espnet_psslm.common.kept_parts import UNFINISHED, KeptParts
    from espnet_psslm.inference.made_with import made_with, write_made_with
    from espnet_psslm.text.prompt import read_prompt_file
    from espnet_psslm.trained import read_config

    prompts = read_prompt_file(read_config(args.psslm_train_config)["prompt_file"])
    rows, unusable = read_rows(args, [prompt["task"] for prompt in prompts])
    start = time.perf_counter()
    decoder = load_decoder(args, prompts)
    load_s = time.perf_counter() - start
    output = Path(args.output_dir)
    model_and_options = made_with(args)
    belongs_to = fingerprint({"made_with": model_and_options}, {"manifest": args.manifest})
    with KeptParts(output / UNFINISHED, belongs_to=belongs_to) as parts:
        skipped = unusable | answer_all(args, decoder, rows, parts)
        write_skipped(output, skipped)
        peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        num_rows = len(unusable) + sum(map(len, rows.values()))
        limit = {"num_rows": num_rows, "max_skipped": args.max_skipped}
        stats = {"peak_rss_mb": round(peak_rss_mb, 1), "load_s": round(load_s, 3), **limit}
        write_json(output / "stats.json", stats)
        write_made_with(output, model_and_options)
        parts.remove()
    if args.judge_skipped:
        check_skipped(output, **limit)
    return limit["num_rows"] - len(skipped)


def answer_all(
    args: argparse.Namespace,
    decoder: "PSSLMDecoder",
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    parts: "KeptParts",
) -> dict[str, str]:
    """Answer the rows of each task, and write its files.

    Args:
        args: of the command line.
        decoder: the model.
        rows: by task.
        parts: where answers are kept until all are there.

    Returns:
        Why some rows cannot be used, by key.
    """
    from espnet_psslm.answer_files import answer_stats, write_answers
    from espnet_psslm.inference.kept_answers import KeptAnswers

    every = [row for task_rows in rows.values() for row in task_rows]
    kept = KeptAnswers(parts, every)
    if kept.known:
        logging.info("%d of %d rows were answered before", len(kept.known), len(every))
    skipped: dict[str, str] = {}
    for task, task_rows in rows.items():
        with show_progress(len(task_rows), task) as progress:
            decoded = decoder.decode_usable(
                task_rows, progress=progress, remember=len(rows) > 1, kept=kept
            )
        folder = Path(args.output_dir) / task
        write_answers(folder, decoded, nbest=args.nbest)
        stats = answer_stats(decoded, guarded=task in args.guard_tasks)
        write_json(folder / "stats.json", stats)
        skipped |= decoded.skipped
    return skipped


def main(cmd: Sequence[str] | None = None) -> None:
    """Answer a manifest."""
    with command(get_parser(), cmd) as args:
        answered = run(args)
    logging.info("answered %d rows in %s", answered, args.output_dir)


if __name__ == "__main__":
    main()
