"""An acoustic model that hears the levels of a waveform, for tests of what comes behind one."""

import torch
from torch import Tensor, nn

from espnet_psslm.acoustic.base import AcousticModel

FRAME = 320  # samples


class LevelAcoustic(AcousticModel):
    """Hears unit i for 20 ms where the samples have the value i / 100; 0.0 is blank.

    Its encoder outputs are the units' numbers (B, T, 1).
    """

    blank_id = 0
    feature_width = 1
    frame_shift_s = 0.02
    max_duration_s = 30.0

    def __init__(self, token_list: list[str]) -> None:
        super().__init__()
        self.token_list = token_list
        self.scale = nn.Parameter(torch.tensor(100.0))

    @classmethod
    def load(cls, *, num_units: int) -> "LevelAcoustic":
        """Units without names."""
        return cls([str(unit) for unit in range(num_units)])

    def encode_frames(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The first sample of every frame."""
        units = (speech[:, ::FRAME, None] * self.scale).round()
        return units, (speech_lengths + FRAME - 1) // FRAME

    def classify(self, features: Tensor) -> Tensor:
        """Nearly one-hot."""
        posterior = torch.full((*features.shape[:2], self.num_units), 1e-4)
        posterior.scatter_(2, features.long(), 1.0)
        return posterior.div(posterior.sum(-1, keepdim=True)).log()
