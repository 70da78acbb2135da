"""ESPnet's ASR task for Whisper-CTC: stock training, with checks that stock training lacks."""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path

from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.tasks.asr import ASRTask
from espnet2.train.distributed_utils import DistributedOption

from espnet_psslm.acoustic.ctc_search import frames_needed
from espnet_psslm.acoustic.log_mel import HOP
from espnet_psslm.acoustic.whisper import output_lengths
from espnet_psslm.checkpoint import check_on_load
from espnet_psslm.data.audio import read_scp
from espnet_psslm.tasks.optimizers import GroupedOptimizers
from espnet_psslm.text.units import SentencePieceUnits

TOO_SHORT_FILE = "ctc_too_short_{mode}.txt"


class WhisperCTCTask(GroupedOptimizers, ASRTask):
    """ASR task that refuses what would spoil a Whisper-CTC model in silence."""

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add ESPnet's ASR options and ``--max_ctc_too_short``."""
        super().add_task_arguments(parser)
        parser.add_argument(
            "--max_ctc_too_short",
            type=float,
            default=0.01,
            help="Stop if more than this fraction of a set's utterances has fewer encoder frames "
            "than CTC needs. They are listed in the output folder and train nothing.",
        )

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> ESPnetASRModel:
        """Build the model from a configuration, also from a saved one.

        Raises:
            ValueError: if an option would spoil the pretrained encoder.
        """
        _check_options(args)
        model = super().build_model(args)
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
    texts = [path for path, name, _ in getattr(args, f"{mode}_data_path_and_name_and_type")
             if name == "text"]
    shapes = getattr(args, f"{mode}_shape_file")
    if not texts or not shapes or args.token_type != "bpe":
        logging.warning("%s: utterances too short for CTC are not counted: that needs text, "
                        "a speech shape file and token_type: bpe", mode)
        return
    too_short = find_too_short(
        samples={utt: int(shape.split(",")[0]) for utt, shape in read_scp(shapes[0]).items()},
        texts=read_scp(texts[0]),
        units=SentencePieceUnits(args.token_list, bpemodel=args.bpemodel),
        conv_stride=args.encoder_conf.get("conv_stride", 0),
    )
    num_utts = len(read_scp(shapes[0]))
    target = Path(args.output_dir) / TOO_SHORT_FILE.format(mode=mode)
    if write:
        target.write_text("".join(f"{utt}\t{why}\n" for utt, why in too_short.items()))
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
    units: SentencePieceUnits,
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
