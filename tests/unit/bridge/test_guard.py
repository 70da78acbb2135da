"""The guard against hallucination, and CTC's text of Steps."""

import pytest
import torch

from espnet_psslm.acoustic.ctc_search import GreedySearch
from espnet_psslm.bridge.clarity import Clarity
from espnet_psslm.bridge.guard import Guard, greedy_units, longest_loop, normalised_distance
from espnet_psslm.bridge.phone_sync import REDUCTIONS
from espnet_psslm.bridge.steps import PosteriorSteps

CONF = {"fixed_rate": {"rate": 1}, "frame_sync": {}}


@pytest.mark.parametrize("name", [name for name in REDUCTIONS if name != "drop_then_merge"])
def test_units_of_steps_are_those_of_frames(name):
    """Merging frames before or after the reduction makes no difference."""
    torch.manual_seed(0)
    logits = 2.0 * torch.randn(6, 40, 5).repeat_interleave(2, 1)
    logits[..., 0] += 1.5
    log_posterior = logits.log_softmax(-1)
    lengths = torch.tensor([80, 61, 7, 1, 0, 40])
    reduction = REDUCTIONS[name](blank_id=0, max_units=3, **CONF.get(name, {}))
    steps = reduction(log_posterior.exp(), lengths)
    found = greedy_units(steps, blank_id=0, merged=reduction.merges_runs)
    expected = GreedySearch(blank_id=0)(log_posterior, lengths).nbest
    assert [row.unit_ids for row in found] == [hypotheses[0].unit_ids for hypotheses in expected]
    assert [row.clarity.num_steps for row in found] == steps.lengths.tolist()
    repeated = [row.unit_ids for row in found]
    assert any(a == b for row in repeated for a, b in zip(row, row[1:], strict=False))


def test_units_by_hand():
    steps = PosteriorSteps(
        torch.tensor([[[3, 1], [2, 3], [2, 1], [0, 1]], [[1, 2], [0, 1], [0, 1], [0, 1]]]),
        torch.tensor([[[0.9, 0.1], [0.3, 0.6], [0.5, 0.4], [0.7, 0.3]], [[0.25] * 2] * 4]),
        torch.tensor([4, 0]),
        num_units=4,
    )
    first, second = greedy_units(steps, blank_id=0, merged=True)
    assert first.unit_ids == [3, 3, 2]
    log_prob = torch.tensor([0.9, 0.6, 0.5, 0.7]).log().sum().item()
    assert first.clarity.log_prob == pytest.approx(log_prob)
    assert greedy_units(steps, blank_id=0, merged=False)[0].unit_ids == [3, 2]
    assert (second.unit_ids, second.clarity) == ([], Clarity(0.0, 0))


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ("", "", 0.0),
        ("Turn on!", "turn on", 0.0),
        ("turn on", "", 1.0),
        ("", "on", 1.0),
        ("abcd", "abxd", 0.25),
        ("in to", "into", 0.0),
        ("ab", "abcdefgh", 0.75),
    ],
)
def test_distance(first, second, distance):
    assert normalised_distance(first, second) == pytest.approx(distance)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("", 0),
        ("on", 1),
        ("turn on the light", 1),
        ("on on", 2),
        ("a b on on on", 3),
        ("a b a b a b", 3),
        ("turn a b c a b c a b c a b", 3),
        ("a a b a a b", 2),
        ("开灯开灯开灯", 3),
        ("hahaha", 1),
    ],
)
def test_loops(text, times):
    assert longest_loop(text) == times


def test_reasons():
    guard = Guard(["ASR"], max_distance=0.5, max_repeats=3)
    assert guard.reason("turn on", "turn of") == ""
    assert guard.reason("play", "turn off") == "distance 1.000"
    assert guard.reason("no no no no", "no no no") == "repeats 4"
    assert guard.reason("no no no no", "no no no no") == ""  # it was said
    assert guard.reason("no no no", "no no") == ""
    assert guard.reason("", "") == ""


@pytest.mark.parametrize(
    "limits", [{"max_distance": 1.1}, {"max_distance": -0.1}, {"max_repeats": 0}]
)
def test_limits_without_sense(limits):
    with pytest.raises(ValueError, match="guard_"):
        Guard(["ASR"], **limits)
