"""Whisper-CTC: a model that ``bin/asr_train`` trained."""

import argparse
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.espnet_model import ESPnetASRModel
from torch import Tensor

from espnet_psslm.acoustic.base import AcousticModel
from espnet_psslm.acoustic.log_mel import WhisperLogMel
from espnet_psslm.acoustic.whisper import FEATURE_SHIFT_S, HFSpeechEncoder
from espnet_psslm.checkpoint import Misfit, check_on_load
from espnet_psslm.common.files import check_file
from espnet_psslm.common.tensors import check_finite, load_state
from espnet_psslm.device import HOST
from espnet_psslm.pack_files import read_relocated
from espnet_psslm.text.units import Units
from espnet_psslm.text.vocabulary import units_of

# Of a training's configuration, what the model is built of.
MODEL_KEYS = (
    *("frontend", "frontend_conf", "encoder", "encoder_conf"),
    *("ctc_conf", "model_conf", "token_list"),
)


class CTCAcoustic(AcousticModel):
    """Wrap an ESPnet ASR model.

    Args:
        model: with encoder ``hf_whisper`` and a CTC layer; its frontend, encoder and CTC layer
            are used.
        make_units: builds the vocabulary, when texts are first split or joined: posteriors
            alone need no file of it.

    Raises:
        ValueError: if the model has no CTC layer or another encoder.
    """

    def __init__(self, model: ESPnetASRModel, *, make_units: Callable[[], Units]) -> None:
        super().__init__()
        if model.ctc is None or not isinstance(model.encoder, HFSpeechEncoder):
            raise ValueError(
                f"an acoustic model needs encoder: hf_whisper and a CTC layer, not "
                f"{type(model.encoder).__name__} and {type(model.ctc).__name__}"
            )
        self.model = model
        self._make_units = make_units
        self.blank_id: int = model.blank_id
        self.token_list: list[str] = list(model.token_list)
        self.feature_width: int = model.encoder.output_size()
        self.frame_shift_s: float = model.encoder.frame_shift_s
        self.max_duration_s: float = model.encoder.max_frames * FEATURE_SHIFT_S
        self.eval()

    @classmethod
    def load(cls, *, train_config: str, model_file: str) -> "CTCAcoustic":
        return load_ctc_acoustic(train_config, model_file)

    @cached_property
    def units(self) -> Units:
        """The vocabulary."""
        return self._make_units()

    def encode_frames(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.encode(speech, speech_lengths)

    @torch.no_grad()
    def classify(self, features: Tensor) -> Tensor:
        return self.model.ctc.log_softmax(features).float()


def load_ctc_acoustic(
    train_config: str | Path, model_file: str | Path, device: torch.device | str = HOST
) -> CTCAcoustic:
    """Load a model that ``bin/asr_train`` trained.

    Args:
        train_config: the ``config.yaml`` of its output folder.
        model_file: a checkpoint, e.g. ``valid.loss.ave.pth``.
        device: where to put it.

    Raises:
        ValueError: if a file is missing, is of another kind of model, or the checkpoint has other
            weights than the model, or such that are NaN.
    """
    for path, option in ((train_config, "asr_train_config"), (model_file, "asr_model_file")):
        check_file(path, option=f"--{option}", fix="stage 6 trains the model")
    config = read_relocated(train_config)
    if lacking := [name for name in MODEL_KEYS if name not in config]:
        raise ValueError(
            f"--asr_train_config {train_config}: lacks {lacking[0]!r}; give the config.yaml of "
            "asr_train"
        )
    args = argparse.Namespace(**config)
    model = _build_espnet_model(args)
    state = load_state(model_file, option="--asr_model_file")
    check_finite(state, model_file, option="--asr_model_file")
    check_on_load(model)
    try:
        model.load_state_dict(state)
    except Misfit as error:
        raise ValueError(f"--asr_model_file {model_file} {error}") from error
    return CTCAcoustic(model.to(device), make_units=partial(units_of, args))


def _build_espnet_model(args: argparse.Namespace) -> ESPnetASRModel:
    """What ESPnet's ASR task builds of such a configuration, but for what only training needs.

    The task itself takes seconds to import: it knows every encoder and frontend there is.
    """
    if args.encoder != "hf_whisper" or args.frontend != "whisper_log_mel":
        raise ValueError(
            "an acoustic model needs encoder: hf_whisper and frontend: whisper_log_mel, not "
            f"{args.encoder} and {args.frontend}"
        )
    frontend = WhisperLogMel(**args.frontend_conf)
    encoder = HFSpeechEncoder(frontend.output_size(), **args.encoder_conf)
    num_units = len(args.token_list)
    return ESPnetASRModel(
        vocab_size=num_units,
        token_list=args.token_list,
        frontend=frontend,
        specaug=None,
        normalize=None,
        preencoder=None,
        encoder=encoder,
        postencoder=None,
        decoder=None,
        ctc=CTC(odim=num_units, encoder_output_size=encoder.output_size(), **args.ctc_conf),
        joint_network=None,
        **args.model_conf,
    )
