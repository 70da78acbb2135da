"""What every acoustic side checks and does alike before it computes features."""

import torch.nn.functional as F
from torch import Tensor

from espnet_psslm.acoustic.log_mel import HOP
from espnet_psslm.common.audio import SAMPLE_RATE


def check_duration(lengths: Tensor, *, max_duration_s: float, fix: str) -> None:
    """Refuse a batch with an utterance that is too long.

    Args:
        lengths: (B,), samples.
        max_duration_s: longest that the model takes, seconds.
        fix: what the user can do, ends the message.

    Raises:
        ValueError: if an utterance is longer.
    """
    if (longest := int(lengths.max())) > max_duration_s * SAMPLE_RATE:
        raise ValueError(
            f"an utterance of {longest / SAMPLE_RATE:.1f} s is longer than the "
            f"{max_duration_s:.0f} s that the acoustic model takes at once; {fix}"
        )


def give_a_frame(speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lengthen what is shorter than a feature frame, because features of nothing do not exist.

    Args:
        speech: (B, N), 16 kHz.
        lengths: (B,), samples.

    Returns:
        speech (B, max(N, 160)), lengths of at least 160, and (B,) bool: true where the utterance
        was shorter, so that its outputs do not count.
    """
    return F.pad(speech, (0, max(HOP - speech.shape[1], 0))), lengths.clamp_min(HOP), lengths < HOP
