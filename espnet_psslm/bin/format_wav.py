"""Check and convert the audio of a data folder (stage 3).

Usage::

    python -m espnet_psslm.bin.format_wav --data_dir data/train --output_dir dump/raw/train --nj 2

Reads ``wav.scp`` (with ``segments``, which are cut), ``text``, ``utt2spk``, ``psslm.jsonl``; writes
them to the output folder with ``utt2num_samples`` and ``dropped.txt``. Recordings that are mono wav
or flac of the rate wanted stay where they are; others, and what commands put out (``--allow_pipes
true``), go to ``audio``.
"""

import argparse
from collections.abc import Sequence

from espnet_psslm.bin.command import add_pipe_option, command, new_parser
from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.data.format import format_data


def get_parser() -> argparse.ArgumentParser:
    """Command line of stage 3."""
    parser = new_parser("Check and convert the audio of a data folder.")
    parser.add_argument("--data_dir", required=True, help="folder made by stage 1")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--fs", type=int, default=SAMPLE_RATE, help="sampling rate wanted, Hz")
    parser.add_argument("--nj", type=int, default=2, help="processes")
    add_pipe_option(parser)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run stage 3."""
    with command(get_parser(), cmd) as args:
        format_data(
            args.data_dir,
            args.output_dir,
            fs=args.fs,
            nj=args.nj,
            allow_pipes=args.allow_pipes,
        )


if __name__ == "__main__":
    main()
