"""Measure an acoustic model's Steps against their texts (stage 9).

    python -m espnet_psslm.bin.simulation_stats --steps_manifest dump/steps/dev/psslm.jsonl \\
        --token_list exp/units/tokens.txt --bpemodel exp/units/bpe.model \\
        --output exp/simulation.yaml

The result is what ``simulator: measured`` reads (``simulator_conf: {measured: FILE}``). It says how
the Steps were made: a bridge that makes its own otherwise refuses it.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.atomic import atomic_text
from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.bridge.measure import measure
from espnet_psslm.common.yaml_file import dump_yaml
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.progress import track
from espnet_psslm.steps.made import Dumps, of_units
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.vocabulary import add_unit_arguments, units_of


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser("Measure the Steps of real speech for simulation.")
    parser.add_argument("--steps_manifest", required=True, help="manifest of dump_steps")
    add_unit_arguments(parser.add_argument_group("Units"))
    parser.add_argument("--output", required=True, help="YAML file to write")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Measure and write."""
    with command(get_parser(), cmd) as args:
        run(args)


def run(args: argparse.Namespace) -> None:
    """Measure and write what the options say.

    Raises:
        ValueError: if the dump and its units do not belong together.
    """
    units = units_of(args)
    # Several rows (tasks) share one utterance, hence one place in the dump.
    texts = {row["steps"]: row["GT"] for row in read_manifest(args.steps_manifest).values()}
    dumps = Dumps(of_units(units.tokens))
    utterances = (
        (units.encode(normalize_text(text)), *dumps.read_posteriors(location))
        for location, text in track(texts.items(), len(texts), "measure", units="utterances")
    )
    measured = measure(utterances, num_units=units.num_units, blank_id=units.blank_id)
    measured["made"] = dumps.made
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    atomic_text(args.output, dump_yaml(measured))
    logging.info(
        "%d utterances, %d units: wrong %.4f, missing %.4f, extra %.4f, blank-labelled %.4f per "
        "unit; median peak %.3f: %s",
        len(texts), measured["num_aligned"], measured["substitute_rate"],
        measured["delete_rate"], measured["insert_rate"], measured["blank_rate"],
        measured["peaks"][len(measured["peaks"]) // 2], args.output,
    )  # fmt: skip


if __name__ == "__main__":
    main()
