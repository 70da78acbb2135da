"""How far in a text the rows of a posterior have come.

Legend: B batch, L units of a text, U rows, D width of an embedding.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

REACH = 4  # units of the text among which the unit of a row is looked for
MOST_MISSED = 2  # rows without a find are counted up to this number


@dataclass(frozen=True)
class Place:
    """A guess of the next unit of each text, made from the rows so far and from no later one.

    A row whose best unit is one of the next few of the text stands for the nearest of these. Any
    other row is a wrong or extra unit or a blank: the place remains, and the row is counted.

    Args:
        text_ids: (B, L).
        is_text: (B, L), false where a text is padded.
        spoken: (B, U), how many units of the text the rows before have used up.
        missed: (B, U), rows since the last find, at most ``MOST_MISSED``.
    """

    text_ids: Tensor
    is_text: Tensor
    spoken: Tensor
    missed: Tensor

    @classmethod
    def at_start(cls, text_ids: Tensor, text_lengths: Tensor) -> Self:
        """Before the first row: U is 1."""
        is_text = torch.arange(text_ids.shape[1], device=text_ids.device) < text_lengths[:, None]
        none = torch.zeros_like(text_lengths)[:, None]
        return cls(text_ids, is_text, none, none)

    @classmethod
    def along(cls, text_ids: Tensor, text_lengths: Tensor, best: Tensor) -> Self:
        """Before each row, and after the last one.

        Args:
            text_ids: (B, L).
            text_lengths: (B,).
            best: (B, U - 1), best unit of each row.
        """
        places = [cls.at_start(text_ids, text_lengths)]
        for unit in best.unbind(1):
            places.append(places[-1].after(unit))
        return replace(
            places[0],
            spoken=torch.cat([place.spoken for place in places], 1),
            missed=torch.cat([place.missed for place in places], 1),
        )

    def after(self, unit: Tensor) -> Self:
        """After one more row, with this best unit (B,); U is 1."""
        ahead = torch.arange(self.text_ids.shape[1], device=unit.device) - self.spoken
        found = (self.text_ids == unit[:, None]) & self.is_text & (ahead >= 0) & (ahead < REACH)
        is_found = found.any(1, keepdim=True)
        nearest = found.int().argmax(1, keepdim=True)
        return replace(
            self,
            spoken=torch.where(is_found, nearest + 1, self.spoken),
            missed=torch.where(is_found, 0, (self.missed + 1).clamp_max(MOST_MISSED)),
        )

    def distances(self) -> Tensor:
        """Of all units of the text from the next one: (B, U, L), in [0, 2 REACH), REACH for it."""
        places = torch.arange(self.text_ids.shape[1], device=self.spoken.device)
        return (places - self.spoken[..., None]).clamp(-REACH, REACH - 1) + REACH

    def embedded(self, text: nn.Embedding) -> Tensor:
        """The next unit of the text (B, U, D); zero where none is left."""
        ids = self.text_ids.gather(1, self.spoken.clamp_max(self.text_ids.shape[1] - 1))
        is_left = self.spoken < self.is_text.sum(1, keepdim=True)
        return text(ids) * is_left[..., None]
