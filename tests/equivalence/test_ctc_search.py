"""Beam searches against the sum over all alignments, and against a plain loop; float64."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from espnet_psslm.acoustic.ctc_search import GreedySearch, Hypothesis
from espnet_psslm.acoustic.prefix_beam import PrefixBeamSearch
from espnet_psslm.acoustic.prefix_scorer import PrefixScorer
from espnet_psslm.bridge.phone_sync_search import PhoneSyncBeamSearch

BLANK = 1  # not 0: the id is the caller's


class PairScorer(PrefixScorer):
    """A made-up score of each pair of neighbours, and of the last unit."""

    def __init__(self, num_units: int) -> None:
        draw = np.random.default_rng(7)
        self.pairs = draw.normal(size=(num_units + 1, num_units))
        self.ends = draw.normal(size=num_units + 1)

    def start(self):
        return len(self.ends) - 1

    def gains(self, states, unit_ids):
        return self.pairs[np.array(states)][:, unit_ids]

    def advance(self, state, unit_id):
        return unit_id

    def finish(self, state):
        return float(self.ends[state])

    def whole(self, unit_ids):
        """Score of a whole sequence, without states."""
        before = [self.start(), *unit_ids]
        return sum(self.pairs[a, b] for a, b in itertools.pairwise(before)) + self.ends[before[-1]]


def posteriors(lengths, num_units, *, seed=0, sharpness=2.0):
    """Random log posteriors, (B, T, V), and lengths; rubbish in the padding."""
    torch.manual_seed(seed)
    logits = sharpness * torch.randn(len(lengths), max(lengths), num_units, dtype=torch.float64)
    return logits.log_softmax(2), torch.tensor(lengths)


def collapse(path, blank=BLANK):
    return tuple(unit for unit, _ in itertools.groupby(path) if unit != blank)


def sum_over_paths(log_posterior):
    """Probability of every unit sequence, by naming every alignment. (T, V) -> dict."""
    posterior = log_posterior.exp().numpy()
    total = defaultdict(float)
    for path in itertools.product(range(posterior.shape[1]), repeat=len(posterior)):
        total[collapse(path)] += math.prod(posterior[range(len(path)), path])
    return total


def plain_beam(log_posterior, beam_size, units_per_step):
    """Prefix beam search of one utterance with dictionaries: the text-book's loop."""
    beams = {(): (1.0, 0.0)}  # prefix -> ends in blank, ends in unit
    for row in log_posterior.exp().tolist():
        listed = sorted(range(len(row)), key=lambda unit: -row[unit])[:units_per_step]
        after = defaultdict(lambda: [0.0, 0.0])
        for prefix, (ends_blank, ends_unit) in beams.items():
            after[prefix][0] += (ends_blank + ends_unit) * row[BLANK]
            for unit in listed:
                if unit == BLANK:
                    continue
                if prefix and prefix[-1] == unit:
                    after[prefix][1] += ends_unit * row[unit]
                    after[(*prefix, unit)][1] += ends_blank * row[unit]
                else:
                    after[(*prefix, unit)][1] += (ends_blank + ends_unit) * row[unit]
        best = sorted(after.items(), key=lambda item: -sum(item[1]))[:beam_size]
        beams = {prefix: tuple(parts) for prefix, parts in best if sum(parts) > 0}
    return [(list(prefix), math.log(sum(parts))) for prefix, parts in beams.items()]


@pytest.mark.parametrize(("num_units", "lengths"), [(2, [6, 3]), (3, [5, 4, 0]), (4, [4, 1])])
def test_beam_search_equals_the_sum_over_all_alignments(num_units, lengths) -> None:
    log_posterior, frames = posteriors(lengths, num_units)
    search = PrefixBeamSearch(blank_id=BLANK, beam_size=400, nbest=400, units_per_step=num_units)
    found = search(log_posterior, frames)
    assert found.num_steps == lengths
    for hypotheses, row, length in zip(found.nbest, log_posterior, lengths, strict=True):
        expected = sum_over_paths(row[:length])
        assert {tuple(hyp.unit_ids) for hyp in hypotheses} == set(expected)
        for hyp in hypotheses:
            wanted = math.log(expected[tuple(hyp.unit_ids)])
            assert hyp.log_prob == pytest.approx(wanted, abs=1e-10) and hyp.score == hyp.log_prob
        assert sum(math.exp(hyp.log_prob) for hyp in hypotheses) == pytest.approx(1.0)
        scores = [hyp.score for hyp in hypotheses]
        assert scores == sorted(scores, reverse=True)


def test_with_outside_scores() -> None:
    log_posterior, frames = posteriors([5, 3], 3)
    scorer = PairScorer(3)
    search = PrefixBeamSearch(
        blank_id=BLANK, beam_size=100, nbest=100, units_per_step=3, scorers=[scorer, scorer]
    )
    found = search(log_posterior, frames).nbest
    for hypotheses, row, length in zip(found, log_posterior, (5, 3), strict=True):
        expected = sum_over_paths(row[:length])
        best = max(expected, key=lambda units: math.log(expected[units]) + 2 * scorer.whole(units))
        assert tuple(hypotheses[0].unit_ids) == best
        for hyp in hypotheses:
            assert hyp.log_prob == pytest.approx(math.log(expected[tuple(hyp.unit_ids)]))
            wanted = hyp.log_prob + 2 * scorer.whole(hyp.unit_ids)
            assert hyp.score == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize(("beam_size", "units_per_step"), [(1, 6), (3, 6), (4, 2), (8, 4)])
def test_pruned_search_equals_the_plain_loop(beam_size, units_per_step) -> None:
    lengths = [30, 12, 30, 0, 7]
    log_posterior, frames = posteriors(lengths, 6, seed=beam_size)
    search = PrefixBeamSearch(
        blank_id=BLANK, beam_size=beam_size, nbest=beam_size, units_per_step=units_per_step
    )
    found = search(log_posterior, frames).nbest
    for hypotheses, row, length in zip(found, log_posterior, lengths, strict=True):
        expected = plain_beam(row[:length], beam_size, units_per_step)
        assert [hyp.unit_ids for hyp in hypotheses] == [units for units, _ in expected]
        for hyp, (_, log_prob) in zip(hypotheses, expected, strict=True):
            assert hyp.log_prob == pytest.approx(log_prob, abs=1e-10)


def spiky(lengths, num_units, *, seed=0):
    """Posteriors as a trained model's: mostly blank, runs of one unit, some unsure frames."""
    log_posterior, frames = posteriors(lengths, num_units, seed=seed, sharpness=1.0)
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(num_units, log_posterior.shape[:2], generator=draw)
    label[torch.rand(label.shape, generator=draw) < 0.6] = BLANK
    label[:, 1::3] = label[:, 0::3][:, : label[:, 1::3].shape[1]]
    peak = 6.0 * torch.rand(*label.shape, 1, generator=draw, dtype=torch.float64)
    hot = torch.nn.functional.one_hot(label, num_units)
    return (log_posterior + peak * hot).log_softmax(2), frames


@pytest.mark.parametrize("kind", [PrefixBeamSearch, PhoneSyncBeamSearch])
def test_batched_equals_single_and_padding_changes_nothing(kind) -> None:
    lengths = [9, 25, 0, 14]
    log_posterior, frames = spiky(lengths, 5)
    search = kind(blank_id=BLANK, beam_size=4, nbest=4, units_per_step=4)
    together = search(log_posterior, frames)
    wide = torch.nn.functional.pad(log_posterior, (0, 0, 0, 6), value=-1.6)
    assert search(wide, frames) == together
    for utt, length in enumerate(lengths):
        alone = search(log_posterior[utt : utt + 1, : max(length, 1)], frames[utt : utt + 1])
        assert alone.nbest == together.nbest[utt : utt + 1]
        assert alone.num_steps == together.num_steps[utt : utt + 1]


def expand_steps(log_posterior, threshold):
    """What phone-synchronous search sums over: runs averaged, sure blanks made pure. (T, V)."""
    posterior = log_posterior.exp()
    rows, index = [], 0
    labels = posterior.argmax(1).tolist()
    left_out = 0.0
    while index < len(labels):
        end = index + 1
        while labels[index] != BLANK and end < len(labels) and labels[end] == labels[index]:
            end += 1
        mean = posterior[index:end].mean(0)
        if mean[BLANK] >= threshold:
            left_out += float(log_posterior[index:end, BLANK].sum())
            mean = torch.zeros_like(mean)
            mean[BLANK] = 1.0
        rows.append(mean)
        index = end
    pure = torch.stack(rows).log() if rows else log_posterior
    num_steps = sum(1 for row in rows if float(row[BLANK]) < threshold)
    return pure, left_out, num_steps


@pytest.mark.parametrize("seed", range(6))
def test_phone_synchronous_search_equals_the_sum_over_its_steps(seed) -> None:
    """With runs and left-out frames written back as frames, by naming every alignment."""
    threshold = 0.6
    log_posterior, frames = spiky([8, 5], 3, seed=seed)
    search = PhoneSyncBeamSearch(
        blank_id=BLANK, blank_threshold=threshold, beam_size=300, nbest=300, units_per_step=3
    )
    found = search(log_posterior, frames)
    for utt, length in enumerate((8, 5)):
        pure, left_out, num_steps = expand_steps(log_posterior[utt, :length], threshold)
        expected = {key: value for key, value in sum_over_paths(pure).items() if value > 0}
        assert found.num_steps[utt] == num_steps
        assert {tuple(hyp.unit_ids) for hyp in found.nbest[utt]} == set(expected)
        for hyp in found.nbest[utt]:
            wanted = math.log(expected[tuple(hyp.unit_ids)]) + left_out
            assert hyp.log_prob == pytest.approx(wanted, abs=1e-10)


def test_pruned_phone_synchronous_search_equals_the_plain_loop() -> None:
    """In a layout that is not contiguous."""
    lengths = [40, 12, 0, 31]
    log_posterior, frames = spiky(lengths, 30)
    search = PhoneSyncBeamSearch(blank_id=BLANK, beam_size=4, nbest=4, units_per_step=7)
    found = search(log_posterior.transpose(0, 1).contiguous().transpose(0, 1), frames).nbest
    for hypotheses, row, length in zip(found, log_posterior, lengths, strict=True):
        pure, left_out, _ = expand_steps(row[:length], 0.9)
        expected = plain_beam(pure, 4, 7)
        assert [hyp.unit_ids for hyp in hypotheses] == [units for units, _ in expected]
        for hyp, (_, log_prob) in zip(hypotheses, expected, strict=True):
            assert hyp.log_prob == pytest.approx(log_prob + left_out, abs=1e-10)


def test_low_precision_posteriors_are_searched_in_single_precision() -> None:
    log_posterior, frames = spiky([14, 9], 6)
    narrow = log_posterior.bfloat16()
    for kind in (PrefixBeamSearch, PhoneSyncBeamSearch):
        search = kind(blank_id=BLANK, beam_size=4, units_per_step=4)
        found, expected = (search(rows, frames).nbest for rows in (narrow, narrow.float()))
        for (ours,), (theirs,) in zip(found, expected, strict=True):
            assert ours.unit_ids == theirs.unit_ids
            assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)


def test_phone_synchronous_equals_plain_search_between_pure_blanks() -> None:
    """Runs of one frame, and what is left out is nothing but blank: same hypotheses and scores."""
    log_posterior, frames = posteriors([9, 9], 4, sharpness=1.0)
    blank = torch.full((4,), -math.inf, dtype=torch.float64)
    blank[BLANK] = 0.0
    log_posterior[:, 0::2] = blank
    options = {"blank_id": BLANK, "beam_size": 20, "nbest": 20, "units_per_step": 4}
    plain = PrefixBeamSearch(**options)(log_posterior, frames)
    phone = PhoneSyncBeamSearch(**options)(log_posterior, frames)
    assert plain.num_steps == [9, 9] and phone.num_steps == [4, 4]
    for ours, theirs in zip(phone.nbest, plain.nbest, strict=True):
        assert [hyp.unit_ids for hyp in ours] == [hyp.unit_ids for hyp in theirs]
        torch.testing.assert_close(
            torch.tensor([hyp.log_prob for hyp in ours]),
            torch.tensor([hyp.log_prob for hyp in theirs]),
        )


def test_greedy_equals_beam_1_where_every_frame_is_sure() -> None:
    """Beam 1 sums alignments, greedy follows one; a frame above sqrt(1/2) settles both.

    Let every frame's best unit have at least q. A new unit (q of the sum) beats staying (1 - q),
    and blank likewise. The hard case is "a blank a": behind the blank the sum splits into at least
    q that ends in blank and at most 1 - q in "a"; the second a makes "aa" with at least q * q and
    leaves at most (1 - q) * q + (1 - q) = 1 - q * q for "a". So q * q > 1/2 suffices.
    """
    torch.manual_seed(0)
    labels = torch.randint(4, (20, 40))
    posterior = torch.rand(20, 40, 4, dtype=torch.float64)
    posterior.scatter_(2, labels[..., None], 0.0)
    sure = 0.7072 + 0.2 * torch.rand(20, 40, 1, dtype=torch.float64)
    posterior = (1 - sure) * posterior / posterior.sum(2, keepdim=True)
    log_posterior = posterior.scatter(2, labels[..., None], sure).log()
    lengths = torch.full((20,), 40)
    greedy = GreedySearch(blank_id=BLANK)(log_posterior, lengths)
    beam = PrefixBeamSearch(blank_id=BLANK, beam_size=1, units_per_step=4)(log_posterior, lengths)
    for (ours,), (theirs,) in zip(beam.nbest, greedy.nbest, strict=True):
        assert ours.unit_ids == theirs.unit_ids
        assert ours.log_prob > theirs.log_prob  # one alignment is a part of the sum


def one(rows: list[list[float]], search) -> Hypothesis:
    return search(torch.tensor([rows]).log(), torch.tensor([len(rows)])).nbest[0][0]


def test_where_greedy_and_beam_1_differ() -> None:
    """The best alignment spells "a b", but the alignments of "a" are more in sum.

    After "a", both blank (0.3) and a second frame of a (0.3) leave the prefix "a": 0.6 against the
    0.4 of b, which is the best single unit.
    """
    a, b = 0, 2
    rows = [[0.98, 0.01, 0.01], [0.3, 0.3, 0.4]]
    greedy = one(rows, GreedySearch(blank_id=BLANK))
    beam = one(rows, PrefixBeamSearch(blank_id=BLANK, beam_size=1))
    assert greedy.unit_ids == [a, b] and beam.unit_ids == [a]
    assert greedy.log_prob == pytest.approx(math.log(0.98 * 0.4), abs=1e-6)
    assert beam.log_prob == pytest.approx(math.log(0.98 * 0.6), abs=1e-6)
    # And "a blank a" with unsure frames, below sqrt(1/2): the halves of the sum part ways.
    rows = [[0.98, 0.01, 0.01], [0.35, 0.64, 0.01], [0.6, 0.39, 0.01]]
    assert one(rows, GreedySearch(blank_id=BLANK)).unit_ids == [a, a]
    assert one(rows, PrefixBeamSearch(blank_id=BLANK, beam_size=1)).unit_ids == [a]
