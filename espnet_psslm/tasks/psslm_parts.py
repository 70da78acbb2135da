"""Parts of the bridge from a configuration: language model, acoustic model, projector's start."""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from espnet_psslm.acoustic.base import AcousticModel
from espnet_psslm.acoustic.choice import acoustic_choice
from espnet_psslm.acoustic.models import ACOUSTIC_MODELS
from espnet_psslm.bridge.phone_sync import Reduction
from espnet_psslm.bridge.projector import Ends, Projector, SimpleLinear
from espnet_psslm.bridge.steps import FeatureSteps
from espnet_psslm.common.options import check_known, options_of, section
from espnet_psslm.common.tensors import load_state
from espnet_psslm.common.yaml_file import read_mapping
from espnet_psslm.device import resolve_dtype, training_device
from espnet_psslm.llm.backbone import load_language_model, load_tokenizer
from espnet_psslm.llm.frozen import Held
from espnet_psslm.llm.tuning import TUNINGS
from espnet_psslm.pack_files import open_pack
from espnet_psslm.text.prompt import PromptBook
from espnet_psslm.text.units import Units, read_token_list
from espnet_psslm.text.vocabulary import units_of

# Sections that no constructor reads as a whole: it would refuse what it does not know.
KNOWN_KEYS = {
    "llm_conf": ("name", "dtype", "trust_remote_code"),
    "prompt_conf": ("layout", "system", "chat_template"),
    "model_conf": ("extract_feats_in_collect_stats",),
}


def check_keys(args: argparse.Namespace) -> None:
    """Raise ValueError where a section has a key that nothing reads."""
    for name, known in KNOWN_KEYS.items():
        check_known(name, getattr(args, name), known)
    kind, options = acoustic_choice(vars(args))
    load = chosen(ACOUSTIC_MODELS, kind, "acoustic").load
    check_known("acoustic_conf", options, [*options_of(load), "packed"])


def chosen(table: Mapping[str, Any], name: str, option: str) -> Any:
    """What a table has under the value of an option.

    Raises:
        ValueError: if it has none: a saved configuration was edited, or is of a later version.
    """
    if name not in table:
        raise ValueError(f"{option}: {name} is unknown; use one of {', '.join(table)}")
    return table[name]


def build_language_model(args: argparse.Namespace) -> Held:
    """The language model, frozen or with adapters."""
    device = training_device(getattr(args, "ngpu", 0))
    dtype = resolve_dtype(args.llm_conf.get("dtype", "float32"), device)
    trusts = trusts_remote_code(args)
    lm = load_language_model(_llm_name(args), dtype=dtype, trust_remote_code=trusts)
    tuning = chosen(TUNINGS, args.tuning, "tuning")
    with section(f"tuning_conf of {args.tuning}", args.tuning_conf, tuning):
        return tuning(lm, **args.tuning_conf)


def build_tokenizer(args: argparse.Namespace) -> Any:
    """The language model's tokenizer."""
    return load_tokenizer(_llm_name(args), trust_remote_code=trusts_remote_code(args))


def _llm_name(args: argparse.Namespace) -> str:
    name = args.llm_conf.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(
            f"llm_conf: name: {name!r} names no language model; write a hub name, a folder, a "
            ".gguf file or package://module/file"
        )
    return name


def trusts_remote_code(args: argparse.Namespace) -> bool:
    """Whether code beside the language model's weights is run.

    Raises:
        ValueError: if ``llm_conf`` does not say so clearly.
    """
    given = args.llm_conf.get("trust_remote_code", False)
    if not isinstance(given, bool):
        raise ValueError(f"llm_conf: trust_remote_code: {given!r}; write true or false")
    return given


def start_projector(args: argparse.Namespace, projector: Projector, ends: Ends) -> None:
    """What ``--projector_init`` says."""
    if args.projector_init == "unit_text":
        if ends.kind is FeatureSteps:
            raise ValueError("projector_init: unit_text needs step_kind: posterior")
        projector.init_from_embeddings(ends.unit_embeddings())
    elif args.projector_init == "ctc_head":
        if not isinstance(projector, SimpleLinear):
            raise ValueError(
                f"projector_init: ctc_head is for simple_linear, not for {args.projector}"
            )
        projector.init_from_head(*_ctc_head(args))


def _ctc_head(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Weight (V, D) and bias (V,) of the acoustic model's CTC layer."""
    path = args.acoustic_conf.get("model_file")
    if not path or not Path(path).is_file():
        raise ValueError(
            f"projector_init: ctc_head reads acoustic_conf.model_file, and there is no file {path}"
        )
    state = load_state(path, option="acoustic_conf.model_file")
    names = ("ctc.ctc_lo.weight", "ctc.ctc_lo.bias")
    if lacking := [name for name in names if name not in state]:
        raise ValueError(f"acoustic_conf.model_file {path} lacks {lacking}: it has no CTC layer")
    return state[names[0]], state[names[1]]


def feature_width(args: argparse.Namespace, acoustic: AcousticModel | None) -> int:
    """D; kept in the configuration, so that decoding from dumps knows it."""
    if acoustic is not None:
        args.feature_width = acoustic.feature_width
    if args.feature_width < 1:
        raise ValueError(
            "step_kind: feature without an acoustic model (source, acoustic_conf) needs "
            "--feature_width, the encoder's output width"
        )
    return args.feature_width


def check_posterior(
    args: argparse.Namespace, acoustic: AcousticModel | None, reduction: Reduction
) -> None:
    """Raise ValueError where a posterior is needed and the acoustic model has none."""
    if acoustic is None or acoustic.has_ctc:
        return
    if args.step_kind == "posterior" or reduction.needs_posterior:
        raise ValueError(
            f"acoustic: {acoustic_choice(vars(args))[0]} has no CTC posterior, which step_kind: "
            f"{args.step_kind} with reduction: {args.reduction} needs: set step_kind: feature with "
            "reduction: frame_sync or fixed_rate, or name a CTC model"
        )


def build_acoustic(args: argparse.Namespace, units: Units | None) -> AcousticModel | None:
    """The acoustic model, where rows with audio are to be expected."""
    kind, options = acoustic_choice(vars(args))
    if args.source in ("no_audio", "steps", "text") or not options:
        return None
    load = chosen(ACOUSTIC_MODELS, kind, "acoustic").load
    with section(f"acoustic_conf of {kind}", options, load):
        acoustic = load(**options)
    if acoustic.has_ctc and units is not None and list(acoustic.token_list) != units.tokens:
        raise ValueError(
            f"acoustic: {kind} with {options} has {acoustic.num_units} units that are not the "
            f"{units.num_units} of --token_list (SenseVoice: --token_type sensevoice): use those "
            "that it was trained with"
        )
    return acoustic


def unit_text_embeddings(
    units: Units | None, prompts: PromptBook, embedding: nn.Embedding
) -> Tensor:
    """For each unit the mean embedding of the tokens of its text.

    Args:
        units: the CTC vocabulary.
        prompts: knows the language model's tokenizer.
        embedding: the language model's input embeddings.

    Returns:
        (V, H), float32; units without a text (blank, unknown) get the mean of the others.

    Raises:
        ValueError: if there is no vocabulary, or no unit of it has a text.
    """
    if units is None:
        raise ValueError("this projector needs the units: set --token_list and --bpemodel")
    rows = [torch.tensor(prompts.encode(text), dtype=torch.long) for text in units.unit_texts()]
    spoken = torch.tensor([len(ids) > 0 for ids in rows])
    if not spoken.any():
        raise ValueError("no unit has a text: choose another projector or projector_init: none")
    # Called, not indexed: some models scale what they look up (Gemma 3).
    with torch.no_grad():
        device = embedding.weight.device
        means = [embedding(ids.to(device)).float().mean(0) for ids in rows if len(ids)]
    if not means:
        raise ValueError(
            "projector_init: unit_text, but no unit has a text (phones have none): set "
            "projector_init: none"
        )
    logging.info("unit_text: %d of %d units have a text", len(means), len(rows))
    table = torch.stack(means).mean(0).repeat(len(rows), 1)
    table[spoken.to(device)] = torch.stack(means)
    return table


def bridge_units(args: argparse.Namespace) -> Units | None:
    """The CTC vocabulary; encoder outputs do without one where none is given.

    Raises:
        ValueError: if an option is missing.
    """
    needed = ["prompt_file", "token_list"]
    if args.token_type == "sensevoice":
        needed = ["prompt_file", "bpemodel"]  # which is the list of units too
    elif args.step_kind == "feature" and not args.token_list:
        needed = ["prompt_file"]
    for option in needed:
        if not getattr(args, option):
            raise ValueError(f"--{option} is not set; it is needed to build the model")
    if needed == ["prompt_file"]:
        return None
    return units_of(args)


def count_units(args: argparse.Namespace) -> int:
    """Size of the CTC vocabulary, 0 where there is none."""
    units = bridge_units(args)
    return 0 if units is None else units.num_units


def inline_files(args: argparse.Namespace) -> None:
    """Take the contents of small files, and where a pack was unpacked, into what is saved.

    Raises:
        ValueError: if a file is missing.
    """
    if isinstance(args.token_list, str):
        args.token_list = read_token_list(args.token_list)
    measured = args.simulator_conf.get("measured")
    if isinstance(measured, str):
        if not Path(measured).is_file():
            raise ValueError(
                f"simulator_conf.measured: no file '{measured}'; "
                "stage 9 (simulation_stats) makes it"
            )
        args.simulator_conf["measured"] = read_mapping(measured)
    if packed := args.acoustic_conf.get("packed"):
        if others := sorted(args.acoustic_conf.keys() - {"packed"}):
            raise ValueError(f"acoustic_conf: packed is a whole model; leave out {others}")
        files = open_pack(packed, needed="asr_train_config")
        args.acoustic_conf = {
            "train_config": files["asr_train_config"],
            "model_file": files["asr_model_file"],
        }
