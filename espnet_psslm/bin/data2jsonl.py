"""Make a manifest (JSON Lines) of an ESPnet data folder.

    python -m espnet_psslm.bin.data2jsonl --data_dir data/train --manifest data/train/psslm.jsonl

``text`` holds the transcripts and gives rows of task ASR, ``text.TASK`` the targets of other tasks
(``text.EN2DE``, ``text.SLU_entities``), ``utt2hotword`` and the like what their prompts need.
Targets are copied as they are.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.data.convert import FIELDS, to_rows


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser("Make a manifest of an ESPnet data folder.")
    parser.add_argument("--data_dir", required=True, help="with text, wav.scp")
    parser.add_argument("--manifest", required=True, help="JSON Lines to write")
    parser.add_argument("--tasks", nargs="+", default=[], help="only these; default: all found")
    parser.add_argument("--fields", nargs="*", default=FIELDS, help="to read from utt2FIELD")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Convert."""
    with command(get_parser(), cmd) as args:
        rows = to_rows(args.data_dir, tasks=args.tasks, fields=args.fields)
        if not rows:
            raise ValueError(f"{args.data_dir}: no utterance; fill its text")
        Path(args.manifest).parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(args.manifest, rows)
    logging.info("%d rows: %s", len(rows), args.manifest)


if __name__ == "__main__":
    main()
