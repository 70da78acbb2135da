"""Leave out utterances that are too long, too short or invalid (stage 4).

Usage::

    python -m espnet_psslm.bin.filter_data --data_dir dump/raw/train --max_duration_s 30

Works in place on a folder made by stage 3 and writes ``speech_shape`` for ESPnet's batches. What is
left out is listed in ``dropped.txt``; more than ``--max_dropped`` of stages 3 and 4 together stops
the stage and leaves the folder's data as it was.
"""

import argparse
from collections.abc import Sequence

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.data.format import filter_data


def get_parser() -> argparse.ArgumentParser:
    """Command line of stage 4."""
    parser = new_parser("Leave out what cannot be used.")
    parser.add_argument("--data_dir", required=True, help="folder made by stage 3")
    parser.add_argument("--fs", type=int, default=SAMPLE_RATE, help="its sampling rate, Hz")
    parser.add_argument("--min_duration_s", type=float, default=0.1, help="shortest recording")
    parser.add_argument("--max_duration_s", type=float, default=30.0, help="longest recording")
    parser.add_argument(
        "--max_dropped", type=float, default=0.01, help="share that may be left out"
    )
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run stage 4."""
    with command(get_parser(), cmd) as args:
        filter_data(
            args.data_dir,
            fs=args.fs,
            min_duration_s=args.min_duration_s,
            max_duration_s=args.max_duration_s,
            max_dropped=args.max_dropped,
        )


if __name__ == "__main__":
    main()
