"""A speech language model from its configuration: options, model, reader of rows, batches.

The ESPnet task trains what these build, and decoding loads it, without the task: that takes seconds
to import.
"""

import argparse
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import str_or_none

from espnet_psslm.bridge.phone_sync import REDUCTIONS, Reduction, build_reduction
from espnet_psslm.bridge.projector import PROJECTORS, Ends, Projector, build_projector
from espnet_psslm.bridge.simulate import Simulator
from espnet_psslm.bridge.steps import STEP_KINDS, FeatureSteps
from espnet_psslm.checkpoint import drop_frozen_from_state_dict
from espnet_psslm.common.options import section
from espnet_psslm.data.collate import StepsCollate
from espnet_psslm.data.preprocessor import SOURCES, PSSLMPreprocessor
from espnet_psslm.llm.frozen import Held
from espnet_psslm.llm.tuning import TUNINGS
from espnet_psslm.steps.made import Made, check_made, how_made
from espnet_psslm.steps.simulators import SIMULATORS
from espnet_psslm.tasks.choice import AcousticChoice, Choice
from espnet_psslm.tasks.psslm_parts import (
    bridge_units,
    build_acoustic,
    build_language_model,
    build_tokenizer,
    check_keys,
    check_posterior,
    chosen,
    count_units,
    feature_width,
    inline_files,
    start_projector,
    unit_text_embeddings,
)
from espnet_psslm.tasks.published import accept_published_layout
from espnet_psslm.text.prompt import PromptBook
from espnet_psslm.text.units import Units
from espnet_psslm.text.vocabulary import add_unit_arguments
from espnet_psslm.training.espnet_model import PSSLMModel

BRIDGE_CHOICES = [
    AcousticChoice(),
    Choice("projector", PROJECTORS, type_check=Projector, default="linear-silu"),
    Choice("simulator", SIMULATORS, type_check=Simulator, default="tasu"),
    Choice("reduction", REDUCTIONS, type_check=Reduction, default="merge_then_drop"),
    Choice("tuning", TUNINGS, type_check=Held, default="frozen"),
]


def add_bridge_options(parser: argparse.ArgumentParser) -> None:
    """Add what a configuration says of the bridge."""
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
        ("model_conf", "extract_feats_in_collect_stats"),
        ("stream_conf", "for shards: buffer_mb, text that is shuffled together (default 4)"),
    ):
        group.add_argument(f"--{name}", action=NestedDictAction, default={}, help=text)
    group.add_argument(
        "--step_kind",
        choices=list(STEP_KINDS),
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
    for choice in BRIDGE_CHOICES:
        choice.add_arguments(group)


def with_defaults(config: Mapping[str, Any], words: Sequence[str] = ()) -> argparse.Namespace:
    """A saved configuration; options that are younger than it mean what they did not yet change.

    Args:
        config: of a training, or for one.
        words: of a command line, which count more.

    Raises:
        ValueError: if a section of it is none.
    """
    parser = argparse.ArgumentParser()
    add_bridge_options(parser)
    for name, value in vars(parser.parse_args([])).items():
        if isinstance(value, dict) and not isinstance(given := config.get(name, {}), dict):
            raise ValueError(f"{name}: {given!r} is no section; write 'option: value' below it")
    given = argparse.Namespace(**{"seed": 0} | dict(config))  # seed: an option of all ESPnet tasks
    return parser.parse_args(list(words), given)


def reduction_of(args: argparse.Namespace) -> Reduction:
    """The reduction that a configuration names."""
    return build_reduction(args.reduction, blank_id=Units.blank_id, **args.reduction_conf)


def build_simulator(args: argparse.Namespace, units: Units, made: Made) -> Simulator:
    """The simulator that a configuration names.

    Args:
        args: the configuration.
        units: of the Steps that it imitates.
        made: how the bridge makes them.

    Raises:
        ValueError: if an option does not fit, or it imitates others.
    """
    inline_files(args)
    conf, given = args.simulator_conf, {"blank_id": units.blank_id}
    cls = chosen(SIMULATORS, args.simulator, "simulator")
    with section(f"simulator_conf of {args.simulator}", conf, cls, given=given):
        simulator = cls(units.num_units, **given, **conf)
    check_made(simulator.made, made, place=f"what simulator: {args.simulator} imitates")
    return simulator


def build_preprocessor(args: argparse.Namespace, *, train: bool) -> PSSLMPreprocessor:
    """Reader of manifest rows."""
    units = bridge_units(args)
    tokenizer = build_tokenizer(args)
    tokens = None if units is None else units.tokens
    made = how_made(args.step_kind, reduction_of(args), tokens)
    return PSSLMPreprocessor(
        train,
        prompts=PromptBook(args.prompt_file, tokenizer, **args.prompt_conf),
        units=None if args.step_kind == "feature" else units,
        end_id=tokenizer.eos_token_id,
        simulator=None if args.step_kind == "feature" else build_simulator(args, units, made),
        source=args.source,
        seed=args.seed,
        made=made,
    )


def build_collate(args: argparse.Namespace) -> StepsCollate:
    """What pads a batch."""
    pad_id = build_tokenizer(args).eos_token_id
    return StepsCollate(num_units=count_units(args), pad_id=pad_id)


def build_model(args: argparse.Namespace) -> PSSLMModel:
    """Build the model from a configuration, also from a saved one."""
    check_keys(args)
    inline_files(args)
    units = bridge_units(args)
    tokenizer = build_tokenizer(args)
    prompts = PromptBook(args.prompt_file, tokenizer, **args.prompt_conf)
    lm = build_language_model(args)
    acoustic = build_acoustic(args, units)
    reduction = reduction_of(args)
    check_posterior(args, acoustic, reduction)
    kind = chosen(STEP_KINDS, args.step_kind, "step_kind")
    embeddings = lm.module.get_input_embeddings()
    ends = Ends(
        kind=kind,
        width=feature_width(args, acoustic) if kind is FeatureSteps else units.num_units,
        lm_width=embeddings.weight.shape[1],
        blank_id=reduction.blank_id,
        token_embeddings=functools.partial(getattr, embeddings, "weight"),
        unit_embeddings=functools.partial(unit_text_embeddings, units, prompts, embeddings),
    )
    projector = build_projector(
        chosen(PROJECTORS, args.projector, "projector"), ends, **args.projector_conf
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
        step_kind=kind,
    )
    accept_published_layout(model)
    drop_frozen_from_state_dict(model)
    return model
