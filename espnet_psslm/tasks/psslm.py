"""ESPnet task of the phone-synchronous speech language model.

The bridge is a task of its own, with its own choices; ESPnet's trainer, samplers, checkpoints and
launchers serve it unchanged. A saved ``config.yaml`` is enough to build the model again.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.tasks.abs_task import AbsTask, IteratorOptions
from espnet2.train.dataset import ESPnetDataset
from espnet2.train.trainer import Trainer
from torch import nn
from torch.utils.data import DataLoader

from espnet_psslm.bridge.simulate import TASUSimulator
from espnet_psslm.data.collate import LengthCollate
from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from espnet_psslm.tasks.optimizers import GroupedOptimizers
from espnet_psslm.tasks.psslm_parts import build_tokenizer
from espnet_psslm.tasks.psslm_stream import SHARDS_TYPE, build_stream, streamed
from espnet_psslm.tasks.published import check_init_file
from espnet_psslm.tasks.several_devices import SeveralDevices
from espnet_psslm.tasks.validation import ByKind, kinds_of_validation
from espnet_psslm.text.prompt import PromptBook
from espnet_psslm.training.builders import (
    BRIDGE_CHOICES,
    add_bridge_options,
    build_collate,
    build_model,
    build_preprocessor,
)
from espnet_psslm.training.espnet_model import PSSLMModel
from espnet_psslm.training.manifest import OfManifest
from espnet_psslm.training.mixed_batches import mixed_batches
from espnet_psslm.training.per_epoch import PerEpoch
from espnet_psslm.training.unheard import heard_shapes


class PSSLMTask(SeveralDevices, GroupedOptimizers, OfManifest, AbsTask):
    """Train and load ``PSSLMModel``."""

    num_optimizers: int = 1
    trainer = Trainer
    class_choices_list = BRIDGE_CHOICES

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the options of the bridge."""
        super().add_task_arguments(parser)
        by_accuracy = ("valid", "acc", "max")
        parser.set_defaults(
            best_model_criterion=[by_accuracy], early_stopping_criterion=by_accuracy
        )
        add_bridge_options(parser)

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> PSSLMPreprocessor:
        """Reader of manifest rows."""
        preprocessor = build_preprocessor(args, train=train)
        if args.collect_stats and (chosen := preprocessor.simulator) is not None:
            # Lengths, for batches, are about the same however a text is simulated.
            preprocessor.simulator = TASUSimulator(chosen.num_units, blank_id=chosen.blank_id)
        return preprocessor

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable:
        """Pad a batch; in stage 10 only measure it."""
        if args.collect_stats:
            prompts = PromptBook(args.prompt_file, build_tokenizer(args), **args.prompt_conf)
            return LengthCollate(prefix_lengths=[len(p.prefix_ids) for p in prompts.prompts])
        return build_collate(args)

    @classmethod
    def build_sequence_iter_factory(
        cls, args: argparse.Namespace, iter_options: IteratorOptions, mode: str
    ) -> AbsIterFactory:
        """ESPnet's batches, with draws that depend on the epoch and not on the worker.

        Those of validation are of real or of simulated speech, where one process has them all.
        Samples in which nothing is heard are left out.
        """
        if streamed(iter_options.data_path_and_name_and_type):
            factory = build_stream(args, iter_options, mode)
            return PerEpoch(factory, iter_options.preprocess_fn, args)
        shapes = heard_shapes(iter_options.shape_files, args.output_dir, mode=mode)
        iter_options = replace(iter_options, shape_files=shapes)
        factory = super().build_sequence_iter_factory(args, iter_options, mode)
        if iter_options.train and args.audio_share is not None:
            factory.sampler = mixed_batches(args, iter_options, factory)
        if mode == "valid":
            kinds = kinds_of_validation(factory, iter_options.preprocess_fn.source_of)
            if not iter_options.distributed:
                factory = ByKind(factory, kinds)
        return PerEpoch(factory, iter_options.preprocess_fn, args)

    @classmethod
    def build_streaming_iterator(
        cls,
        data_path_and_name_and_type: list[tuple[str, str, str]],
        preprocess_fn: PSSLMPreprocessor,
        collate_fn: Callable,
        *,
        batch_size: int = 1,
        dtype: str = "float32",
        num_workers: int = 1,
        **_others: object,
    ) -> DataLoader:
        """Every sample once, in the manifest's order (stage 10).

        ESPnet's own reads line files of two columns; a manifest is no such file.
        """
        if streamed(data_path_and_name_and_type):
            raise ValueError(
                f"{SHARDS_TYPE} needs no lengths of samples: leave --collect_stats out, and train "
                "without --train_shape_file"
            )
        dataset = ESPnetDataset(
            data_path_and_name_and_type, preprocess=preprocess_fn, float_dtype=dtype
        )
        return DataLoader(
            dataset,
            sampler=list(dataset),
            batch_size=batch_size,
            collate_fn=collate_fn,
            num_workers=num_workers,
        )

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """ESPnet's, which starts from exactly what ``--init_param`` names."""
        for init_param in args.init_param:
            check_init_file(init_param)
        if args.init_param and args.ignore_init_mismatch:
            raise ValueError(
                "--ignore_init_mismatch would leave out what does not fit in silence: set it to "
                "false, and leave parts out by --init_param FILE:SOURCE:TARGET:EXCLUDED"
            )
        super().main_worker(args)

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: nn.Module
    ) -> list[torch.optim.Optimizer]:
        """ESPnet's optimizers."""
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(
                f"projector '{args.projector}' with tuning '{args.tuning}' has nothing to train: "
                "set tuning: lora or prefix, or projector_conf: {train_table: true} with lego"
            )
        return super().build_optimizers(args, model)

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> PSSLMModel:
        """Build the model from a configuration, also from a saved one."""
        return build_model(args)
