"""How clearly an utterance was heard: how sure the acoustic model was of its Steps.

Legend: B batch, U steps, K listed units per step.
"""

import math
from dataclasses import dataclass

from espnet_psslm.bridge.steps import PosteriorSteps


@dataclass(frozen=True)
class Clarity:
    """How sure the acoustic model was of the Steps of one utterance."""

    log_prob: float  # of the best unit of every step, blanks included
    num_steps: int

    def __add__(self, other: "Clarity") -> "Clarity":
        """Of two utterances as one: what the whole would have, had it not been cut."""
        return Clarity(self.log_prob + other.log_prob, self.num_steps + other.num_steps)

    @property
    def probability(self) -> float:
        """Of the best unit, in [0, 1]: geometric mean over the steps; 1 without any step."""
        return math.exp(self.log_prob / self.num_steps) if self.num_steps else 1.0


def clarity_of(steps: PosteriorSteps) -> list[Clarity]:
    """How clearly each utterance of a batch was heard.

    Args:
        steps: of the batch.
    """
    log_probs = steps.probs.amax(2).log().masked_fill(~steps.mask, 0.0).sum(1)
    pairs = zip(log_probs.tolist(), steps.lengths.tolist(), strict=True)
    return [Clarity(log_prob, count) for log_prob, count in pairs]
