"""A pretrained Whisper's encoder as it is, without CTC: the speech side of SLAM-LLM.

There is no posterior, so only reductions that ask for none apply (``frame_sync``, ``fixed_rate``).
"""

import torch
from torch import Tensor, nn

from espnet_psslm.acoustic.log_mel import LogMel
from espnet_psslm.acoustic.waveform import check_duration, give_a_frame
from espnet_psslm.acoustic.whisper import FEATURE_SHIFT_S, FRONT_STRIDE, HFSpeechEncoder


class PlainWhisper(nn.Module):
    """Waveforms to encoder outputs; frozen.

    Args:
        name: pretrained weights, as in ``HFSpeechEncoder``.
        num_mels: 80, or 128 for large-v3.
        pad_to_30s: encode the padding to 30 s too, as Whisper was trained; the outputs behind
            the end of the audio do not count in any case.
    """

    def __init__(self, name: str, *, num_mels: int = 80, pad_to_30s: bool = False) -> None:
        super().__init__()
        self.log_mel = LogMel(num_mels=num_mels, pad_to_30s=pad_to_30s)
        self.encoder = HFSpeechEncoder(num_mels, name, freeze="encoder", pad_to_30s=pad_to_30s)
        self.feature_width = self.encoder.output_size()
        self.max_duration_s = self.encoder.max_frames * FEATURE_SHIFT_S
        self.frame_shift_s = FEATURE_SHIFT_S * FRONT_STRIDE

    @torch.no_grad()
    def encode(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder outputs of a batch.

        Args:
            speech: (B, N), 16 kHz, in [-1, 1].
            speech_lengths: (B,), samples.

        Returns:
            outputs (B, T, D) and lengths (B,), in frames of 20 ms.

        Raises:
            ValueError: if an utterance is longer than the position table.
        """
        check_duration(
            speech_lengths,
            max_duration_s=self.max_duration_s,
            fix="stage 4 (--max_duration_s) drops such",
        )
        speech, speech_lengths, is_empty = give_a_frame(speech, speech_lengths)
        features, lengths = self.log_mel(speech, speech_lengths)
        encoded, lengths, _ = self.encoder(features, lengths)
        return encoded, lengths.masked_fill(is_empty, 0)
