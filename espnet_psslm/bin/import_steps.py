"""Take over rows of a posterior that the published system has simulated, or heard, as Steps.

    python -m espnet_psslm.bin.import_steps --manifest simulated.jsonl --token_type sensevoice \\
        --bpemodel SenseVoiceSmall/chn_jpn_yue_eng_ko_spectok.bpe.model \\
        --output_dir dump/steps/train

Reads its manifest (``sim_psd_path`` or ``psd_path`` of each row) and writes ``steps-MARK.ark``,
``steps.scp`` and ``psslm.jsonl``, as ``dump_steps`` does. The bridge trains on it like on any dump
(``psslm.sh --train_on steps --train_set train``); heard rows are pairs for ``simulator_pairs``.
"""

import argparse
import logging
from collections.abc import Sequence

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.recipe.published_rows import convert_published
from espnet_psslm.text.vocabulary import add_unit_arguments, units_of


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser("Take over the published system's rows of a posterior as Steps.")
    parser.add_argument("--manifest", required=True, help="JSON Lines that name the rows")
    add_unit_arguments(parser.add_argument_group("Units"))
    parser.add_argument("--output_dir", required=True, help="for the ark and psslm.jsonl")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Convert."""
    with command(get_parser(), cmd) as args:
        tokens = units_of(args).tokens
        count = convert_published(args.manifest, args.output_dir, tokens=tokens)
    logging.info("%s: Steps of %d rows", args.output_dir, count)


if __name__ == "__main__":
    main()
