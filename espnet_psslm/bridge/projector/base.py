"""What all projectors share: their contract, and what they may ask of both ends.

Legend: B batch, U steps, V units, D encoder width, H language model width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn

from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps
from espnet_psslm.common.options import section

Steps = PosteriorSteps | FeatureSteps


@dataclass(frozen=True)
class Ends:
    """What a projector connects."""

    kind: type[Steps]  # of the Steps
    width: int  # of a step: V or D
    lm_width: int  # H
    blank_id: int
    token_embeddings: Callable[[], Tensor]  # (tokens, H), those of the language model just now
    unit_embeddings: Callable[[], Tensor]  # (V, H), for each unit the mean of its text's tokens

    @property
    def names(self) -> set[str]:
        """What classes take of it; their other keyword-only arguments are options."""
        return {"sparse", *vars(self)}


class Projector(nn.Module, ABC):
    """Maps Steps to step embeddings."""

    takes: tuple[type[Steps], ...] = (PosteriorSteps, FeatureSteps)

    @classmethod
    def build(cls, ends: Ends, **options: object) -> Self:
        """Build it between two ends; ``options`` are those of the class, from YAML."""
        return cls(ends.width, ends.lm_width, **options)

    @abstractmethod
    def forward(self, steps: Steps) -> Tensor:
        """Project a batch of Steps.

        Returns:
            (B, U', H), in the dtype of the weights; see ``output_lengths``. What lies behind is
            finite and meaningless.
        """

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """(B,), embeddings made of so many steps; none of an utterance without steps."""
        return lengths

    def init_from_embeddings(self, embeddings: Tensor) -> None:
        """Start as a map that sends each one-hot step to a given embedding.

        Args:
            embeddings: (V, H), one row per unit.

        Raises:
            ValueError: if this projector has no such start.
        """
        raise ValueError(
            f"{type(self).__name__} cannot start from the embeddings of the units' text: "
            "set projector_init: none"
        )


def build_projector(cls: type[Projector], ends: Ends, **options: object) -> Projector:
    """Build a projector between two ends.

    Raises:
        ValueError: if it does not take such Steps, or an option does not fit.
    """
    if ends.kind not in cls.takes:
        raise ValueError(
            f"{cls.__name__} takes {' or '.join(kind.__name__ for kind in cls.takes)}, not "
            f"{ends.kind.__name__}: set another projector or another step_kind"
        )
    with section(f"projector_conf of {cls.__name__}", options, cls, given=ends.names):
        return cls.build(ends, **options)
