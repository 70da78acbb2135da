"""How clearly utterances were heard, drawn by hand."""

import pytest
import torch

from espnet_psslm.bridge.clarity import Clarity, clarity_of
from espnet_psslm.bridge.steps import PosteriorSteps


def test_the_best_units_by_hand():
    """The best unit stands anywhere in its row, and may be the blank; padding does not count."""
    steps = PosteriorSteps(
        torch.tensor([[[3, 1], [2, 0], [0, 1]], [[1, 2], [0, 1], [0, 1]], [[0, 1]] * 3]),
        torch.tensor([[[0.8, 0.1], [0.3, 0.5], [0.4, 0.2]], [[0.9, 0.1]] + [[0.25] * 2] * 2,
                      [[0.25] * 2] * 3]),
        torch.tensor([3, 1, 0]),
        num_units=4,
    )  # fmt: skip
    several, one, none = clarity_of(steps)
    assert several.probability == pytest.approx((0.8 * 0.5 * 0.4) ** (1 / 3))
    assert one.probability == pytest.approx(0.9)
    assert [row.num_steps for row in (several, one, none)] == [3, 1, 0]
    assert none == Clarity(0.0, 0) and none.probability == 1.0


def test_of_pieces_and_of_the_whole():
    probs = torch.tensor([0.9, 0.5, 0.7, 0.6, 0.8])
    pieces = [probs[:1], probs[1:1], probs[1:4], probs[4:]]
    parts = [Clarity(float(piece.log().sum()), len(piece)) for piece in pieces]
    whole = parts[0] + parts[1] + parts[2] + parts[3]
    assert whole.num_steps == 5
    assert whole.probability == pytest.approx(float(probs.log().mean().exp()))
