"""Dump Steps: the reduced posteriors, or encoder outputs, of a frozen model, once for all epochs.

Usage::

    python -m espnet_psslm.bin.dump_steps --asr_train_config exp/ctc/config.yaml \\
        --asr_model_file exp/ctc/valid.loss.ave.pth --data_dir dump/raw/dev \\
        --output_dir dump/steps/dev --psslm_config conf/train_psslm.yaml

How Steps are made stands in the configuration of the bridge that will read them (``step_kind``,
``reduction``, ``reduction_conf``); it is recorded, and training and decoding refuse Steps that were
made otherwise than theirs.

Writes ``steps-MARK.ark`` (named by its content), ``steps.scp``, ``psslm.jsonl`` (the data folder's
rows with a field ``steps``) and ``stats.json`` (``--stats_file``): how many frames make a step, and
the share of probability that reduction dropped: of blank, which is its purpose, and of all other
units. A dump that fails leaves the one before as it was. Utterances whose audio cannot be read are
left out, with their rows, and listed in ``skipped.txt``; more than ``--max_skipped`` of them end in
an error, after all others are written. ``made_with.json`` holds a hash of model and options.

``--harder 0.5`` dumps what the model hears of the same audio with noise, and some of it faster or
slower, with gaps, in a room, through a telephone or clipped: pairs of text and Steps for the
learned simulator. Training speech as it is has too few errors to learn from.
"""

import argparse
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_psslm.bin.command import (
    DEVICE_HELP,
    OF_STEPS,
    add_steps_options,
    command,
    new_parser,
    steps_options,
)
from espnet_psslm.common.left_out import check_skipped, write_skipped
from espnet_psslm.inference.options import add_skipped_arguments

if TYPE_CHECKING:
    import numpy as np
    import torch

    from espnet_psslm.acoustic.base import AcousticModel, Heard
    from espnet_psslm.bridge.steps_file import StepsWriter


@dataclass
class DumpStats:
    """What reduction did to a data folder."""

    num_utts: int = 0
    frames: int = 0
    steps: int = 0
    empty_utts: int = 0  # utterances without any step
    blank_mass: float = 0.0  # sum of blank probability over frames, in frames
    dropped_blank_mass: float = 0.0  # the part of it in dropped frames
    dropped_unit_mass: float = 0.0  # probability of all other units in dropped frames

    @property
    def frames_per_step(self) -> float:
        """How much reduction shortens."""
        return self.frames / max(1, self.steps)

    @property
    def dropped_blank_share(self) -> float:
        """Share of blank's probability that is gone."""
        return self.dropped_blank_mass / max(1e-9, self.blank_mass)

    @property
    def dropped_unit_share(self) -> float:
        """Share of the other units' probability that is gone."""
        return self.dropped_unit_mass / max(1e-9, self.frames - self.blank_mass)

    def add(self, heard: "Heard") -> None:
        """Count a batch."""
        import torch

        from espnet_psslm.device import HOST

        steps, lengths = heard.steps, heard.lengths
        frames = torch.arange(heard.blank.shape[1], device=lengths.device)
        blank = heard.blank.to(HOST).double()
        # A frame is kept where it lies in a step's span and is not itself a dropped one.
        opens = torch.zeros(len(lengths), len(frames) + 1, device=lengths.device)
        for position, change in ((steps.frame_start, 1.0), (steps.frame_end, -1.0)):
            opens.scatter_add_(1, position, change * steps.mask)
        kept = (opens.cumsum(1)[:, :-1] > 0).to(HOST)
        valid = (frames < lengths[:, None]).to(HOST)
        self.num_utts += len(lengths)
        self.frames += int(lengths.sum())
        self.steps += int(steps.lengths.sum())
        self.empty_utts += int((steps.lengths == 0).sum())
        self.blank_mass += float(blank[valid].sum())
        self.dropped_blank_mass += float(blank[valid & ~kept].sum())
        self.dropped_unit_mass += float((1.0 - blank)[valid & ~kept].sum())

    def as_dict(self, limit: Mapping[str, float]) -> dict[str, float]:
        """Counts and shares.

        Args:
            limit: ``num_rows`` and ``max_skipped``, by which jobs are judged together.
        """
        names = ("frames_per_step", "dropped_blank_share", "dropped_unit_share")
        shares = {name: round(getattr(self, name), 6) for name in names}
        return asdict(self) | shares | dict(limit)


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser("Write the Steps of a data folder.")
    parser.add_argument("--asr_train_config", help="config.yaml of the training")
    parser.add_argument("--asr_model_file", help="checkpoint")
    parser.add_argument(
        "--sensevoice", help="folder or ModelScope id of a SenseVoiceSmall, in place of these two"
    )
    parser.add_argument("--data_dir", required=True, help="with wav.scp, psslm.jsonl")
    parser.add_argument("--output_dir", required=True, help="for the ark, steps.scp, psslm.jsonl")
    parser.add_argument(
        "--psslm_config",
        help="of the bridge: YAML for its training, or config.yaml of one; without it, and of what "
        "it does not say, psslm_train's defaults",
    )
    add_steps_options(parser)
    parser.add_argument("--stats_file", help="where the statistics go; default: output_dir")
    parser.add_argument(
        "--harder",
        type=float,
        help="make the audio harder first, by a strength in (0, 1]; drawn for each utterance",
    )
    parser.add_argument("--batch_size", type=int, default=16, help="utterances per batch")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    add_skipped_arguments(parser)
    return parser


def dump(args: argparse.Namespace) -> tuple["StepsWriter", DumpStats, dict[str, str]]:
    """Write the ark.

    Args:
        args: those of the command, and how the bridge makes its Steps.

    Returns:
        What has written it, the counts, and why an utterance has no Steps.

    Raises:
        ValueError: if the model or the data folder cannot be used.
    """
    from espnet_psslm.bridge.steps import STEP_KINDS
    from espnet_psslm.bridge.steps_file import StepsWriter
    from espnet_psslm.data.audio_batches import AudioBatches
    from espnet_psslm.device import resolve_device
    from espnet_psslm.progress import track
    from espnet_psslm.steps.made import how_made
    from espnet_psslm.training.builders import reduction_of

    batches = AudioBatches(args.data_dir, batch_size=args.batch_size, change=_change(args.harder))
    device = resolve_device(args.device)
    acoustic = _acoustic(args, device)
    reduction = reduction_of(args)
    made = how_made(args.step_kind, reduction, acoustic.token_list)
    kind = STEP_KINDS[args.step_kind]
    stats = DumpStats()
    with StepsWriter(Path(args.output_dir) / "steps.ark", made) as writer:
        for batch in track(batches, len(batches), "dump steps", units="batches"):
            heard = acoustic.hear(
                batch.speech.to(device), batch.speech_lengths.to(device), reduction, kind=kind
            )
            writer.write_batch(batch.utt_ids, heard.steps)
            stats.add(heard)
    return writer, stats, batches.skipped


def _change(strength: float | None) -> "Callable[[str, np.ndarray], np.ndarray] | None":
    """What makes audio harder.

    Raises:
        ValueError: if the strength has no sense.
    """
    if strength is None:
        return None
    if not 0.0 < strength <= 1.0:
        raise ValueError(f"--harder {strength:g}: give a strength above 0, at most 1")
    from espnet_psslm.recipe.voices.harder import make_harder

    return lambda utt, samples: make_harder(samples, strength=strength, key=utt)


def _acoustic(args: argparse.Namespace, device: "torch.device") -> "AcousticModel":
    """The model that the options name.

    Raises:
        ValueError: if they name none, or two.
    """
    given = (args.asr_train_config, args.asr_model_file, args.sensevoice)
    if [value is not None for value in given] not in ([True, True, False], [False, False, True]):
        raise ValueError("give --asr_train_config with --asr_model_file, or --sensevoice")
    if args.sensevoice is not None:
        from espnet_psslm.acoustic.sensevoice import load_sensevoice

        return load_sensevoice(args.sensevoice).to(device)
    from espnet_psslm.acoustic.model import load_ctc_acoustic

    return load_ctc_acoustic(args.asr_train_config, args.asr_model_file, device)


def as_in_the_bridge(args: argparse.Namespace) -> argparse.Namespace:
    """The options, with what the bridge's configuration says of its Steps.

    Raises:
        ValueError: if it cannot be read.
    """
    from espnet_psslm.common.yaml_file import read_mapping
    from espnet_psslm.training.builders import with_defaults

    config = read_mapping(args.psslm_config) if args.psslm_config else {}
    bridge = with_defaults(config, steps_options(args))
    said = {name: getattr(bridge, name) for name in OF_STEPS}
    return argparse.Namespace(**vars(args) | said)


def write_manifest(
    rows: Mapping[str, dict],
    locations: Mapping[str, str],
    path: Path,
    *,
    skipped: Collection[str],
) -> None:
    """Write the rows whose utterance has Steps, with their location.

    Args:
        rows: of the data folder, by key.
        locations: of the Steps, by utterance.
        path: the manifest.
        skipped: utterances that are left out.

    Raises:
        ValueError: if a row names no utterance, or one that is not in ``wav.scp``.
    """
    from espnet_psslm.common.json_files import write_jsonl

    placed = []
    for key, row in rows.items():
        utt_id = row.get("utt")
        if utt_id in skipped:
            continue
        if utt_id not in locations:
            raise ValueError(
                f"row '{key}': its field utt is {utt_id!r}, which is not in wav.scp; run "
                "stages 3 and 4 again"
            )
        placed.append({**row, "steps": locations[utt_id]})
    write_jsonl(path, placed)


def main(cmd: Sequence[str] | None = None) -> None:
    """Dump the Steps of a data folder."""
    from espnet_psslm.common.json_files import write_json
    from espnet_psslm.data.manifest import read_manifest
    from espnet_psslm.inference.made_with import made_with, write_made_with

    with command(get_parser(), cmd) as args:
        args = as_in_the_bridge(args)
        output = Path(args.output_dir)
        rows = read_manifest(Path(args.data_dir) / "psslm.jsonl")
        writer, stats, skipped = dump(args)
        limit = {"num_rows": len(writer.locations) + len(skipped), "max_skipped": args.max_skipped}
        write_skipped(output, skipped)
        write_json(args.stats_file or output / "stats.json", stats.as_dict(limit))
        write_made_with(output, made_with(args))
        write_manifest(rows, writer.locations, output / "psslm.jsonl", skipped=skipped)
        writer.remove_older()
        if args.judge_skipped:
            check_skipped(output, **limit)
    logging.info(
        "%s: %d utterances (%d without a step), %d steps, %.2f frames per step; dropped: %.2f %% "
        "of blank's probability, %.2f %% of all other units'",
        args.data_dir, stats.num_utts, stats.empty_utts, stats.steps, stats.frames_per_step,
        100 * stats.dropped_blank_share, 100 * stats.dropped_unit_share,
    )  # fmt: skip


if __name__ == "__main__":
    main()
