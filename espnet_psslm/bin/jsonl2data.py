"""Make an ESPnet data folder of a manifest (JSON Lines).

    python -m espnet_psslm.bin.jsonl2data --manifest train.jsonl --data_dir data/train

Writes ``text`` (transcripts), ``text.TASK`` for every other task, ``utt2FIELD`` for what prompts
need beside it, ``wav.scp``, ``utt2spk`` and ``spk2utt`` where there is audio, and ``psslm.jsonl``.
"""

import argparse
import logging
from collections.abc import Sequence

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.data.convert import FIELDS, to_data_dir


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser("Make an ESPnet data folder of a manifest.")
    parser.add_argument("--manifest", required=True, help="JSON Lines")
    parser.add_argument("--data_dir", required=True, help="folder to write")
    parser.add_argument("--fields", nargs="*", default=FIELDS, help="to write as utt2FIELD")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Convert."""
    with command(get_parser(), cmd) as args:
        lines = to_data_dir(args.manifest, args.data_dir, fields=args.fields)
    logging.info("%s: %s", args.data_dir, lines)


if __name__ == "__main__":
    main()
