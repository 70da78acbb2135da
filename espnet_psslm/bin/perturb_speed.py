"""Speed perturbation of a data folder (stage 2).

Usage::

    python -m espnet_psslm.bin.perturb_speed --data_dir data/train --output_dir data/train_sp \\
        --factors 0.9 1.0 1.1 --nj 2

Writes every utterance once per factor, as ``sp0.9-NAME`` (factor 1: NAME), with ``text``,
``utt2spk`` and ``psslm.jsonl`` to match.
"""

import argparse
from collections.abc import Sequence

from espnet_psslm.bin.command import add_pipe_option, command, new_parser
from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.data.speed import perturb_data


def get_parser() -> argparse.ArgumentParser:
    """Command line of stage 2."""
    parser = new_parser("Make a data folder faster and slower.")
    parser.add_argument("--data_dir", required=True, help="folder made by stage 1")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--factors", type=float, nargs="+", default=[0.9, 1.0, 1.1], help="speeds")
    parser.add_argument("--fs", type=int, default=SAMPLE_RATE, help="rate of perturbed audio, Hz")
    parser.add_argument("--nj", type=int, default=2, help="processes")
    add_pipe_option(parser)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run stage 2."""
    with command(get_parser(), cmd) as args:
        perturb_data(
            args.data_dir,
            args.output_dir,
            factors=args.factors,
            fs=args.fs,
            nj=args.nj,
            allow_pipes=args.allow_pipes,
        )


if __name__ == "__main__":
    main()
