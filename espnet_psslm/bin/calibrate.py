"""Calibrate which recordings are outside of what a model knows, on development speech.

    python -m espnet_psslm.bin.calibrate --psslm_train_config exp/psslm_sft/config.yaml \\
        --psslm_model_file exp/psslm_sft/valid.acc.ave.pth --manifest dump/steps/dev/psslm.jsonl \\
        --text data/train_text/text --share 0.02 --output exp/outside.yaml

Transcribes the rows of task ASR from their dumped Steps, computes the confidence of each, and
writes the threshold below which at most ``--share`` of them lie. ``pack --outside`` puts the file
into the archive; the packed model then says of a recording when it is outside.
"""

import argparse
import logging
from collections.abc import Sequence

from espnet_psslm.bin.command import DEVICE_HELP, command
from espnet_psslm.inference.options import (
    add_answer_arguments,
    add_row_arguments,
    add_search_arguments,
    load_decoder,
    read_rows,
)
from espnet_psslm.progress import show_progress


def get_parser() -> argparse.ArgumentParser:
    """Options of this command; they may stand in a YAML file (``--config``)."""
    from espnet2.utils.config_argparse import ArgumentParser

    parser = ArgumentParser(
        description="Calibrate which recordings are outside of what a model knows.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_search_arguments(parser)
    parser.add_argument("--manifest", required=True, help="of dump_steps: development speech")
    parser.add_argument(
        "--share",
        type=float,
        default=0.02,
        help="share of the utterances that may be outside; 0.02 is 2 %%",
    )
    parser.add_argument("--text", required=True, help="training text: 'utt sentence' a line")
    parser.add_argument("--output", required=True, help="YAML file to write")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    others = parser.add_argument_group("options of psslm_inference that change nothing here")
    add_row_arguments(others)
    add_answer_arguments(others)
    return parser


def plain(args: argparse.Namespace, task: str) -> argparse.Namespace:
    """The same options, but of plain transcripts from dumped Steps."""
    what = {"tasks": [task], "source": "steps", "oracle": False, "asr_train_config": None}
    what |= {"asr_model_file": None, "nbest": 1, "confidence": None, "label_manifest": None}
    return argparse.Namespace(**vars(args) | what | {"choice_tasks": [], "guard_tasks": []})


def run(args: argparse.Namespace) -> None:
    """Transcribe, calibrate, write.

    Raises:
        ValueError: if the model or the manifest cannot be used, or the rows are too few.
    """
    from espnet_psslm.data.kaldi import read_table
    from espnet_psslm.inference import outside
    from espnet_psslm.text.prompt import read_prompt_file
    from espnet_psslm.trained import read_config

    outside.check_share(args.share)
    pairs = outside.pairs_of(read_table(args.text).values())
    args = plain(args, outside.TASK)
    prompts = read_prompt_file(read_config(args.psslm_train_config)["prompt_file"])
    by_task, unusable = read_rows(args, [prompt["task"] for prompt in prompts])
    for place, reason in unusable.items():
        raise ValueError(f"{place}: {reason}")
    [rows] = by_task.values()
    outside.check_enough(len(rows))
    decoder = load_decoder(args, prompts)
    with show_progress(len(rows), "calibrate", units="utterances") as progress:
        decoded = decoder.decode_usable(rows, progress=progress)
    for key, reason in decoded.skipped.items():
        raise ValueError(f"sample '{key}': {reason}")
    familiarity = outside.calibrate(
        list(decoded.hypotheses.values()), pairs=pairs, share=args.share
    )
    familiarity.write(args.output)
    logging.info(
        "of %d utterances at most %g %% have a confidence below %.3f; what has less is outside of "
        "what the model knows: %s",
        *(familiarity.num_utts, 100 * args.share, familiarity.threshold, args.output),
    )


def main(cmd: Sequence[str] | None = None) -> None:
    """Calibrate."""
    with command(get_parser(), cmd) as args:
        run(args)


if __name__ == "__main__":
    main()
