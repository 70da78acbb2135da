"""Gather the pairs of text and Steps that ``simulator_train`` reads (stage 9).

    python -m espnet_psslm.bin.simulator_pairs --token_list tokens.txt --bpemodel bpe.model \\
        --steps_manifest dump/steps/train_harder*/psslm.jsonl --output dump/steps/pairs.jsonl

Each dumped utterance is taken once, whatever tasks it has; without a unit in its text, with nothing
heard, or with more than two errors per unit it is left out. The log says how many have few, many
and most errors: each kind should be there.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.recipe.pairs import gather_pairs
from espnet_psslm.text.vocabulary import add_unit_arguments, units_of


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser("Gather pairs of text and Steps for the learned simulator.")
    parser.add_argument(
        "--steps_manifest", nargs="+", required=True, help="manifests of dump_steps"
    )
    add_unit_arguments(parser.add_argument_group("Units"))
    parser.add_argument("--output", required=True, help="manifest to write")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Gather and write."""
    with command(get_parser(), cmd) as args:
        pairs = gather_pairs(args.steps_manifest, units_of(args))
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(args.output, pairs)


if __name__ == "__main__":
    main()
