"""ESPnet task of the phone-synchronous speech language model.

The bridge is a task of its own, with its own choices; ESPnet's trainer, samplers, checkpoints and
launchers serve it unchanged. A saved ``config.yaml`` is enough to build the model again.
"""

import argparse
import functools
from collections.abc import Callable
from dataclasses import replace

import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.tasks.abs_task import AbsTask, IteratorOptions
from espnet2.train.class_choices import ClassChoices
from espnet2.train.dataset import ESPnetDataset
from espnet2.train.trainer import Trainer
from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import str_or_none
from torch import nn
from torch.utils.data import DataLoader

from espnet_psslm.bridge.hear import HEAR
from espnet_psslm.bridge.phone_sync import REDUCTIONS, Reduction, build_reduction
from espnet_psslm.bridge.projector import PROJECTORS, Ends, Projector, build_projector
from espnet_psslm.bridge.steps import FeatureSteps
from espnet_psslm.checkpoint import drop_frozen_from_state_dict
from espnet_psslm.data.collate import LengthCollate, StepsCollate
from espnet_psslm.data.preprocessor import SOURCES, PSSLMPreprocessor
from espnet_psslm.llm.frozen import Held
from espnet_psslm.llm.model import PSSLMModel
from espnet_psslm.llm.tuning import TUNINGS
from espnet_psslm.tasks.optimizers import GroupedOptimizers
from espnet_psslm.tasks.psslm_parts import (
    bridge_units,
    build_acoustic,
    build_language_model,
    build_simulator,
    build_tokenizer,
    check_keys,
    check_posterior,
    chosen,
    count_units,
    feature_width,
    inline_files,
    mixed_batches,
    start_projector,
    unit_text_embeddings,
)
from espnet_psslm.tasks.psslm_stream import SHARDS_TYPE, build_stream, streamed
from espnet_psslm.tasks.published import accept_published_layout, check_init_file
from espnet_psslm.tasks.several_devices import SeveralDevices
from espnet_psslm.tasks.simulator_choice import SimulatorChoices
from espnet_psslm.tasks.validation import ByKind, kinds_of_validation
from espnet_psslm.text.prompt import PromptBook
from espnet_psslm.text.units import Units
from espnet_psslm.text.vocabulary import add_unit_arguments
from espnet_psslm.training.manifest import OfManifest
from espnet_psslm.training.per_epoch import PerEpoch
from espnet_psslm.training.unheard import heard_shapes


class PSSLMTask(SeveralDevices, GroupedOptimizers, OfManifest, AbsTask):
    """Train and load ``PSSLMModel``."""

    num_optimizers: int = 1
    trainer = Trainer
    class_choices_list = [
        ClassChoices("projector", PROJECTORS, type_check=Projector, default="linear-silu"),
        SimulatorChoices(),
        ClassChoices("reduction", REDUCTIONS, type_check=Reduction, default="merge_then_drop"),
        ClassChoices("tuning", TUNINGS, type_check=Held, default="frozen"),
    ]

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the options of the bridge."""
        super().add_task_arguments(parser)
        by_accuracy = ("valid", "acc", "max")
        parser.set_defaults(
            best_model_criterion=[by_accuracy], early_stopping_criterion=by_accuracy
        )
        group = parser.add_argument_group("Bridge")
        add_unit_arguments(group)
        group.add_argument("--prompt_file", type=str_or_none, help="JSON Lines of task and prompt")
        group.add_argument(
            "--source",
            choices=SOURCES,
            default="auto",
            help="Where the speech side comes from: audio, dumped steps, simulated from text; "
            "auto: what each row of the manifest has; no_audio: likewise, but no audio is opened "
            "and no acoustic model is built",
        )
        group.add_argument(
            "--audio_share",
            type=float,
            help="Share of samples with audio or dumped steps in each training batch, where the "
            "manifest has text-only ones too; without it batches are made of what there is",
        )
        for name, text in (
            (
                "llm_conf",
                "name (hub name, folder, .gguf, package://...), dtype; trust_remote_code: true "
                "runs code that lies beside the weights",
            ),
            ("prompt_conf", "layout, system, chat_template"),
            (
                "acoustic_conf",
                "for rows with audio: train_config and model_file of a CTC model; or packed (the "
                "archive of one, or of a bridge); or sensevoice (folder or hub id; hub, query_ids, "
                "max_duration_s); or whisper (name of weights; num_mels, pad_to_30s), a pretrained "
                "encoder without CTC",
            ),
            ("model_conf", "extract_feats_in_collect_stats"),
            ("stream_conf", "for shards: buffer_mb, text that is shuffled together (default 4)"),
        ):
            group.add_argument(f"--{name}", action=NestedDictAction, default={}, help=text)
        group.add_argument(
            "--step_kind",
            choices=list(HEAR),
            default="posterior",
            help="What a step holds: the CTC posterior, or the encoder's output",
        )
        group.add_argument(
            "--feature_width",
            type=int,
            default=0,
            help="Width of the encoder's outputs; 0: ask the acoustic model. To be given only "
            "where dumped outputs are read and no acoustic model is built",
        )
        group.add_argument(
            "--projector_init",
            choices=("none", "unit_text", "ctc_head"),
            default="none",
            help="unit_text: each unit starts as the mean embedding of the tokens of its text; "
            "ctc_head: simple_linear starts as the CTC layer of acoustic_conf.model_file",
        )
        for choice in cls.class_choices_list:
            choice.add_arguments(group)

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> PSSLMPreprocessor:
        """Reader of manifest rows."""
        units = bridge_units(args)
        tokenizer = build_tokenizer(args)
        return PSSLMPreprocessor(
            train,
            prompts=PromptBook(args.prompt_file, tokenizer, **args.prompt_conf),
            units=None if args.step_kind == "feature" else units,
            end_id=tokenizer.eos_token_id,
            simulator=None if args.step_kind == "feature" else build_simulator(args, units),
            source=args.source,
            seed=args.seed,
        )

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable:
        """Pad a batch; in stage 10 only measure it."""
        tokenizer = build_tokenizer(args)
        if args.collect_stats:
            prompts = PromptBook(args.prompt_file, tokenizer, **args.prompt_conf).prompts
            return LengthCollate(prefix_lengths=[len(prompt.prefix_ids) for prompt in prompts])
        return StepsCollate(num_units=count_units(args), pad_id=tokenizer.eos_token_id)

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
        check_keys(args)
        inline_files(args)
        units = bridge_units(args)
        tokenizer = build_tokenizer(args)
        prompts = PromptBook(args.prompt_file, tokenizer, **args.prompt_conf)
        lm = build_language_model(args)
        acoustic = build_acoustic(args, units)
        blank_id = Units.blank_id
        reduction = build_reduction(args.reduction, blank_id=blank_id, **args.reduction_conf)
        check_posterior(args, acoustic, reduction)
        kind, hear = chosen(HEAR, args, "step_kind")
        embeddings = lm.module.get_input_embeddings()
        ends = Ends(
            kind=kind,
            width=feature_width(args, acoustic) if kind is FeatureSteps else units.num_units,
            lm_width=embeddings.weight.shape[1],
            blank_id=blank_id,
            token_embeddings=functools.partial(getattr, embeddings, "weight"),
            unit_embeddings=functools.partial(unit_text_embeddings, units, prompts, embeddings),
        )
        projector = build_projector(
            chosen(PROJECTORS, args, "projector"), ends, **args.projector_conf
        )
        start_projector(args, projector, ends)
        model = PSSLMModel(
            lm,
            projector,
            prefixes=[prompt.prefix_ids for prompt in prompts.prompts],
            end_id=tokenizer.eos_token_id,
            pad_id=tokenizer.eos_token_id,
            acoustic=acoustic,
            reduction=reduction,
            hear=hear,
        )
        accept_published_layout(model)
        drop_frozen_from_state_dict(model)
        return model
