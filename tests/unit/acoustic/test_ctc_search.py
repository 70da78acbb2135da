"""Greedy search on hand-drawn label rows; options of the beam searches."""

import pytest
import torch

from espnet_psslm.acoustic.ctc_search import GreedySearch, frames_needed
from espnet_psslm.acoustic.prefix_beam import PrefixBeamSearch
from espnet_psslm.bridge.phone_sync_search import SEARCHES, PhoneSyncBeamSearch


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
    found = GreedySearch(blank_id=0)(*one_hot(rows))
    assert [hyps[0].unit_ids for hyps in found.nbest] == [[1, 1, 2], [1, 2], [], []]
    for (hyp,), row in zip(found.nbest, rows, strict=True):
        expected = len(row) * torch.tensor(0.7).log().item()
        assert hyp.score == hyp.log_prob == pytest.approx(expected, abs=1e-5)
    assert found.num_steps == [7, 3, 2, 0]


def test_blank_id_is_the_callers() -> None:
    for kind in SEARCHES.values():
        found = kind(blank_id=3)(*one_hot([[0, 3, 0, 2]]))
        assert found.nbest[0][0].unit_ids == [0, 0, 2]


@pytest.mark.parametrize("kind", [PrefixBeamSearch, PhoneSyncBeamSearch])
def test_empty_audio_has_one_empty_hypothesis(kind: type[PrefixBeamSearch]) -> None:
    found = kind(blank_id=0, nbest=5)(torch.zeros(2, 1, 4), torch.tensor([0, 0]))
    assert found.num_steps == [0, 0]
    for hypotheses in found.nbest:
        assert [(hyp.unit_ids, hyp.log_prob) for hyp in hypotheses] == [([], 0.0)]


def test_blank_far_below_the_listed_units_still_counts() -> None:
    """Only one unit per frame is looked at; blank is, besides."""
    posterior = torch.tensor([[[0.2, 0.8, 0.0], [0.2, 0.0, 0.8]]])
    found = PrefixBeamSearch(blank_id=0, nbest=4, units_per_step=1)(
        posterior.log(), torch.tensor([2])
    )
    probs = {tuple(hyp.unit_ids): hyp.log_prob for hyp in found.nbest[0]}
    expected = {(1, 2): 0.64, (1,): 0.16, (2,): 0.16, (): 0.04}
    assert probs == {
        key: pytest.approx(torch.tensor(p).log().item()) for key, p in expected.items()
    }


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"beam_size": 0}, "beam_size .0. and"),
        ({"units_per_step": 0}, "units_per_step .0. must be"),
        ({"beam_size": 3, "nbest": 4}, "nbest .4. must lie between 1 and beam_size .3."),
        ({"reduction": "none"}, "reduction 'none' is unknown"),
        ({"blank_threshold": 0.0}, "blank_threshold"),
    ],
)
def test_bad_options(options: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PhoneSyncBeamSearch(blank_id=0, **options)


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
