"""ESPnet task of the learned simulator: from pairs of text and dumped Steps."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.tasks.abs_task import AbsTask, IteratorOptions
from espnet2.train.abs_espnet_model import AbsESPnetModel
from espnet2.train.trainer import Trainer
from espnet2.utils.nested_dict_action import NestedDictAction
from torch import Tensor

from espnet_psslm.bridge.steps import PosteriorSteps, collate_steps
from espnet_psslm.bridge.steps_file import read_made
from espnet_psslm.common.json_files import read_objects
from espnet_psslm.common.options import section
from espnet_psslm.samples.lengths import write_lengths
from espnet_psslm.steps.error_bins import ERROR_BINS, UNKNOWN_BIN, error_bin
from espnet_psslm.steps.learned import LearnedSimulator, simulator_loss
from espnet_psslm.steps.made import Dumps, Made, of_units
from espnet_psslm.tasks.optimizers import GroupedOptimizers
from espnet_psslm.tasks.several_devices import SeveralDevices
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.units import Units, read_token_list
from espnet_psslm.text.vocabulary import add_unit_arguments, units_of
from espnet_psslm.training.manifest import OfManifest


class PairPreprocessor:
    """A row of the manifest to the units of its text and the Steps that were dumped.

    Args:
        train: hide the error bin of some texts, so that one need not be known.
        units: of the acoustic model.
        hide_bin: share of them.
        seed: of all draws.
        made: how the Steps must have been made.
    """

    def __init__(
        self, train: bool, *, units: Units, hide_bin: float, seed: int, made: Made
    ) -> None:
        self.train = train
        self.units = units
        self.dumps = Dumps({**made, **of_units(units.tokens)})
        self.hide_bin = hide_bin
        self.rng = np.random.default_rng(seed)

    def __call__(self, uid: str, data: dict[str, Any]) -> dict[str, np.ndarray]:
        """Arrays of one sample.

        Args:
            uid: its key.
            data: ``{"sample": row of the manifest}``.

        Returns:
            ``text_ids`` (L,), ``unit_ids`` and ``probs`` (U, K), ``error_bin`` (1,).

        Raises:
            ValueError: if the row has no dumped Steps, or its text no unit.
        """
        row = data["sample"]
        if "steps" not in row or "GT" not in row:
            raise ValueError(
                f"sample '{uid}' needs its dumped Steps and its text (steps, GT): give the "
                "manifest that stage 8 (dump_steps) has written"
            )
        text_ids = self.units.encode_known(normalize_text(row["GT"]))
        if not text_ids:
            raise ValueError(f"sample '{uid}': the text {row['GT']!r} has no unit; leave it out")
        unit_ids, probs = self.dumps.read_posteriors(row["steps"])
        heard = [unit for unit in unit_ids[:, 0].tolist() if unit != self.units.blank_id]
        number = error_bin(text_ids, heard)
        if self.train and self.rng.random() < self.hide_bin:
            number = UNKNOWN_BIN
        return {
            "text_ids": np.asarray(text_ids),
            "unit_ids": unit_ids.numpy(),
            "probs": probs.numpy(),
            "error_bin": np.asarray([number]),
        }


class PairCollate:
    """Pads texts and Steps.

    Args:
        num_units: V.
    """

    def __init__(self, *, num_units: int) -> None:
        self.num_units = num_units

    def __call__(
        self, data: Sequence[tuple[str, Mapping[str, np.ndarray]]]
    ) -> tuple[list[str], dict[str, Any]]:
        """Keys and the keyword arguments of :class:`SimulatorModel`."""
        samples = [sample for _, sample in data]
        lengths = torch.tensor([len(sample["text_ids"]) for sample in samples])
        text_ids = torch.zeros(len(samples), int(lengths.max()), dtype=torch.long)
        for place, sample in enumerate(samples):
            text_ids[place, : lengths[place]] = torch.from_numpy(sample["text_ids"])
        rows = [(torch.from_numpy(s["unit_ids"]), torch.from_numpy(s["probs"])) for s in samples]
        unit_ids, probs, counts = collate_steps(rows, num_units=self.num_units)
        return [key for key, _ in data], {
            "text_ids": text_ids,
            "text_ids_lengths": lengths,
            "unit_ids": unit_ids,
            "unit_ids_lengths": counts,
            "probs": probs,
            "error_bin": torch.tensor([int(sample["error_bin"][0]) for sample in samples]),
        }


class SimulatorModel(AbsESPnetModel):
    """The network with its loss, as ESPnet's trainer wants it.

    Args:
        network: what is trained.
    """

    def __init__(self, network: LearnedSimulator) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        *,
        text_ids: Tensor,
        text_ids_lengths: Tensor,
        unit_ids: Tensor,
        unit_ids_lengths: Tensor,
        probs: Tensor,
        error_bin: Tensor,
        utt_id: list[str],
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss of a batch, statistics, and the number of texts, each of these (1,)."""
        steps = PosteriorSteps(unit_ids, probs, unit_ids_lengths, self.network.num_units)
        predicted = self.network(text_ids, text_ids_lengths, steps, error_bin)
        loss, stats = simulator_loss(predicted, steps)
        stats = {"loss": loss.detach()} | stats
        weight = torch.tensor([len(utt_id)], dtype=loss.dtype, device=loss.device)
        return loss, {name: value[None] for name, value in stats.items()}, weight

    def collect_feats(self, **batch: Tensor) -> dict[str, Tensor]:
        """Nothing: lengths are all that is collected."""
        return {}


class SimulatorTask(SeveralDevices, GroupedOptimizers, OfManifest, AbsTask):
    """Train and load :class:`SimulatorModel`."""

    num_optimizers: int = 1
    trainer = Trainer
    class_choices_list = []

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the options of the simulator."""
        super().add_task_arguments(parser)
        by_loss = ("valid", "loss", "min")
        parser.set_defaults(best_model_criterion=[by_loss], early_stopping_criterion=by_loss)
        group = parser.add_argument_group("Simulator")
        add_unit_arguments(group)
        group.add_argument(
            "--network_conf",
            action=NestedDictAction,
            default={},
            help="width, layers, heads, hidden, dropout, num_listed",
        )
        group.add_argument(
            "--hide_bin",
            type=float,
            default=0.2,
            help="share of texts that are trained without their bin of the error rate",
        )

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """ESPnet's; the configuration that it saves says how the Steps were made."""
        for manifest, *_ in args.train_data_path_and_name_and_type[:1]:
            _, row = next(read_objects(manifest), (0, {}))
            if "steps" in row:
                args.steps_made = read_made(row["steps"].rpartition(":")[0]) or {}
        super().main_worker(args)

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> PairPreprocessor:
        """Reader of manifest rows."""
        return PairPreprocessor(
            train,
            units=units_of(args),
            hide_bin=args.hide_bin,
            seed=args.seed,
            made=getattr(args, "steps_made", {}),
        )

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable:
        """Pad a batch."""
        return PairCollate(num_units=units_of(args).num_units)

    @classmethod
    def build_sequence_iter_factory(
        cls, args: argparse.Namespace, iter_options: IteratorOptions, mode: str
    ) -> AbsIterFactory:
        """ESPnet's batches; without shape files of texts of like length."""
        if not iter_options.shape_files:
            [(manifest, _, _)] = iter_options.data_path_and_name_and_type
            shapes = write_lengths(manifest, Path(args.output_dir) / f"{mode}_length")
            iter_options.shape_files = [str(shapes)]
        return super().build_sequence_iter_factory(args, iter_options, mode)

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> SimulatorModel:
        """Build the model from a configuration, also from a saved one."""
        if isinstance(args.token_list, str):
            args.token_list = read_token_list(args.token_list)
        units = units_of(args)
        given = {"num_bins": len(ERROR_BINS)}
        with section("network_conf", args.network_conf, LearnedSimulator, given=given):
            network = LearnedSimulator(units.num_units, **given, **args.network_conf)
        return SimulatorModel(network)
