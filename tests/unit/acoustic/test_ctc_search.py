"""Greedy search on hand-drawn label rows."""

import pytest
import torch

from espnet_psslm.acoustic.ctc_search import frames_needed, greedy_search


def one_hot(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log posteriors whose best units are ``rows``, probability 0.7 each, of 4 units."""
    lengths = torch.tensor([len(row) for row in rows])
    posterior = torch.full((len(rows), int(lengths.max()), 4), 0.1)
    for index, row in enumerate(rows):
        posterior[index, torch.arange(len(row)), row] = 0.7
        # Padding must not count, whatever it holds.
        posterior[index, len(row) :, 3] = 0.7
    return posterior.log(), lengths


def test_collapse() -> None:
    rows = [[0, 1, 1, 0, 1, 2, 2], [1, 1, 2], [0, 0], []]
    found = greedy_search(*one_hot(rows), blank_id=0)
    assert [hyp.unit_ids for hyp in found] == [[1, 1, 2], [1, 2], [], []]
    for hyp, row in zip(found, rows, strict=True):
        assert hyp.score == pytest.approx(len(row) * torch.tensor(0.7).log().item(), abs=1e-5)


def test_blank_id_is_the_callers() -> None:
    (hyp,) = greedy_search(*one_hot([[0, 3, 0, 2]]), blank_id=3)
    assert hyp.unit_ids == [0, 0, 2]


@pytest.mark.parametrize(
    ("units", "frames"), [([], 0), ([5], 1), ([5, 6], 2), ([5, 5], 3), ([5, 5, 5, 6, 6], 8)]
)
def test_frames_needed(units: list[int], frames: int) -> None:
    """The loss is finite from there on, and infinite with one frame less."""
    assert frames_needed(units) == frames
    for num_frames in range(max(frames - 1, 1), frames + 1):
        loss = torch.nn.functional.ctc_loss(
            torch.zeros(num_frames, 1, 8).log_softmax(2),
            torch.tensor([units], dtype=torch.long).reshape(1, -1),
            torch.tensor([num_frames]),
            torch.tensor([len(units)]),
        )
        assert torch.isfinite(loss) == (num_frames >= frames)
