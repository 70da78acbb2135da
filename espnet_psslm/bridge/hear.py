"""From audio to Steps: what an acoustic model hears, reduced. Two kinds, chosen by ``step_kind``.

Legend: B batch, N samples, T frames, V units, D encoder width.
"""

from collections.abc import Callable
from typing import Any, Protocol

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
    """Reduced encoder outputs of waveforms (B, N); the CTC posterior only marks the steps."""
    features, lengths = acoustic.encode(speech, speech_lengths)
    posterior = acoustic.classify(features).exp() if reduction.needs_posterior else None
    return reduction.reduce_features(features, lengths, posterior)


Hear = Callable[[Any, Reduction, Tensor, Tensor], Steps]
HEAR: dict[str, tuple[type[Steps], Hear]] = {
    "posterior": (PosteriorSteps, hear_posteriors),
    "feature": (FeatureSteps, hear_features),
}
