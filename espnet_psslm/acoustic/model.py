"""A trained CTC acoustic model as the rest of the package sees it: waveform in, posterior out."""

import argparse
import math
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.espnet_model import ESPnetASRModel
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from espnet_psslm.acoustic.log_mel import WhisperLogMel
from espnet_psslm.acoustic.long_audio import (
    OVERLAP_S,
    SEARCH_S,
    join_windows,
    window_starts,
)
from espnet_psslm.acoustic.waveform import check_duration, give_a_frame
from espnet_psslm.acoustic.whisper import FEATURE_SHIFT_S, HFSpeechEncoder
from espnet_psslm.checkpoint import Misfit, check_on_load
from espnet_psslm.common.audio import SAMPLE_RATE
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


class CTCAcoustic(nn.Module):
    """Wrap an ESPnet ASR model; always in evaluation mode.

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
        self.num_units = len(self.token_list)
        self.feature_width: int = model.encoder.output_size()
        self.frame_shift_s: float = model.encoder.frame_shift_s
        self.max_duration_s: float = model.encoder.max_frames * FEATURE_SHIFT_S
        self.eval()

    def train(self, mode: bool = True) -> "CTCAcoustic":
        """Stay in evaluation mode: this model is used, not trained."""
        return super().train(False)

    @cached_property
    def units(self) -> Units:
        """The vocabulary."""
        return self._make_units()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @torch.no_grad()
    def log_posterior(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """CTC posteriors of a batch, float32 (B, T, V), and lengths (B,); see ``encode``.

        What is longer than ``max_duration_s`` is heard in overlapping windows.
        """
        if int(speech_lengths.max()) > self.max_duration_s * SAMPLE_RATE:
            return self._long_log_posterior(speech, speech_lengths)
        features, lengths = self.encode(speech, speech_lengths)
        return self.classify(features), lengths

    @torch.no_grad()
    def classify(self, features: Tensor) -> Tensor:
        """Encoder outputs (B, T, D) to log posteriors (B, T, V), float32."""
        return self.model.ctc.log_softmax(features).float()

    @torch.no_grad()
    def encode(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder outputs of a batch.

        Args:
            speech: (B, N), 16 kHz, in [-1, 1].
            speech_lengths: (B,), samples.

        Returns:
            outputs (B, T, D) and lengths (B,) in frames of ``frame_shift_s``. An utterance
            shorter than one feature frame (10 ms) has length 0.

        Raises:
            ValueError: if an utterance is longer than ``max_duration_s``.
        """
        check_duration(
            speech_lengths,
            max_duration_s=self.max_duration_s,
            fix="cut it, or use posteriors, which are joined",
        )
        speech, speech_lengths, is_empty = give_a_frame(speech, speech_lengths)
        encoded, lengths = self.model.encode(speech, speech_lengths)
        return encoded, lengths.masked_fill(is_empty, 0)

    def _long_log_posterior(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Windows of all utterances, as many at once as there are utterances, then joined."""
        frame = round(self.frame_shift_s * SAMPLE_RATE)  # samples
        window = int(self.max_duration_s * SAMPLE_RATE) // frame
        overlap = min(round(OVERLAP_S / self.frame_shift_s), window // 4)
        starts = [
            window_starts(-(-n // frame), window=window, overlap=overlap)
            if n > self.max_duration_s * SAMPLE_RATE
            else [0]
            for n in lengths.tolist()
        ]
        pieces = [
            speech[row, first * frame : min(length, (first + window) * frame)]
            if len(starts[row]) > 1
            else speech[row, :length]
            for row, length in enumerate(lengths.tolist())
            for first in starts[row]
        ]
        parts: list[Tensor] = []
        for place in range(0, len(pieces), len(speech)):
            batch = pieces[place : place + len(speech)]
            sizes = torch.tensor([len(piece) for piece in batch], device=speech.device)
            found, frames = self.log_posterior(pad_sequence(batch, batch_first=True), sizes)
            parts += [rows[:n] for rows, n in zip(found, frames.tolist(), strict=True)]
        rest = iter(parts)
        search = min(round(SEARCH_S / self.frame_shift_s), overlap // 3)
        joined = [
            join_windows([next(rest) for _ in first], first, search=search, blank_id=self.blank_id)
            for first in starts
        ]
        frames = torch.tensor([len(rows) for rows in joined], device=lengths.device)
        filler = -math.log(self.num_units)
        return pad_sequence(joined, batch_first=True, padding_value=filler), frames


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
