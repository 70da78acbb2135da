"""Compare simulated posteriors with real ones of the same text.

    python -m espnet_psslm.bin.simulation_distance --steps_manifest dump/steps/dev/psslm.jsonl \\
        --token_list exp/units/tokens.txt --bpemodel exp/units/bpe.model \\
        --measured exp/simulation.yaml --learned_config exp/simulator/config.yaml \\
        --learned_file exp/simulator/valid.loss.ave.pth --output_dir exp/simulation_distance

Compared are the noise-free simulation (``one-hot``), TASU's, the measured one where ``--measured``
is given, and the learned one where its two files are. Take other speech than what was measured or
learnt from. Small distances say that training hears what decoding will.

``judgement.json`` has, for each simulator, the cross-entropy of the rows that were heard under what
it predicts for them (nats a row; the rows before are known), how often its likeliest unit is not
the one that was heard, how unlike its errors are (total variation), and, beside the same figures of
what was heard, errors, rows and blanks per unit, and what an error says of the next one (bits).

``distance.csv`` has a line for each simulator and utterance, drawn in ``distance.png``: divergence
(Jensen-Shannon, bits), cross-entropy (nats), argmax agreement and normalised edit distance of one
drawn simulation, aligned with what was heard.
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

from espnet_psslm.atomic import atomic_text
from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.bridge.distance import StepDistance, step_distance
from espnet_psslm.bridge.plot import distance_figure
from espnet_psslm.bridge.simulate import (
    MeasuredSimulator,
    Simulator,
    TASUSimulator,
    one_hot_rows,
)
from espnet_psslm.common.json_files import write_json
from espnet_psslm.common.plots import save_png
from espnet_psslm.common.yaml_file import read_mapping
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.progress import track
from espnet_psslm.steps.judge import Errors, Judgement, predicted_rows
from espnet_psslm.steps.made import Dumps, Made, of_units
from espnet_psslm.steps.simulation import Learned
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.units import Units
from espnet_psslm.text.vocabulary import add_unit_arguments, units_of

MEASURES = ("jensen_shannon", "cross_entropy", "argmax_agreement", "edit_distance")


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser("Distance between simulated and real posteriors of the same text.")
    parser.add_argument("--steps_manifest", required=True, help="manifest of dump_steps")
    add_unit_arguments(parser.add_argument_group("Units"))
    parser.add_argument("--measured", help="what simulation_stats (stage 9) wrote")
    parser.add_argument("--learned_config", help="config.yaml of simulator_train")
    parser.add_argument("--learned_file", help="its trained parameters")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--output_dir", required=True, help="for distance.csv, distance.png")
    return parser


class OneHot(Simulator):
    """The noise-free simulation."""

    def __call__(self, unit_ids: list[int], rng: np.random.Generator) -> tuple:
        return one_hot_rows(unit_ids)


def simulators(args: argparse.Namespace, units: Units) -> tuple[dict[str, Simulator], Made]:
    """Simulators to compare, by name, and how the Steps that they imitate were made.

    Raises:
        ValueError: if the measured numbers are missing or of other units.
    """
    made: dict[str, Simulator] = {
        "one-hot": OneHot(units.num_units, blank_id=units.blank_id),
        "tasu": TASUSimulator(units.num_units, blank_id=units.blank_id),
    }
    measured = None
    if args.measured:
        if not Path(args.measured).is_file():
            raise ValueError(f"--measured {args.measured}: no such file; stage 9 makes it")
        measured = read_mapping(args.measured)
        made["measured"] = MeasuredSimulator(
            units.num_units, blank_id=units.blank_id, measured=measured
        )
    if (args.learned_config is None) != (args.learned_file is None):
        raise ValueError("give --learned_config and --learned_file together, or neither")
    if args.learned_config:
        made["learned"] = Learned(
            units.num_units,
            blank_id=units.blank_id,
            train_config=args.learned_config,
            model_file=args.learned_file,
            measured=measured,  # it draws as in the training of the bridge
        )
    return made, of_units(units.tokens) | (measured or {}).get("made", {})


def compare(
    args: argparse.Namespace,
) -> tuple[dict[str, dict[str, StepDistance]], dict[str, Judgement]]:
    """Distances by simulator and utterance, and each simulator's judgement.

    Raises:
        ValueError: if the dump, its units and the measured numbers do not belong together.
    """
    units = units_of(args)
    # Several rows (tasks) share one utterance, hence one place in the dump.
    rows = {row["steps"]: row for row in read_manifest(args.steps_manifest).values()}
    made, measured_of = simulators(args, units)
    dumps = Dumps(measured_of)
    found: dict[str, dict[str, StepDistance]] = {name: {} for name in made}
    heard = Errors()
    judged = {name: Judgement(heard) for name in made if name != "one-hot"}  # it predicts no error
    begins_word = [text.startswith(" ") for text in units.unit_texts()]
    for location, row in track(rows.items(), len(rows), "compare", units="utterances"):
        utt = row.get("utt", row["key"])
        known = units.encode_known(normalize_text(row["GT"]))
        real = dumps.read_posteriors(location)
        kinds = {"blank_id": units.blank_id, "begins_word": begins_word}
        if known:
            heard.add(known, real[0][:, 0].tolist(), **kinds)
        for name, simulator in made.items():
            rng = np.random.default_rng([args.seed, zlib.crc32(utt.encode())])
            drawn = tuple(torch.from_numpy(array) for array in simulator(known, rng))
            found[name][utt] = step_distance(real, drawn, num_units=units.num_units)
            if known and name in judged:
                judged[name].add_predicted(predicted_rows(simulator, known, *real), *real)
                judged[name].drawn.add(known, drawn[0][:, 0].tolist(), **kinds)
    return found, judged


def write(
    folder: str | Path,
    found: dict[str, dict[str, StepDistance]],
    judged: dict[str, Judgement],
) -> None:
    """Write the judgement, the table and the picture."""
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
    figures = {name: judgement.figures() for name, judgement in judged.items()}
    for name, values in figures.items():
        logging.info("%s: %s", name, ", ".join(f"{k} {v:.4f}" for k, v in values.items()))
    write_json(folder / "judgement.json", figures)


def main(cmd: Sequence[str] | None = None) -> None:
    """Compare and write."""
    with command(get_parser(), cmd) as args:
        write(args.output_dir, *compare(args))
    logging.info("distances: %s", args.output_dir)


if __name__ == "__main__":
    main()
