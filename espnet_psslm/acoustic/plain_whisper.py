"""A pretrained Whisper's encoder as it is, without CTC: the speech side of SLAM-LLM.

There is no posterior, so only reductions that ask for none apply (``frame_sync``, ``fixed_rate``).
"""

from torch import Tensor

from espnet_psslm.acoustic.base import AcousticModel
from espnet_psslm.acoustic.log_mel import LogMel
from espnet_psslm.acoustic.whisper import FEATURE_SHIFT_S, FRONT_STRIDE, HFSpeechEncoder


class PlainWhisper(AcousticModel):
    """Waveforms to encoder outputs.

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
        self.eval()

    @classmethod
    def load(cls, *, name: str, num_mels: int = 80, pad_to_30s: bool = False) -> "PlainWhisper":
        """The constructor."""
        return cls(name, num_mels=num_mels, pad_to_30s=pad_to_30s)

    def encode_frames(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Frames of 20 ms."""
        features, lengths = self.log_mel(speech, speech_lengths)
        encoded, lengths, _ = self.encoder(features, lengths)
        return encoded, lengths
