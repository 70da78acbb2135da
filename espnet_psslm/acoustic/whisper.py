"""Whisper's encoder (arXiv 2212.04356) as an ESPnet encoder, without 30 seconds of padding.

The layers are transformers' own; the forward pass is ours, because theirs accepts 3000 frames
only and ignores padding. Here the position table is cut to the longest utterance and padding is
masked, which is 15 times faster on short commands.

Legend: B batch, F feature frames of 10 ms, T output frames of 20 ms (times the stride), M mel
channels, D width.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import Tensor, nn
from transformers import WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from espnet_psslm.acoustic.ctranslate2 import is_ctranslate2_folder, read_encoder
from espnet_psslm.acoustic.freezing import FreezePlan, is_fixed
from espnet_psslm.checkpoint import drop_frozen_from_state_dict
from espnet_psslm.common.errors import first_line
from espnet_psslm.device import resolve_dtype
from espnet_psslm.weights import resolve_weights

FEATURE_SHIFT_S = 0.01  # seconds per feature frame
FRONT_STRIDE = 2  # of Whisper's second convolution


def load_whisper_encoder(name: str) -> WhisperEncoder:
    """Load the encoder of a pretrained Whisper, float32.

    Args:
        name: hub name, transformers folder, CTranslate2 folder (faster-whisper's), or
            ``package://module/folder``.

    Raises:
        ValueError: if there is no such model, or it is no Whisper.
    """
    path = resolve_weights(name)
    if is_ctranslate2_folder(path):
        config, state = read_encoder(path)
        config._attn_implementation = "sdpa"
        encoder = WhisperEncoder(config)
        encoder.load_state_dict(state, strict=True)
        return encoder
    try:
        whole = WhisperModel.from_pretrained(
            path, dtype=torch.float32, attn_implementation="sdpa", trust_remote_code=False
        )
    except Exception as error:  # libraries of its own raise anything for files of other kinds
        raise ValueError(
            f"Whisper weights '{name}': neither a folder nor a model that the hub gives out "
            f"({first_line(error)}); name a folder with config.json and the weights"
        ) from error
    return whole.encoder


def output_lengths[Length: (int, Tensor)](feature_lengths: Length, *, conv_stride: int) -> Length:
    """Encoder frames for so many feature frames (10 ms); ``conv_stride`` 0 for no convolution."""
    lengths = _ceil_div(feature_lengths, FRONT_STRIDE)
    return _ceil_div(lengths, conv_stride) if conv_stride else lengths


class StridedConv(nn.Module):
    """Shorten a sequence by a convolution; a last incomplete window is filled with zeros.

    Args:
        width: D, in and out.
        kernel: frames under the window.
        stride: frames between windows, at most ``kernel``.
    """

    def __init__(self, width: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        if not 1 <= stride <= kernel:
            raise ValueError(
                f"conv_stride {stride} with conv_kernel {kernel}: needs 1 <= stride <= kernel, "
                "else frames are skipped"
            )
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv1d(width, width, kernel_size=kernel, stride=stride)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D), zero behind each length, to (B, ceil(T / stride), D)."""
        num_out = _ceil_div(frames.shape[1], self.stride)
        missing = (num_out - 1) * self.stride + self.kernel - frames.shape[1]
        frames = F.pad(frames, (0, 0, 0, missing))
        out = self.conv(frames.transpose(1, 2)).transpose(1, 2)
        return out, _ceil_div(lengths, self.stride)


class HFSpeechEncoder(AbsEncoder):
    """ESPnet encoder ``hf_whisper``: Whisper's encoder and an optional strided convolution.

    Frozen parts stay in evaluation mode, and those at the bottom run without a graph. They are
    not in checkpoints: :mod:`espnet_psslm.checkpoint`. (ESPnet takes a class with Whisper in its
    name for its own encoder, which has no frontend.)

    Args:
        input_size: M, from the frontend.
        name: pretrained weights, see :func:`load_whisper_encoder`.
        freeze: ``encoder`` (everything but the strided convolution), ``front``, ``none``,
            ``{first_layers: 2}``, ``{layers: [0, 1]}`` or ``{pattern: 'layers\\.[01]\\.'}``, see
            :class:`~espnet_psslm.acoustic.freezing.FreezePlan`.
        conv_kernel: frames of 20 ms under the strided convolution; 0 for none.
        conv_stride: its stride, e.g. 3 for output frames of 60 ms; 0 for none.
        pad_to_30s: encode the padding to 30 s unmasked, as Whisper was trained; for parity with
            other systems. Needs the frontend's ``pad_to_30s`` too.
        unfreeze: of what is frozen, what is trained from an epoch on, e.g. ``{3: 'layers\\.3'}``.
        frozen_dtype: of the products in what lies below all that is ever trained, in training and
            in decoding: ``float32``, ``bfloat16``, or ``auto`` for bfloat16 where the device
            multiplies it natively. Weights and sums stay float32.

    Raises:
        ValueError: if the options and the weights do not fit each other.
    """

    def __init__(
        self,
        input_size: int,
        name: str,
        freeze: str | Mapping = "encoder",
        conv_kernel: int = 0,
        conv_stride: int = 0,
        pad_to_30s: bool = False,
        unfreeze: Mapping | None = None,
        frozen_dtype: str = "float32",
    ) -> None:
        super().__init__()
        if frozen_dtype != "auto":
            resolve_dtype(frozen_dtype)  # an unknown name ends here
        self.whisper = load_whisper_encoder(name)
        config = self.whisper.config
        if input_size != config.num_mel_bins:
            raise ValueError(
                f"encoder '{name}' takes {config.num_mel_bins} mel channels, the frontend gives "
                f"{input_size}; set frontend_conf: num_mels: {config.num_mel_bins}"
            )
        if bool(conv_kernel) != bool(conv_stride):
            raise ValueError(
                f"conv_kernel {conv_kernel}, conv_stride {conv_stride}: give both, or 0 for none"
            )
        self.downsample = (
            StridedConv(config.d_model, kernel=conv_kernel, stride=conv_stride)
            if conv_stride
            else None
        )
        self.max_frames = FRONT_STRIDE * config.max_source_positions  # of 10 ms
        self.pad_to_30s = pad_to_30s
        self.plan = FreezePlan(
            self.whisper, num_layers=config.encoder_layers, freeze=freeze, unfreeze=unfreeze
        )
        self._epoch_is_known = not self.plan.by_epoch
        # Counted now: who uses the model may freeze the rest of it, which stays as it was trained.
        self.frozen_dtype, self.num_frozen_parts = frozen_dtype, self._count_frozen_parts()
        self._dtypes: dict[torch.device, torch.dtype] = {}
        drop_frozen_from_state_dict(self)

    def set_epoch(self, epoch: int) -> None:
        """Train what ``unfreeze`` lets go in this epoch or before."""
        self.plan.set_epoch(epoch)
        self._epoch_is_known = True
        self.train(self.training)

    def train(self, mode: bool = True) -> "HFSpeechEncoder":
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self.whisper.modules():
            if is_fixed(module):
                module.eval()
        return self

    def output_size(self) -> int:
        """D, the width of the output."""
        return self.whisper.config.d_model

    @property
    def frame_shift_s(self) -> float:
        """Seconds between output frames."""
        stride = self.downsample.stride if self.downsample is not None else 1
        return FEATURE_SHIFT_S * FRONT_STRIDE * stride

    def forward(
        self, xs_pad: Tensor, ilens: Tensor, prev_states: Tensor | None = None
    ) -> tuple[Tensor, Tensor, None]:
        """Encode.

        Args:
            xs_pad: (B, F, M), log-mel features. Values behind an utterance's end do not matter.
            ilens: (B,), feature frames.
            prev_states: unused; ESPnet's interface.

        Returns:
            frames (B, T, D), zero behind each end (only before the strided convolution's last
            window), and lengths (B,).

        Raises:
            ValueError: if the features are longer than the position table.
        """
        self._check_frames(xs_pad.shape[1])
        if self.training and not self._epoch_is_known:
            raise ValueError("unfreeze needs the epoch: train with espnet_psslm.bin.asr_train")
        lengths = _ceil_div(ilens, FRONT_STRIDE)
        # Below the lowest trained part no graph is needed.
        needs_graph = torch.is_grad_enabled() and not self._front_is_fixed()
        with torch.set_grad_enabled(needs_graph), self._precision(0, xs_pad.device):
            hidden = self._front(xs_pad, ilens)
        mask = None
        if not self.pad_to_30s:
            # An empty utterance attends to a frame of padding: a softmax over nothing is NaN.
            mask = _valid_frames(lengths.clamp_min(1), hidden.shape[1])[:, None, None]
        for part, layer in enumerate(self.whisper.layers, 1):
            needs_graph = torch.is_grad_enabled() and (needs_graph or not is_fixed(layer))
            with torch.set_grad_enabled(needs_graph), self._precision(part, xs_pad.device):
                hidden = layer(hidden, mask)
        if self.pad_to_30s:
            # The attention was to hear them; ESPnet takes no frames behind the longest utterance.
            hidden = hidden[:, : max(int(lengths.max()), 1)]
        hidden = self.whisper.layer_norm(hidden)
        hidden = hidden * _valid_frames(lengths, hidden.shape[1])[..., None]
        if self.downsample is None:
            return hidden, lengths, None
        return *self.downsample(hidden, lengths), None

    def _front_is_fixed(self) -> bool:
        return is_fixed(self.whisper.conv1) and is_fixed(self.whisper.conv2)

    def _count_frozen_parts(self) -> int:
        """Front and layers, from the bottom, of which nothing is ever trained."""
        trained = [not self._front_is_fixed(), *(not is_fixed(x) for x in self.whisper.layers)]
        return trained.index(True) if True in trained else len(trained)

    def _precision(self, part: int, device: torch.device) -> AbstractContextManager:
        """How the front (0) or a layer (from 1) multiplies: see ``frozen_dtype``."""
        if self.frozen_dtype == "float32" or part >= self.num_frozen_parts:
            return nullcontext()
        if device not in self._dtypes:
            self._dtypes[device] = resolve_dtype(self.frozen_dtype, device)
        dtype = self._dtypes[device]
        return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)

    def _front(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Two convolutions and the position table: (B, F, M) to (B, ceil(F / 2), D)."""
        whisper = self.whisper
        if self.pad_to_30s:
            keep = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        else:
            keep = _valid_frames(lengths, features.shape[1])
        # Padding is zero before each convolution, as behind the end of a single utterance.
        features = features.masked_fill(~keep[..., None], 0.0).transpose(1, 2)
        hidden = F.gelu(whisper.conv1(features)).masked_fill(~keep[:, None], 0.0)
        hidden = F.gelu(whisper.conv2(hidden)).transpose(1, 2)
        return hidden + whisper.embed_positions.weight[: hidden.shape[1]]

    def _check_frames(self, num_frames: int) -> None:
        if num_frames > self.max_frames:
            raise ValueError(
                f"an utterance of {num_frames * FEATURE_SHIFT_S:.1f} s exceeds the encoder's "
                f"{self.max_frames * FEATURE_SHIFT_S:.0f} s; segment it, or drop it in stage 4 "
                "(--max_duration_s)"
            )
        if self.pad_to_30s and num_frames != self.max_frames:
            raise ValueError(
                f"pad_to_30s needs {self.max_frames} feature frames, not {num_frames}; set "
                "frontend_conf: pad_to_30s: true as well"
            )


def _valid_frames(lengths: Tensor, num_frames: int) -> Tensor:
    """(B, num_frames), True inside each utterance."""
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]


def _ceil_div[Length: (int, Tensor)](value: Length, divisor: int) -> Length:
    return (value + divisor - 1) // divisor
