"""Whisper's log-mel spectrogram (arXiv 2212.04356, 2.2), batched, without 30 s of padding.

Whisper pads every utterance with zeros to 30 seconds before it takes the spectrogram. The
frames of the utterance itself need only the next 200 samples of those zeros, and the silent
frames cannot raise the maximum to which Whisper clamps. So the valid frames come out the same.

Legend: B batch, N samples at 16 kHz, T frames of 10 ms, M mel channels.
"""

import torch
import torch.nn.functional as F
from espnet2.asr.frontend.abs_frontend import AbsFrontend
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.device import place_for

WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
WINDOW_S = 30  # seconds of audio that Whisper was trained on
MAX_SAMPLES = WINDOW_S * SAMPLE_RATE  # 480000
MAX_FRAMES = MAX_SAMPLES // HOP  # 3000
MIN_POWER = 1e-10  # keeps the logarithm finite
DYNAMIC_RANGE = 8.0  # log10 units below the utterance's maximum that are kept


class LogMel(nn.Module):
    """Waveforms to Whisper's features.

    Args:
        num_mels: M, 80, or 128 for large-v3.
        pad_to_30s: return all 3000 frames, as Whisper sees them, in place of the longest
            utterance's. The lengths stay the utterances' own.
    """

    def __init__(self, *, num_mels: int = 80, pad_to_30s: bool = False) -> None:
        super().__init__()
        if num_mels not in (80, 128):
            raise ValueError(f"num_mels {num_mels}: Whisper has 80, or 128 from large-v3 on")
        self.num_mels = num_mels
        self.pad_to_30s = pad_to_30s
        filters = mel_filter_bank(
            num_frequency_bins=1 + WINDOW // 2,
            num_mel_filters=num_mels,
            min_frequency=0.0,
            max_frequency=SAMPLE_RATE / 2,
            sampling_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        # Constants: derived from num_mels, hence not in checkpoints.
        self.register_buffer(
            "filters", torch.from_numpy(filters).float().T.contiguous(), persistent=False
        )
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    @torch.no_grad()
    def forward(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features.

        Args:
            speech: (B, N), in [-1, 1]. Values behind an utterance's end do not matter.
            speech_lengths: (B,), samples.

        Returns:
            features (B, T, M) and lengths (B,) = floor(samples / 160). T is the longest length,
            but at least 1. Frames behind an utterance's end are 0 (with ``pad_to_30s``: silence).

        Raises:
            ValueError: if an utterance is longer than 30 s.
        """
        if speech.dim() != 2:
            raise ValueError(f"speech must be (batch, samples), mono, not {tuple(speech.shape)}")
        longest = int(speech_lengths.max())
        if longest > MAX_SAMPLES:
            raise ValueError(
                f"an utterance of {longest / SAMPLE_RATE:.1f} s is longer than Whisper's window of "
                f"{WINDOW_S} s; segment it, or drop it in stage 4 (--max_duration_s {WINDOW_S})"
            )
        # The window of a frame reaches 200 samples around its centre: up to three frames behind
        # the last whole hop still see the utterance and count for the maximum.
        num_frames = MAX_FRAMES if self.pad_to_30s else min(longest // HOP + 3, MAX_FRAMES)
        log_power = self._log_power(speech, speech_lengths, num_frames)
        maximum = log_power.amax(dim=(1, 2), keepdim=True)
        features = (torch.maximum(log_power, maximum - DYNAMIC_RANGE) + 4.0) / 4.0
        lengths = torch.div(speech_lengths, HOP, rounding_mode="floor")
        if self.pad_to_30s:
            return features, lengths
        features = features[:, : max(longest // HOP, 1)]
        valid = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
        return features.masked_fill(~valid[..., None], 0.0), lengths

    def _log_power(self, speech: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
        """(B, N) to (B, num_frames, M), log10 of mel power, of the zero-padded utterances."""
        with torch.autocast(speech.device.type, enabled=False):
            signal = _frame_support(speech.to(self.window.dtype), lengths, num_frames)
            place = place_for("stft", signal.device)
            spectrum = torch.stft(
                signal.to(place),
                WINDOW,
                HOP,
                window=self.window.to(place),
                center=False,
                return_complex=True,
            )
            power = spectrum.abs().square().to(signal.device)
            return (self.filters @ power).clamp_min(MIN_POWER).log10().transpose(1, 2)


def _frame_support(speech: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
    """The samples under the first ``num_frames`` centred windows of the 30-second signal.

    Args:
        speech: (B, N).
        lengths: (B,), samples.
        num_frames: at most 3000.

    Returns:
        (B, 160 * (num_frames - 1) + 400): mirrored at the start, zeros behind the end; mirrored
        at 30 s where the windows reach it.
    """
    half = WINDOW // 2
    needed = HOP * (num_frames - 1) + half
    inside = min(needed, MAX_SAMPLES)
    speech = F.pad(speech, (0, max(inside - speech.shape[1], 0)))[:, :inside]
    valid = torch.arange(inside, device=speech.device) < lengths[:, None]
    speech = speech.masked_fill(~valid, 0.0)
    parts = [speech[:, 1 : half + 1].flip(1), speech]
    if needed > MAX_SAMPLES:
        over = needed - MAX_SAMPLES
        parts.append(speech[:, -1 - over : -1].flip(1))
    return torch.cat(parts, dim=1)


class WhisperLogMel(AbsFrontend):
    """ESPnet frontend ``whisper_log_mel``.

    Args:
        num_mels: 80, or 128 for large-v3 and its relatives.
        pad_to_30s: return 3000 frames; set it together with the encoder's option of that name.
    """

    def __init__(self, num_mels: int = 80, pad_to_30s: bool = False) -> None:
        super().__init__()
        self.log_mel = LogMel(num_mels=num_mels, pad_to_30s=pad_to_30s)

    def output_size(self) -> int:
        """M, the number of mel channels."""
        return self.log_mel.num_mels

    def forward(self, input: Tensor, input_lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.log_mel(input, input_lengths)
