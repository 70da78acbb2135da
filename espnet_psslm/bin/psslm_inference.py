"""Answer the rows of a manifest: batched beam search.

Usage::

    python -m espnet_psslm.bin.psslm_inference --psslm_train_config exp/psslm_sft/config.yaml \\
        --psslm_model_file exp/psslm_sft/valid.acc.ave.pth --manifest dump/raw/test/psslm.jsonl \\
        --output_dir exp/psslm_sft/decode/test --batch_size 16 --beam_size 4 --device auto

Writes, for each task, ``TASK/1best_recog/{text,score}`` (``key answer``, in the manifest's order)
and ``TASK/stats.json``: seconds from audio to text, seconds of audio, samples. Audio that several
tasks share is read and encoded for the first of them only, and counts there. ``stats.json`` holds
the seconds of loading and the peak of memory. Rows that cannot be used are left out and listed in
``skipped.txt``; more than ``--max_skipped`` of them end in an error, after all others are written.

``--oracle true`` feeds the noise-free simulation of the true transcripts: what the language model
makes of a perfect acoustic model.
"""

import argparse
import json
import logging
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_psslm.bin.command import command

if TYPE_CHECKING:
    from espnet_psslm.decode import PSSLMDecoder
    from espnet_psslm.llm.model import Hypothesis

LOG_EVERY_S = 30.0


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = argparse.ArgumentParser(
        description="Answer the rows of a manifest with a trained speech language model.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--psslm_train_config", required=True, help="config.yaml of the training")
    parser.add_argument("--psslm_model_file", required=True, help="checkpoint")
    parser.add_argument("--manifest", required=True, help="JSON Lines")
    parser.add_argument("--output_dir", required=True, help="for answers and stats.json")
    parser.add_argument("--tasks", nargs="+", default=[], help="answer only these")
    parser.add_argument(
        "--source",
        choices=("auto", "audio", "steps", "text"),
        default="auto",
        help="what the model hears; auto: what a row has, dumped Steps before audio before text",
    )
    parser.add_argument(
        "--oracle",
        choices=("true", "false"),
        default="false",
        help="hear the noise-free simulation of the true transcripts (field GT)",
    )
    parser.add_argument("--asr_train_config", help="acoustic model in place of the training's")
    parser.add_argument("--asr_model_file", help="its checkpoint")
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
    parser.add_argument(
        "--merge_lora",
        choices=("true", "false"),
        default="false",
        help="add trained adapters to the weights: faster; rounded, where these are bfloat16",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda[:n] or npu[:n]")
    parser.add_argument(
        "--max_skipped", type=float, default=0.01, help="share of rows that may be unusable"
    )
    return parser


@contextmanager
def show_progress(total: int, name: str) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, now and then a line elsewhere; yields what counts rows."""
    from tqdm import tqdm

    if sys.stderr.isatty():
        with tqdm(total=total, desc=name, unit="row") as bar:
            yield bar.update
        return
    done, said = 0, time.monotonic()

    def count(rows: int) -> None:
        nonlocal done, said
        done += rows
        if done == total or time.monotonic() - said > LOG_EVERY_S:
            said = time.monotonic()
            logging.info("%s: %d of %d rows", name, done, total)

    yield count


def read_rows(
    args: argparse.Namespace, known_tasks: Sequence[str]
) -> dict[str, list[dict[str, object]]]:
    """Rows of the manifest by task.

    Raises:
        ValueError: if a row is malformed, or a task of ``--tasks`` is not there.
    """
    from espnet_psslm.data.manifest import read_manifest

    by_task: dict[str, list[dict[str, object]]] = {}
    for row in read_manifest(args.manifest, tasks=known_tasks).values():
        by_task.setdefault(row["task"], []).append(row)
    if absent := [task for task in args.tasks if task not in by_task]:
        raise ValueError(f"--tasks {absent}: {args.manifest} has rows of {sorted(by_task)} only")
    return {task: by_task[task] for task in args.tasks or by_task}


def load_decoder(args: argparse.Namespace) -> "PSSLMDecoder":
    """Load the model.

    Raises:
        ValueError: if a file is missing or does not fit the others.
    """
    from espnet_psslm.decode import PSSLMDecoder

    acoustic = {"train_config": args.asr_train_config, "model_file": args.asr_model_file}
    if (None in acoustic.values()) != (set(acoustic.values()) == {None}):
        raise ValueError("give --asr_train_config and --asr_model_file together, or neither")
    return PSSLMDecoder(
        args.psslm_train_config,
        args.psslm_model_file,
        device=args.device,
        source=args.source,
        oracle=args.oracle == "true",
        acoustic_conf=None if args.asr_model_file is None else acoustic,
        batch_size=args.batch_size,
        beam_size=args.beam_size,
        max_new_tokens=args.max_new_tokens,
        max_len_ratio=args.maxlenratio,
        merge_lora=args.merge_lora == "true",
    )


def write_answers(folder: Path, hypotheses: Mapping[str, "Hypothesis"]) -> None:
    """Write ``1best_recog/{text,score}``; an answer takes one line, whatever is in it."""
    folder = folder / "1best_recog"
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "text": {key: " ".join(hyp.text.split()) for key, hyp in hypotheses.items()},
        "score": {key: f"{hyp.score:.4f}" for key, hyp in hypotheses.items()},
    }
    for name, values in columns.items():
        lines = [f"{key} {value}".rstrip() + "\n" for key, value in values.items()]
        (folder / name).write_text("".join(lines), encoding="utf-8")


def write_json(path: Path, values: Mapping[str, float]) -> None:
    """Write a small JSON file."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def run(args: argparse.Namespace) -> tuple[dict[str, str], int]:
    """Load, decode, write.

    Returns:
        Keys that were skipped, with the reason, and the number of rows.

    Raises:
        ValueError: if the model or the manifest cannot be used.
    """
    from espnet_psslm.decode import read_config
    from espnet_psslm.text.prompt import read_prompt_file

    prompts = read_prompt_file(read_config(args.psslm_train_config)["prompt_file"])
    rows = read_rows(args, [prompt["task"] for prompt in prompts])
    start = time.perf_counter()
    decoder = load_decoder(args)
    load_s = time.perf_counter() - start
    output = Path(args.output_dir)
    skipped: dict[str, str] = {}
    for task, task_rows in rows.items():
        start = time.perf_counter()
        with show_progress(len(task_rows), task) as progress:
            decoded = decoder.decode_usable(task_rows, progress=progress, remember=len(rows) > 1)
        stats = {
            "wall_s": round(time.perf_counter() - start, 3),
            "audio_s": round(decoded.audio_s, 3),
            "num_samples": len(decoded.hypotheses),
        }
        write_answers(output / task, decoded.hypotheses)
        write_json(output / task / "stats.json", stats)
        skipped |= decoded.skipped
    lines = [f"{key}\t{' '.join(reason.split())}\n" for key, reason in skipped.items()]
    (output / "skipped.txt").write_text("".join(lines), encoding="utf-8")
    peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write_json(
        output / "stats.json", {"peak_rss_mb": round(peak_rss_mb, 1), "load_s": round(load_s, 3)}
    )
    return skipped, sum(map(len, rows.values()))


def main(cmd: Sequence[str] | None = None) -> None:
    """Answer a manifest.

    Args:
        cmd: arguments; None reads the command line.
    """
    parser = get_parser()
    with command(parser, cmd) as args:
        skipped, total = run(args)
    for key, reason in skipped.items():
        logging.warning("skipped '%s': %s", key, reason)
    if len(skipped) > args.max_skipped * total:
        key, reason = next(iter(skipped.items()))
        parser.exit(
            1,
            f"psslm_inference: error: {len(skipped)} of {total} rows could not be used, more than "
            f"--max_skipped {args.max_skipped}; {args.output_dir}/skipped.txt lists them, first "
            f"'{key}': {reason}\n",
        )
    logging.info("answered %d rows in %s", total - len(skipped), args.output_dir)


if __name__ == "__main__":
    main()
