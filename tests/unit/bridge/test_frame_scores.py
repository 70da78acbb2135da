"""Reduction from logits against that of their softmax, and the search for the largest units."""

import pytest
import torch

from espnet_psslm.bridge import frame_scores as module
from espnet_psslm.bridge import phone_sync
from espnet_psslm.bridge.frame_scores import frame_scores, top_units, utterances_at_once
from espnet_psslm.bridge.phone_sync import REDUCTIONS, build_reduction
from tests.unit.bridge.test_phone_sync import ORDERS, plain_loop, spans

LENGTHS = torch.tensor([40, 1, 17, 0, 33])


def random_logits(num_units, *, seed=0, blank_id=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(5, 40, num_units, generator=generator, dtype=torch.float64)
    logits[..., blank_id] += 3.0
    return logits.round().to(dtype)  # runs of several frames, and some ties


def build(name, **options):
    options = {"blank_id": 0, "max_units": 5} | options
    if name == "fixed_rate":
        options["rate"] = 3
    elif name in ORDERS:
        options.setdefault("blank_threshold", 0.8)
    return build_reduction(name, **options)


@pytest.fixture(params=[1, 90, 1 << 18])
def numbers(request, monkeypatch):
    """How many numbers are worked on at once: from one row to all."""
    monkeypatch.setattr(module, "NUMBERS", request.param)


WAYS = {"a frame": (0, 1), "90 numbers": (0, 90), "all frames": (0, 1 << 18)} | {
    f"{size} utterances": (size, 0) for size in (1, 2, 5)
}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def way(request, monkeypatch):
    """Frames looked up, from one at a time to all; whole posteriors of so many utterances."""
    utterances, numbers = request.param
    monkeypatch.setattr(module, "NUMBERS", numbers)
    monkeypatch.setattr(phone_sync, "utterances_at_once", lambda _: utterances)


def test_narrow_posteriors_are_made_whole_on_a_cpu():
    def at_once(*shape, device="cpu"):
        return utterances_at_once(torch.empty(shape, device=device))

    assert at_once(16, 250, 500) == 16
    assert at_once(64, 250, 500) == 16  # 2^21 numbers
    assert at_once(4, 5000, 500) == 0
    assert at_once(16, 250, 25055) == 0
    assert at_once(16, 250, 500, device="meta") == 0
    assert at_once(2, 0, 500) > 2


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_from_logits_equals_softmax_first(name, seed, way):
    logits = random_logits(7, seed=seed)
    reduction = build(name)
    steps, expected = reduction.from_logits(logits, LENGTHS), reduction(logits.softmax(-1), LENGTHS)
    assert steps.lengths.tolist() == expected.lengths.tolist()
    assert spans(steps) == spans(expected)
    torch.testing.assert_close(steps.probs, expected.probs, rtol=0, atol=1e-14)
    all_listed = build(name, max_units=7)
    torch.testing.assert_close(
        all_listed.from_logits(logits, LENGTHS).dense(),
        all_listed(logits.softmax(-1), LENGTHS).dense(),
        rtol=0,
        atol=1e-14,
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("blank_id", [0, 4])
def test_from_logits_equals_plain_loop(order, blank_id, way):
    logits = random_logits(7, blank_id=blank_id)
    steps = build(order, blank_id=blank_id, max_units=7).from_logits(logits, LENGTHS)
    for row, posterior in enumerate(logits.softmax(-1)):
        wanted = plain_loop(
            posterior[: LENGTHS[row]], blank_id=blank_id, threshold=0.8, order=order
        )
        assert spans(steps)[row] == [(start, end) for _, start, end in wanted]
        if wanted:
            mean = torch.stack([mean for mean, _, _ in wanted])
            torch.testing.assert_close(steps.dense()[row, : len(wanted)], mean, rtol=0, atol=1e-14)


def test_log_posteriors_are_logits_and_a_constant_per_frame_changes_nothing(way):
    logits = random_logits(50)
    reduction = build("merge_then_drop")
    expected = reduction.from_logits(logits, LENGTHS)
    shift = 100.0 * torch.randn(5, 40, 1, dtype=torch.float64)
    for same in (logits.log_softmax(-1), logits + shift):
        steps = reduction.from_logits(same, LENGTHS)
        torch.testing.assert_close(steps.probs, expected.probs, rtol=0, atol=1e-12)


def test_half_precision_logits_give_float32_probabilities(way):
    logits = random_logits(50, dtype=torch.bfloat16)
    steps = build("merge_then_drop").from_logits(logits, LENGTHS)
    expected = build("merge_then_drop")(logits.float().softmax(-1), LENGTHS)
    assert steps.probs.dtype == torch.float32
    assert torch.equal(steps.lengths, expected.lengths)
    torch.testing.assert_close(steps.probs, expected.probs, rtol=0, atol=1e-6)


def test_batch_equals_single(way):
    logits = random_logits(300)
    reduction = build("merge_then_drop")
    together = reduction.from_logits(logits, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = reduction.from_logits(logits[row : row + 1, :length], LENGTHS[row : row + 1])
        count = int(alone.lengths)
        assert int(together.lengths[row]) == count
        assert torch.equal(together.unit_ids[row, :count], alone.unit_ids[0, :count])
        assert torch.equal(together.probs[row, :count], alone.probs[0, :count])


def test_frame_scores_are_argmax_and_logsumexp(numbers):
    logits = random_logits(30)
    best, log_norm = frame_scores(logits)
    assert torch.equal(best, logits.argmax(-1))
    torch.testing.assert_close(log_norm, logits.logsumexp(-1), rtol=0, atol=1e-13)


@pytest.mark.parametrize("num_units", [5, 64, 67, 1000, 1023])
@pytest.mark.parametrize("num_listed", [1, 4, 5])
@pytest.mark.parametrize("ties", [False, True])
def test_top_units_are_the_largest(num_units, num_listed, ties):
    generator = torch.Generator().manual_seed(num_units)
    rows = torch.randn(30, num_units, generator=generator)
    if ties:
        rows = rows.round()
    values, places = top_units(rows, num_listed)
    assert torch.equal(values, rows.topk(num_listed).values)
    assert torch.equal(rows.gather(1, places), values)
    assert all(len(set(row)) == num_listed for row in places.tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_listed", [1, 3, 8])
def test_of_equal_numbers_the_first_are_listed_whatever_the_other_rows(dtype, num_listed):
    """All equal, -inf beside few numbers, and peaks that share a column."""
    rows = torch.zeros(3, 64, dtype=dtype)
    rows[1] = -torch.inf
    rows[1, [5, 40]] = torch.tensor([1.0, 2.0], dtype=dtype)
    rows[2, 7::8] = torch.arange(8, dtype=dtype)
    wanted = [
        sorted(range(64), key=lambda place, row=row: -row[place])[:num_listed]
        for row in rows.tolist()
    ]
    assert top_units(rows, num_listed)[1].tolist() == wanted
    for row, places in zip(rows, wanted, strict=True):
        assert top_units(row[None], num_listed)[1].tolist() == [places]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_listed", [1, 4, 9])
def test_order_of_any_numbers(dtype, num_listed):
    """By value, then by place: both infinities, both zeros, denormal and extreme numbers."""
    extremes = [0.0, -0.0, torch.inf, -torch.inf, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0, -1.0]
    generator = torch.Generator().manual_seed(0)
    picks = torch.randint(len(extremes), (50, 40), generator=generator)
    rows = torch.tensor(extremes, dtype=dtype)[picks]
    values, places = top_units(rows, num_listed)
    for row, found, chosen in zip(rows.tolist(), values.tolist(), places.tolist(), strict=True):
        wanted = sorted(range(40), key=lambda place, row=row: (-row[place], place))[:num_listed]
        assert chosen == wanted
        assert found == [row[place] for place in wanted]


@pytest.mark.parametrize("step", [2, 40])
@pytest.mark.parametrize("sign", [False, True])
def test_nan_is_the_largest_and_does_not_change_other_rows(step, sign):
    rows = torch.randn(3, 64)
    rows[0] = 0.0  # all are listed
    expected = top_units(rows, 4)[1]
    rows[1, ::step] = -torch.nan if sign else torch.nan
    values, places = top_units(rows, 4)
    assert torch.equal(places[[0, 2]], expected[[0, 2]])
    torch.testing.assert_close(values, rows.topk(4).values, rtol=0, atol=0, equal_nan=True)
    assert len(set(places[1].tolist())) == 4


def test_gradient_of_top_units_is_that_of_topk():
    rows = torch.randn(5, 64, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 4, dtype=torch.float64)
    grads = [
        torch.autograd.grad((values * weight).sum(), rows)[0]
        for values in (top_units(rows, 4)[0], rows.topk(4).values)
    ]
    assert torch.equal(*grads)


def test_top_units_of_no_row():
    values, places = top_units(torch.empty(0, 500), 3)
    assert values.shape == places.shape == (0, 3)
