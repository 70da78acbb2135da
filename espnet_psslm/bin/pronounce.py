"""Transcripts as phones, to score phone units against (stage 7 with ``--unit_type phn``).

Usage::

    python -m espnet_psslm.bin.pronounce --text dump/raw/test/text --phone_language en-us \\
        --output exp/ctc/decode/test/ref_phones
"""

import argparse
from collections.abc import Sequence

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.data.kaldi import read_table, write_table
from espnet_psslm.text.phones import Pronouncer


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser("Write transcripts as phones.")
    parser.add_argument("--text", required=True, help="lines of utterance and transcript")
    parser.add_argument("--phone_language", required=True, help="espeak-ng's name, e.g. en-us")
    parser.add_argument("--output", required=True, help="file to write")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Read, pronounce, write."""
    with command(get_parser(), cmd) as args:
        pronounce = Pronouncer(args.phone_language)
        texts = read_table(args.text)
        write_table(args.output, {utt: " ".join(pronounce(text)) for utt, text in texts.items()})


if __name__ == "__main__":
    main()
