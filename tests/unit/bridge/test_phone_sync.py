"""Reduction against a plain loop, and hand-drawn cases."""

import pytest
import torch

from espnet_psslm.bridge.phone_sync import REDUCTIONS, build_reduction

BLANK, A, B = 0, 1, 2
ORDERS = ("drop_then_merge", "merge_then_drop")


def plain_loop(posterior, *, blank_id, threshold, order):
    """The rule as it is written down, frame by frame: list of (mean, start, end)."""
    frames = list(enumerate(posterior))
    if order == "drop_then_merge":
        frames = [(t, p) for t, p in frames if p[blank_id] <= threshold]
    runs = []
    for t, p in frames:
        label = int(p.argmax())
        if runs and label != blank_id and runs[-1][0] == label:
            runs[-1][1].append((t, p))
        else:
            runs.append((label, [(t, p)]))
    steps = []
    for _, members in runs:
        mean = torch.stack([p for _, p in members]).mean(0)
        if order == "merge_then_drop" and mean[blank_id] >= threshold:
            continue
        steps.append((mean, members[0][0], members[-1][0] + 1))
    return steps


def frames(*rows):
    """Rows of (blank, a, b)."""
    return torch.tensor(rows, dtype=torch.float64)[None]


def spans(steps):
    return [
        list(zip(s[:n].tolist(), e[:n].tolist(), strict=True))
        for s, e, n in zip(steps.frame_start, steps.frame_end, steps.lengths, strict=True)
    ]


def reduce(posterior, order="merge_then_drop", lengths=None, **options):
    lengths = lengths if lengths is not None else torch.tensor([posterior.shape[1]])
    return build_reduction(order, **({"blank_id": BLANK} | options))(posterior, lengths)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("blank_id", [0, 4])
@pytest.mark.parametrize("seed", range(6))
def test_equals_plain_loop(order, blank_id, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(5, 40, 7, generator=generator, dtype=torch.float64)
    logits[..., blank_id] += 3.0
    logits = logits.round()  # few distinct labels in a row, and some ties
    posterior = logits.softmax(-1)
    lengths = torch.tensor([40, 1, 17, 0, 33])
    options = {"blank_id": blank_id, "blank_threshold": 0.8, "max_units": 7}
    steps = reduce(posterior, order, lengths, **options)
    for row in range(5):
        expected = plain_loop(
            posterior[row, : lengths[row]], blank_id=blank_id, threshold=0.8, order=order
        )
        count = int(steps.lengths[row])
        assert count == len(expected)
        assert spans(steps)[row] == [(s, e) for _, s, e in expected]
        if expected:
            mean = torch.stack([m for m, _, _ in expected])
            torch.testing.assert_close(steps.dense()[row, :count], mean, rtol=0, atol=1e-14)


def test_repeated_label_over_a_blank():
    posterior = frames([0.1, 0.8, 0.1], [0.95, 0.05, 0.0], [0.1, 0.9, 0.0])
    assert spans(reduce(posterior)) == [[(0, 1), (2, 3)]]
    assert spans(reduce(posterior, "drop_then_merge")) == [[(0, 3)]]


def test_unsure_blank_survives_alone():
    posterior = frames([0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.95, 0.05, 0.0])
    for order in ORDERS:
        assert spans(reduce(posterior, order)) == [[(0, 1), (1, 2)]]


def test_threshold_itself_is_dropped_only_after_merging():
    posterior = frames([0.75, 0.25, 0.0], [0.0, 1.0, 0.0])
    kept = {order: spans(reduce(posterior, order, blank_threshold=0.75)) for order in ORDERS}
    assert kept == {"merge_then_drop": [[(1, 2)]], "drop_then_merge": [[(0, 1), (1, 2)]]}


def test_tie_takes_the_first_unit():
    posterior = frames([0.2, 0.4, 0.4], [0.1, 0.5, 0.4])
    assert spans(reduce(posterior)) == [[(0, 2)]]


def test_all_blank_is_empty_and_one_frame_is_one_step():
    posterior = frames([1.0, 0.0, 0.0], [0.99, 0.01, 0.0])
    for order in ORDERS:
        steps = reduce(posterior, order)
        assert steps.lengths.tolist() == [0]
        assert steps.dense().shape == (1, 1, 3)
        assert spans(reduce(frames([0.0, 0.0, 1.0]), order)) == [[(0, 1)]]


def test_padding_and_batch_change_nothing():
    generator = torch.Generator().manual_seed(0)
    posterior = (3 * torch.randn(3, 20, 9, generator=generator).double()).softmax(-1)
    lengths = torch.tensor([20, 7, 12])
    for order in ORDERS:
        options = {"blank_id": 0, "max_units": 4}
        batch = reduce(posterior, order, lengths, **options)
        for row, length in enumerate(lengths.tolist()):
            part = posterior[row : row + 1, :length]
            alone = reduce(part, order, lengths[row : row + 1], **options)
            count = int(alone.lengths)
            assert int(batch.lengths[row]) == count
            assert torch.equal(batch.unit_ids[row, :count], alone.unit_ids[0, :count])
            assert torch.equal(batch.probs[row, :count], alone.probs[0, :count])
            assert torch.all(batch.probs[row, count:] == 1 / 9)


def test_unlisted_units_share_the_rest():
    steps = reduce(frames([0.05, 0.9, 0.05]), max_units=1)
    assert steps.unit_ids.tolist() == [[[A]]]
    torch.testing.assert_close(steps.rest, torch.tensor([[0.05]], dtype=torch.float64))


@pytest.mark.parametrize("options", [{"blank_id": 3}, {"blank_id": -1}])
def test_blank_outside_the_vocabulary(options):
    with pytest.raises(ValueError, match=r"blank_id .* must lie in \[0, 3\)"):
        reduce(frames([1.0, 0.0, 0.0]), **options)


def test_unknown_order_names_the_choices():
    with pytest.raises(ValueError, match="drop_then_merge"):
        reduce(frames([1.0, 0.0, 0.0]), order="drop")


def test_frame_synchronous_keeps_every_frame():
    posterior = frames([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    steps = reduce(posterior, "frame_sync", lengths=torch.tensor([3]))
    assert spans(steps) == [[(0, 1), (1, 2), (2, 3)]]
    torch.testing.assert_close(steps.dense()[0], posterior[0, :3])


def test_fixed_rate_averages_and_keeps_the_rest():
    posterior = frames([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    steps = reduce(posterior, "fixed_rate", rate=2)
    assert spans(steps) == [[(0, 2), (2, 3)]]
    torch.testing.assert_close(
        steps.dense()[0], torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    )
    assert reduce(posterior, "fixed_rate", rate=2, lengths=torch.tensor([0])).lengths == 0


@pytest.mark.parametrize("order", [*ORDERS, "frame_sync", "fixed_rate"])
def test_features_are_reduced_by_the_runs_of_the_posterior(order):
    """Were the features the posterior itself, both reductions would give the same."""
    generator = torch.Generator().manual_seed(1)
    posterior = (3 * torch.randn(3, 20, 6, generator=generator).double()).softmax(-1)
    lengths = torch.tensor([20, 0, 12])
    reduction = build_reduction(
        order, blank_id=0, max_units=6, **({"rate": 3} if order == "fixed_rate" else {})
    )
    expected = reduction(posterior, lengths)
    features = reduction.reduce_features(posterior + 1.0, lengths, posterior)
    assert torch.equal(features.lengths, expected.lengths)
    assert spans(features) == spans(expected)
    wanted = (expected.dense() + 1.0) * expected.mask[..., None]
    torch.testing.assert_close(features.values, wanted, rtol=0, atol=1e-14)
    if not reduction.needs_posterior:
        again = reduction.reduce_features(posterior + 1.0, lengths)
        assert torch.equal(again.values, features.values)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("fixed_rate", {}, "fixed_rate.*rate"),
        ("fixed_rate", {"rate": 0}, "rate \\(0\\)"),
        ("frame_sync", {"blank_threshold": 0.5}, "blank_threshold"),
    ],
)
def test_options_that_do_not_fit_are_named(name, options, match):
    with pytest.raises(ValueError, match=match):
        build_reduction(name, blank_id=0, **options)


LENGTHS = torch.tensor([40, 1, 17, 0, 33])
SIZES = [1, 2 * 40 * 7, 1 << 25]  # one utterance at a time, two, all


def random_logits(num_units, *, blank_id=0, dtype=torch.float64):
    logits = 3 * torch.randn(5, 40, num_units, generator=torch.Generator().manual_seed(0)).double()
    logits[..., blank_id] += 3.0
    return logits.round().to(dtype)  # runs of several frames, and some ties


def build(name, **options):
    if name == "fixed_rate":
        options["rate"] = 3
    elif name in ORDERS:
        options["blank_threshold"] = 0.8
    return build_reduction(name, **{"blank_id": 0, "max_units": 5} | options)


@pytest.mark.parametrize("numbers", SIZES)
@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("max_units", [5, 7])
def test_from_logits_equals_softmax_first(name, max_units, numbers):
    logits, reduction = random_logits(7), build(name, max_units=max_units)
    shift = 100.0 * torch.randn(5, 40, 1, dtype=torch.float64)
    expected = reduction(logits.softmax(-1), LENGTHS)
    for same in (logits, logits.log_softmax(-1), logits + shift):
        steps = reduction.from_logits(same, LENGTHS, numbers=numbers)
        assert steps.lengths.tolist() == expected.lengths.tolist()
        assert spans(steps) == spans(expected)
        torch.testing.assert_close(steps.probs, expected.probs, rtol=0, atol=1e-12)
        if max_units == 7:
            torch.testing.assert_close(steps.dense(), expected.dense(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("numbers", SIZES)
def test_half_precision_logits_give_float32_probabilities(numbers):
    logits, reduction = random_logits(50, dtype=torch.bfloat16), build("merge_then_drop")
    steps = reduction.from_logits(logits, LENGTHS, numbers=numbers)
    expected = reduction(logits.float().softmax(-1), LENGTHS)
    assert steps.probs.dtype == torch.float32
    assert torch.equal(steps.lengths, expected.lengths)
    torch.testing.assert_close(steps.probs, expected.probs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("numbers", SIZES)
def test_from_logits_of_a_batch_equals_single_utterances(numbers):
    logits, reduction = random_logits(300), build("merge_then_drop")
    together = reduction.from_logits(logits, LENGTHS, numbers=numbers)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = reduction.from_logits(logits[row : row + 1, :length], LENGTHS[row : row + 1])
        count = int(alone.lengths)
        assert int(together.lengths[row]) == count
        assert torch.equal(together.unit_ids[row, :count], alone.unit_ids[0, :count])
        assert torch.equal(together.probs[row, :count], alone.probs[0, :count])


def test_from_logits_holds_the_posterior_of_some_utterances_only():
    """As many as are asked for, at least one."""
    logits, reduction, whole = random_logits(300), build("merge_then_drop"), []
    softmax = torch.Tensor.softmax
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.Tensor, "softmax", lambda x, *a, **k: whole.append(len(x)) or softmax(x, *a, **k)
        )
        reduction.from_logits(logits, LENGTHS, numbers=2 * 40 * 300)
        reduction.from_logits(logits, LENGTHS, numbers=1)
        reduction.from_logits(logits, LENGTHS)
    assert whole == [2, 2, 1, *[1] * 5, 5]
