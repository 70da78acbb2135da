"""Compare simulated posteriors with real ones of the same text.

    python -m espnet_psslm.bin.simulation_distance --steps_manifest dump/steps/dev/psslm.jsonl \\
        --token_list exp/units/tokens.txt --bpemodel exp/units/bpe.model \\
        --measured exp/simulation.yaml --output_dir exp/simulation_distance

Writes ``distance.csv``, a line for each simulator and utterance, and ``distance.png``: divergence
(Jensen-Shannon, bits), cross-entropy (nats), argmax agreement and normalised edit distance of
noise-free simulation (``one-hot``), of TASU's, and of the measured one where ``--measured`` is
given. Small distances say that training hears what decoding will; take other speech than what was
measured.
"""

import argparse
import csv
import io
import logging
import zlib
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
import yaml

from espnet_psslm.atomic import atomic_text
from espnet_psslm.bin.command import command
from espnet_psslm.bridge.distance import StepDistance, step_distance
from espnet_psslm.bridge.plot import distance_figure, save_png
from espnet_psslm.bridge.simulate import (
    MeasuredSimulator,
    Simulator,
    TASUSimulator,
    one_hot_rows,
)
from espnet_psslm.bridge.steps_file import read_steps
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.progress import track
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.units import Units
from espnet_psslm.text.vocabulary import add_unit_arguments, units_of

MEASURES = ("jensen_shannon", "cross_entropy", "argmax_agreement", "edit_distance")


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(
        description="Distance between simulated and real posteriors of the same text.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps_manifest", required=True, help="manifest of dump_steps")
    add_unit_arguments(parser.add_argument_group("Units"))
    parser.add_argument("--measured", help="what simulation_stats (stage 9) wrote")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--output_dir", required=True, help="for distance.csv, distance.png")
    return parser


class OneHot(Simulator):
    """The noise-free simulation."""

    def __call__(self, unit_ids: list[int], rng: np.random.Generator) -> tuple:
        """See ``Simulator``."""
        return one_hot_rows(unit_ids)


def simulators(args: argparse.Namespace, units: Units) -> dict[str, Simulator]:
    """Simulators to compare, by name.

    Raises:
        ValueError: if the measured numbers are missing or of other units.
    """
    made: dict[str, Simulator] = {
        "one-hot": OneHot(units.num_units, blank_id=units.blank_id),
        "tasu": TASUSimulator(units.num_units, blank_id=units.blank_id),
    }
    if args.measured:
        if not Path(args.measured).is_file():
            raise ValueError(f"--measured {args.measured}: no such file; stage 9 makes it")
        measured = yaml.safe_load(Path(args.measured).read_text(encoding="utf-8"))
        made["measured"] = MeasuredSimulator(
            units.num_units, blank_id=units.blank_id, measured=measured
        )
    return made


def compare(args: argparse.Namespace) -> dict[str, dict[str, StepDistance]]:
    """Distances by simulator and utterance.

    Raises:
        ValueError: if the dump, its units and the measured numbers do not belong together.
    """
    units = units_of(args)
    # Several rows (tasks) share one utterance, hence one place in the dump.
    rows = {row["steps"]: row for row in read_manifest(args.steps_manifest).values()}
    made = simulators(args, units)
    found: dict[str, dict[str, StepDistance]] = {name: {} for name in made}
    for location, row in track(rows.items(), len(rows), "compare", units="utterances"):
        utt = row.get("utt", row["key"])
        known = [u for u in units.encode(normalize_text(row["GT"])) if u != units.unk_id]
        real = read_steps(location)[:2]
        for name, simulator in made.items():
            rng = np.random.default_rng([args.seed, zlib.crc32(utt.encode())])
            drawn = tuple(torch.from_numpy(array) for array in simulator(known, rng))
            found[name][utt] = step_distance(real, drawn, num_units=units.num_units)
    return found


def write(folder: str | Path, found: dict[str, dict[str, StepDistance]]) -> None:
    """Write the table and the picture."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = ["simulator", "utt", *(field.name for field in fields(StepDistance))]
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, names)
    table.writeheader()
    for simulator, by_utt in found.items():
        for utt, distance in by_utt.items():
            table.writerow({"simulator": simulator, "utt": utt} | asdict(distance))
    atomic_text(folder / "distance.csv", text.getvalue())
    measures = {
        measure: {name: [getattr(d, measure) for d in by.values()] for name, by in found.items()}
        for measure in MEASURES
    }
    save_png(distance_figure(measures), folder / "distance.png")
    for simulator in found:
        means = {measure: np.nanmean(measures[measure][simulator]) for measure in MEASURES}
        text = ", ".join(f"{measure} {mean:.4f}" for measure, mean in means.items())
        logging.info("%s: %s", simulator, text)


def main(cmd: Sequence[str] | None = None) -> None:
    """Compare and write.

    Args:
        cmd: arguments; None reads the command line.
    """
    with command(get_parser(), cmd) as args:
        write(args.output_dir, compare(args))
    logging.info("distances: %s", args.output_dir)


if __name__ == "__main__":
    main()
