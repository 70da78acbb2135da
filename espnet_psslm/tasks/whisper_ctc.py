"""ESPnet's ASR task for Whisper-CTC: stock training, with checks that stock training lacks."""

import argparse
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.tasks.asr import ASRTask
from espnet2.text.cleaner import TextCleaner
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.trainer import Trainer
from torch import nn

from espnet_psslm.acoustic.ctc_search import frames_needed
from espnet_psslm.acoustic.gathered_ctc import GatheredCTCModel, PlacedCTCLoss
from espnet_psslm.acoustic.log_mel import HOP
from espnet_psslm.acoustic.whisper import output_lengths
from espnet_psslm.atomic import atomic_text
from espnet_psslm.checkpoint import check_on_load
from espnet_psslm.data.audio import read_scp
from espnet_psslm.tasks.optimizers import GroupedOptimizers
from espnet_psslm.tasks.several_devices import SeveralDevices
from espnet_psslm.tasks.unfreezing import UnfreezingTrainer
from espnet_psslm.text.units import Units
from espnet_psslm.text.vocabulary import TOKEN_TYPES, add_phone_language, units_of

LARGE_VOCABULARY = 20_000  # units
TOO_SHORT_FILE = "ctc_too_short_{mode}.txt"


class WhisperCTCTask(SeveralDevices, GroupedOptimizers, ASRTask):
    """ASR task that refuses what would spoil a Whisper-CTC model in silence."""

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add ESPnet's ASR options, our token types and ``--max_ctc_too_short``."""
        super().add_task_arguments(parser)
        # ESPnet's list is fixed; a vocabulary that it would read in its own way is not on ours.
        parser._option_string_actions["--token_type"].choices = list(TOKEN_TYPES)
        add_phone_language(parser.add_argument_group("Units"))
        parser.add_argument(
            "--max_ctc_too_short",
            type=float,
            default=0.01,
            help="Stop if more than this fraction of a set's utterances has fewer encoder frames "
            "than CTC needs. They are listed in the output folder and train nothing.",
        )

    @classmethod
    def plain_trainer(cls, args: argparse.Namespace) -> type[Trainer]:
        """ESPnet's, or one that tells the encoder the epoch."""
        return UnfreezingTrainer if args.encoder_conf.get("unfreeze") else Trainer

    @classmethod
    def build_preprocess_fn(
        cls, args: argparse.Namespace, train: bool
    ) -> Callable[[str, dict[str, np.ndarray]], dict[str, np.ndarray]] | None:
        """ESPnet's preprocessor, which splits text as the rest of the package does."""
        plain = argparse.Namespace(**{**vars(args), "token_type": None})
        preprocessor = super().build_preprocess_fn(plain, train)
        if preprocessor is not None:
            preprocessor.text_cleaner = TextCleaner(args.cleaner)
            preprocessor.tokenizer = preprocessor.token_id_converter = _Splitter(units_of(args))
        return preprocessor

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> ESPnetASRModel:
        """Build the model from a configuration, also from a saved one.

        Raises:
            ValueError: if an option would spoil the pretrained encoder.
        """
        _check_options(args)
        model = super().build_model(args)
        if len(model.token_list) >= LARGE_VOCABULARY and not isinstance(model, GatheredCTCModel):
            logging.warning(
                "%d units: model: gathered_ctc has the same loss in a fraction of the memory",
                len(model.token_list),
            )
        if isinstance(getattr(model.ctc, "ctc_loss", None), nn.CTCLoss):
            model.ctc.ctc_loss = PlacedCTCLoss(
                reduction="none", zero_infinity=model.ctc.ctc_loss.zero_infinity
            )
        check_on_load(model)
        return model

    @classmethod
    def build_iter_factory(
        cls,
        args: argparse.Namespace,
        distributed_option: DistributedOption,
        mode: str,
        kwargs: dict | None = None,
    ) -> AbsIterFactory:
        """Count the utterances that CTC cannot align, then build ESPnet's batches.

        Raises:
            ValueError: if they are more than ``--max_ctc_too_short``.
        """
        if mode in ("train", "valid") and args.encoder == "hf_whisper":
            _check_lengths(args, mode, write=not distributed_option.dist_rank)
        return super().build_iter_factory(args, distributed_option, mode, kwargs)


class _Splitter:
    """Units as ESPnet's preprocessor wants them: a tokenizer and a converter to ids."""

    def __init__(self, units: Units) -> None:
        self.units = units

    def text2tokens(self, line: str) -> list[int]:
        return self.units.encode(line)

    def tokens2ids(self, tokens: list[int]) -> list[int]:
        return tokens


def _check_options(args: argparse.Namespace) -> None:
    if args.encoder != "hf_whisper":
        return
    for option, reason in {
        "normalize": "Whisper's features are normalised already",
        "init": "it would overwrite the pretrained weights",
        "decoder": "Whisper-CTC has none",
    }.items():
        value = getattr(args, option, None)
        if value is not None:
            raise ValueError(
                f"{option}: {value} with encoder: hf_whisper; {reason}: set {option}: null"
            )
    fixed = {"ctc_type": "builtin", "reduce": True, "zero_infinity": True}
    other = sorted(n for n, value in fixed.items() if args.ctc_conf.get(n, value) != value)
    if args.model == "gathered_ctc" and other:
        raise ValueError(f"model: gathered_ctc takes no ctc_conf: {other}; leave it out")
    padded = args.encoder_conf.get("pad_to_30s", False)
    if padded and args.specaug is not None and args.specaug_conf.get("apply_time_warp", True):
        raise ValueError(
            "specaug_conf: apply_time_warp shortens the batch to its longest utterance, against "
            "pad_to_30s; set apply_time_warp: false"
        )
    if args.frontend != "whisper_log_mel":
        raise ValueError(
            f"frontend: {args.frontend} with encoder: hf_whisper; set frontend: whisper_log_mel"
        )
    weight = args.model_conf.get("ctc_weight", 0.5)
    if weight != 1.0:
        raise ValueError(f"ctc_weight: {weight} without a decoder; set model_conf: ctc_weight: 1.0")


def _check_lengths(args: argparse.Namespace, mode: str, *, write: bool) -> None:
    """Report the utterances of one set whose CTC loss would be infinite.

    Args:
        args: of the task; the first shape file holds samples per utterance.
        mode: ``train`` or ``valid``.
        write: list them in the output folder (one process does).

    Raises:
        ValueError: if there are more than ``--max_ctc_too_short``.
    """
    texts = [
        path
        for path, name, _ in getattr(args, f"{mode}_data_path_and_name_and_type")
        if name == "text"
    ]
    shapes = getattr(args, f"{mode}_shape_file")
    if not texts or not shapes:
        logging.warning(
            "%s: utterances too short for CTC are not counted: that needs text and "
            "a speech shape file",
            mode,
        )
        return
    too_short = find_too_short(
        samples={utt: int(shape.split(",")[0]) for utt, shape in read_scp(shapes[0]).items()},
        texts=read_scp(texts[0]),
        units=units_of(args),
        conv_stride=args.encoder_conf.get("conv_stride", 0),
    )
    num_utts = len(read_scp(shapes[0]))
    target = Path(args.output_dir) / TOO_SHORT_FILE.format(mode=mode)
    if write:
        atomic_text(target, "".join(f"{utt}\t{why}\n" for utt, why in too_short.items()))
    message = (
        f"{mode}: {len(too_short)} of {num_utts} utterances have fewer encoder frames than CTC "
        f"needs and train nothing ({', '.join(list(too_short)[:5]) or 'none'}); list: {target}"
    )
    if len(too_short) > args.max_ctc_too_short * num_utts:
        raise ValueError(
            f"{message}. More than --max_ctc_too_short {args.max_ctc_too_short}: use a smaller "
            "encoder_conf: conv_stride, or larger units (stage 5)"
        )
    logging.info(message)


def find_too_short(
    *,
    samples: Mapping[str, int],
    texts: Mapping[str, str],
    units: Units,
    conv_stride: int,
) -> dict[str, str]:
    """Find utterances with fewer encoder frames than CTC needs.

    Args:
        samples: per utterance, at 16 kHz.
        texts: normalised transcripts; those without ``samples`` are passed over.
        units: the CTC vocabulary.
        conv_stride: of the encoder; 0 for none.

    Returns:
        Utterance to reason.
    """
    too_short = {}
    for utt_id, text in texts.items():
        if utt_id not in samples:
            continue
        frames = output_lengths(samples[utt_id] // HOP, conv_stride=conv_stride)
        needed = frames_needed(units.encode(text))
        if frames < needed:
            too_short[utt_id] = f"{frames} encoder frames, CTC needs {needed}"
    return too_short
