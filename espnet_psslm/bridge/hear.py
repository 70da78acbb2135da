"""From audio to Steps: what an acoustic model hears, reduced. Two kinds, chosen by ``step_kind``.

Legend: B batch, N samples, T frames, V units, D encoder width.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from espnet_psslm.bridge.phone_sync import Reduction
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps

Steps = PosteriorSteps | FeatureSteps


class Acoustic(Protocol):
    """What is asked of an acoustic model. Without a CTC layer it has the first method only."""

    def encode(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N), (B,) to encoder outputs (B, T, D) and lengths (B,)."""

    def classify(self, features: Tensor) -> Tensor:
        """Encoder outputs to log posteriors (B, T, V)."""

    def log_posterior(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Both at once: log posteriors (B, T, V) and lengths (B,)."""


def hear_posteriors(
    acoustic: Acoustic, reduction: Reduction, speech: Tensor, speech_lengths: Tensor
) -> PosteriorSteps:
    """Reduced CTC posteriors of waveforms (B, N)."""
    log_posterior, lengths = acoustic.log_posterior(speech, speech_lengths)
    return reduction.from_logits(log_posterior, lengths)


def hear_features(
    acoustic: Acoustic, reduction: Reduction, speech: Tensor, speech_lengths: Tensor
) -> FeatureSteps:
    """Reduced encoder outputs of waveforms (B, N); the CTC posterior only marks the steps.

    Encoder outputs do not say whether anything was heard, the posterior does: where the best unit
    of every frame is the blank, there are no steps.
    """
    features, lengths = acoustic.encode(speech, speech_lengths)
    if not reduction.needs_posterior:
        return reduction.reduce_features(features, lengths)
    posterior = acoustic.classify(features).exp()
    steps = reduction.reduce_features(features, lengths, posterior)
    valid = torch.arange(posterior.shape[1], device=lengths.device) < lengths[:, None]
    spoken = ((posterior.argmax(2) != reduction.blank_id) & valid).any(1)
    return replace(steps, lengths=steps.lengths * spoken)


Hear = Callable[[Any, Reduction, Tensor, Tensor], Steps]
HEAR: dict[str, tuple[type[Steps], Hear]] = {
    "posterior": (PosteriorSteps, hear_posteriors),
    "feature": (FeatureSteps, hear_features),
}
