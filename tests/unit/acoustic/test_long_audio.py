"""Windows over long audio, and where they are joined."""

import math

import pytest
import torch

from espnet_psslm.acoustic.ctc_search import GreedySearch
from espnet_psslm.acoustic.long_audio import join_windows, window_starts

BLANK, V = 0, 4


def rows(units: str) -> torch.Tensor:
    """Log posteriors with these best units, "." for the blank and "?" for no idea."""
    table = torch.full((len(units), V), 0.01)
    for row, unit in zip(table, units, strict=True):
        row[:] = 0.25 if unit == "?" else row
        if unit != "?":
            row[".abc".index(unit)] = 0.97
    return table.log()


def spell(log_posterior: torch.Tensor) -> str:
    lengths = torch.tensor([len(log_posterior)])
    ((found,),) = GreedySearch(blank_id=BLANK)(log_posterior[None], lengths).nbest
    return "".join(".abc"[unit] for unit in found.unit_ids)


def join(parts: list[torch.Tensor], starts: list[int], *, search: int) -> torch.Tensor:
    """Joined posteriors; the encoder outputs are the frames' numbers, each joined once."""
    windows = [
        (torch.arange(first, first + len(part)), part)
        for first, part in zip(starts, parts, strict=True)
    ]
    stretches = list(join_windows(windows, starts, search=search, blank_id=BLANK))
    frames = torch.cat([outputs for _, outputs, _ in stretches])
    assert torch.equal(frames, torch.arange(len(frames)))
    assert [first for first, _, _ in stretches] == [int(outputs[0]) for _, outputs, _ in stretches]
    return torch.cat([posterior for _, _, posterior in stretches])


@pytest.mark.parametrize(
    ("num_frames", "starts"),
    [(11, [0, 1]), (16, [0, 6]), (17, [0, 4, 7]), (22, [0, 6, 12]), (23, [0, 4, 9, 13])],
)
def test_windows_cover_all_and_share_enough(num_frames: int, starts: list[int]) -> None:
    assert window_starts(num_frames, window=10, overlap=4) == starts
    gaps = [b - a for a, b in zip(starts, starts[1:], strict=False)]
    assert max(gaps) <= 6 and starts[-1] + 10 == num_frames


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("a..b...c..", "...c..a.b."),  # both agree
        ("a..b...c..", "..c...a.b."),  # the right one a frame earlier: c at the very middle
        ("a..b..c...", "...c..a.b."),  # and a frame later
        ("a..b...cc.", "..cc..a.b."),
        ("a..b.c....", "...c..a.b."),  # two frames: a blank between
        ("a..b...c?a", "b..c..a.b."),  # either is wrong at its edge
    ],
)
def test_a_unit_at_the_seam_comes_once(left: str, right: str) -> None:
    joined = join([rows(left), rows(right)], [0, 4], search=3)
    assert len(joined) == 14
    assert spell(joined) == "abcab"


def test_cutting_in_the_middle_would_write_it_twice() -> None:
    """What the search for silence is good for; with no room to search, that is what happens."""
    parts = [rows("a..b.c...."), rows("...c..a.b.")]
    assert spell(join(parts, [0, 4], search=0)) == "abccab"


def test_silence_is_joined_in_the_middle() -> None:
    parts = [rows("." * 10) - 1.0, rows("." * 10) - 2.0, rows("." * 10) - 3.0]
    joined = join(parts, [0, 6, 12], search=1)
    source = (joined[:, 0] - math.log(0.97)).round().int().neg().tolist()
    assert source == [1] * 8 + [2] * 6 + [3] * 8


def test_windows_that_share_most() -> None:
    """Seams keep their order though the first and the last window overlap too."""
    parts = [rows("a.........")] * 3
    joined = join(parts, [0, 1, 2], search=3)
    assert len(joined) == 12 and spell(joined) == "a"
