"""Every projector against its dense form: values, gradients, padding, batches; float64."""

import functools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from espnet_psslm.bridge.phone_sync import build_reduction
from espnet_psslm.bridge.projector import PROJECTORS, Ends, build_projector
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps, uniform_rows
from tests.unit.bridge.test_closed_form import random_steps

NUM_UNITS, WIDTH, TOKENS, BLANK = 20, 8, 30, 3
LENGTHS = (5, 0, 3)
SMALL = {
    "linear-silu": {"hidden": 2 * WIDTH + 3},
    "linear": {"k": 2, "hidden": 2 * WIDTH + 3},
    "cov1d-linear": {"k": 2, "hidden": 2 * WIDTH + 3},
    "q-former": {"num_queries": 4, "hidden": 12, "layers": 3, "heads": 3},
    "cross-attention": {"heads": 2},
    "simple_linear": {"k": 2, "temperature": 0.7},
    "lego": {"temperature": 0.7, "train_table": True},
    "lego-top1": {"train_table": True},
}
PAIRS = [
    (name, kind)
    for name, cls in PROJECTORS.items()
    for kind in (PosteriorSteps, FeatureSteps)
    if kind in cls.takes
]
EXACT = {"rtol": 0.0, "atol": 1e-11}


def embeddings(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64) + 1.0


def build(name, kind=PosteriorSteps, *, num_units=NUM_UNITS, tokens=TOKENS, **options):
    ends = Ends(
        kind=kind,
        width=num_units,
        lm_width=WIDTH,
        blank_id=BLANK,
        token_embeddings=functools.partial(embeddings, tokens, 1),
        unit_embeddings=functools.partial(embeddings, num_units, 2),
    )
    torch.manual_seed(0)
    projector = build_projector(PROJECTORS[name], ends, **(SMALL[name] | options))
    return projector.double().eval()


def make_steps(kind, num_listed=4, num_units=NUM_UNITS, lengths=LENGTHS):
    steps = random_steps(num_units, num_listed, lengths=lengths)
    if kind is PosteriorSteps:
        return steps
    generator = torch.Generator().manual_seed(5)
    shape = (len(lengths), max(lengths), num_units)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    return FeatureSteps(values * steps.mask[..., None], steps.lengths)


def stack(rows, k):
    """(B, U, D) to (B, ceil(U / k), k D), a loop over utterances and groups."""
    groups = []
    for utterance in rows:
        padded = torch.cat([utterance, utterance.new_zeros(-len(utterance) % k, rows.shape[2])])
        groups.append(torch.stack([g.flatten() for g in padded.split(k)]))
    return torch.stack(groups)


def dense_form(projector, name, x, lengths):
    """The projector's definition on dense rows x (B, U, V or D), zero on padding."""
    p = projector
    if name == "linear-silu":
        return p.output(F.silu(p.input.dense_forward(x)))
    if name == "linear":
        return p.output(F.relu(stack(x, p.input.stack) @ p.input.weight + p.input.bias))
    if name == "cov1d-linear":
        k, d = p.conv.stack, x.shape[2]
        kernel = p.conv.weight.view(k, d, d).permute(2, 1, 0)  # out, in, place
        x = F.pad(x, (0, 0, 0, -x.shape[1] % k))
        frames = F.relu(F.conv1d(x.mT, kernel, p.conv.bias, stride=k).mT)
        return p.output(F.relu(p.input(frames)))
    if name == "cross-attention":
        tokens = embeddings(TOKENS, 1)
        query = x @ p.query.weight + p.query.bias
        out = []
        size = WIDTH // p.heads
        for head in range(p.heads):
            part = slice(head * size, (head + 1) * size)
            keys, values = p.key(tokens)[:, part], p.value(tokens)[:, part]
            out.append((query[..., part] @ keys.T / size**0.5).softmax(-1) @ values)
        return p.output(torch.cat(out, -1))
    if name == "simple_linear":
        logits = (stack(x, p.head.stack) @ p.head.weight + p.head.bias) / p.temperature
        logits[..., BLANK] = -torch.inf
        return logits.softmax(-1) @ p.table
    if name == "lego":
        powers = x.pow(1 / p.temperature)
        powers = powers * (torch.arange(x.shape[2]) != BLANK)
        return (powers / powers.sum(-1, keepdim=True)) @ p.table
    if name == "lego-top1":
        x = x.clone()
        x[..., BLANK] = -1.0
        return p.table[x.argmax(-1)]
    raise AssertionError(name)


def valid(projector, out, lengths):
    """Embeddings that count, end to end."""
    counts = projector.output_lengths(lengths).tolist()
    return torch.cat([row[:count] for row, count in zip(out, counts, strict=True)])


DENSE = [(name, kind) for name, kind in PAIRS if name != "q-former"]


@pytest.mark.parametrize(("name", "kind"), DENSE)
@pytest.mark.parametrize("num_listed", [2, 7, NUM_UNITS])
def test_values_and_gradients_equal_the_dense_form(name, kind, num_listed):
    if name == "lego-top1":
        num_listed = max(num_listed, 7)  # real Steps list the largest; of two random units none is
    steps = make_steps(kind, num_listed)
    if kind is FeatureSteps:
        source = steps.values
        dense = source
    else:
        source = steps.probs.clone().requires_grad_()
        steps = replace(steps, probs=source)
        dense = steps.dense() * steps.mask[..., None]
        if name in ("linear-silu", "lego"):  # uniform on padding: their statistics need a mass
            dense = steps.dense()
    projector = build(name, kind)
    out = valid(projector, projector(steps), steps.lengths)
    want = valid(projector, dense_form(projector, name, dense, steps.lengths), steps.lengths)
    torch.testing.assert_close(out, want, **EXACT)
    weight = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(3))
    parameters = dict(projector.named_parameters())
    assert parameters
    inputs = list(parameters.values())
    if kind is PosteriorSteps and name != "lego-top1":
        inputs.append(source)
    ours, theirs = (
        torch.autograd.grad((value * weight).sum(), inputs, allow_unused=True)
        for value in (out, want)
    )
    for parameter, got, expected in zip([*parameters, "probs"], ours, theirs, strict=False):
        assert expected.abs().max() > 1e-9 or parameter == "key.bias", parameter
        if parameter == "probs" and num_listed == NUM_UNITS:
            # Rows sum to 1, which closed forms use: only moves that keep the sum compare.
            got, expected = (g - g.mean(2, keepdim=True) for g in (got, expected))
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-10, msg=parameter)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_batch_and_padding_change_nothing(name, kind):
    projector, steps = build(name, kind), make_steps(kind)
    out = projector(steps)
    counts = projector.output_lengths(steps.lengths)
    assert counts[1] == 0
    assert out.isfinite().all()
    for row, length in enumerate(LENGTHS):
        if not length:
            continue
        one = steps.select(torch.tensor([row]))
        if kind is PosteriorSteps:
            fill_ids, fill = uniform_rows(4, 4, NUM_UNITS, torch.float64)
            short = replace(one, unit_ids=one.unit_ids[:, :length], probs=one.probs[:, :length])
            long = replace(
                short,
                unit_ids=torch.cat([short.unit_ids, fill_ids[None]], 1),
                probs=torch.cat([short.probs, fill[None]], 1),
            )
        else:
            short = replace(one, values=one.values[:, :length])
            long = replace(short, values=F.pad(short.values, (0, 0, 0, 4)))
        for other in (short, long):
            got = projector(other)[0, : counts[row]]
            torch.testing.assert_close(got, out[row, : counts[row]], **EXACT)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_padding_gets_no_say_in_gradients(name, kind):
    projector, steps = build(name, kind).float(), make_steps(kind)
    steps = replace(
        steps, **{n: v.float() for n, v in vars(steps).items() if n in ("probs", "values")}
    )
    out = projector(steps)
    counts = projector.output_lengths(steps.lengths)
    kept = torch.arange(out.shape[1]) < counts[:, None]
    (out * kept[..., None]).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in projector.parameters())


class Largest(TorchDispatchMode):
    """Remembers the most elements that an operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return out


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("linear-silu", {"hidden": 16}),
        ("linear", {"hidden": 16}),
        ("q-former", {}),
        ("cross-attention", {}),
        ("lego", {}),
        ("lego-top1", {}),
    ],
)
def test_dense_rows_are_never_built(name, options):
    """200 steps of 300 units: forward and backward stay below a fifth of (B, U, V)."""
    num_units, lengths = 300, (100, 100)
    steps = make_steps(PosteriorSteps, 4, num_units, lengths)
    projector = build(name, num_units=num_units, tokens=300, **options)
    with Largest() as largest:
        projector(steps).square().sum().backward()
    assert 0 < largest.elements < 200 * num_units // 5


@pytest.mark.parametrize("hidden", [2 * WIDTH, 2 * WIDTH + 5])
@pytest.mark.parametrize("name", ["linear", "cov1d-linear"])
@pytest.mark.parametrize("k", [1, 3])
def test_unit_text_start_is_the_mean_embedding_of_a_group(name, hidden, k):
    projector = build(name, hidden=hidden, k=k)
    table = embeddings(NUM_UNITS, 2)
    projector.init_from_embeddings(table)
    units = torch.tensor([4, 9, 4, 7, 1, 0])
    steps = PosteriorSteps(
        units[None, :, None], torch.ones(1, 6, 1).double(), torch.tensor([6]), NUM_UNITS
    )
    want = table[units].view(6 // k, k, WIDTH).mean(1)
    torch.testing.assert_close(projector(steps)[0], want, **EXACT)


@pytest.mark.parametrize("name", ["q-former", "cross-attention"])
def test_projectors_without_such_a_start_say_so(name):
    with pytest.raises(ValueError, match="projector_init: none"):
        build(name).init_from_embeddings(embeddings(NUM_UNITS, 2))


def posterior_steps(rows):
    """One utterance of (units, probabilities) rows of equal length."""
    ids = torch.tensor([[units for units, _ in rows]])
    probs = torch.tensor([[p for _, p in rows]], dtype=torch.float64)
    return PosteriorSteps(ids, probs, torch.tensor([len(rows)]), NUM_UNITS)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_lego_takes_blank_out_whether_it_is_listed_or_not(temperature):
    table = embeddings(NUM_UNITS, 2)
    projector = build("lego", temperature=temperature, train_table=False)
    assert not list(projector.parameters()) and not projector.state_dict()
    steps = posterior_steps([([5, BLANK], [0.3, 0.6]), ([5, 6], [0.7, 0.2])])
    for step, dense in enumerate(steps.dense()[0]):
        powers = dense.pow(1 / temperature)
        powers[BLANK] = 0.0
        want = (powers / powers.sum()) @ table
        torch.testing.assert_close(projector(steps)[0, step], want, **EXACT)


def test_lego_of_pure_steps():
    table = embeddings(NUM_UNITS, 2)
    others = table[torch.arange(NUM_UNITS) != BLANK].mean(0)
    for name in ("lego", "lego-top1"):
        out = build(name)(posterior_steps([([7], [1.0]), ([BLANK], [1.0])]))[0]
        torch.testing.assert_close(out, torch.stack([table[7], others]), **EXACT)


def test_simple_linear_with_the_acoustic_models_head_is_lego_on_its_posterior():
    """Frame by frame, the head on encoder outputs gives the posterior that ``lego`` mixes by."""
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(6, NUM_UNITS).double()
    features = torch.randn(2, 7, 6, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([7, 4])
    reduction = build_reduction("frame_sync", blank_id=BLANK, max_units=NUM_UNITS)
    ends = Ends(
        FeatureSteps, 6, WIDTH, BLANK, lambda: None, functools.partial(embeddings, NUM_UNITS, 2)
    )
    simple = build_projector(PROJECTORS["simple_linear"], ends).double()
    simple.init_from_head(head.weight, head.bias)
    lego = build("lego", temperature=1.0, train_table=False)
    ours = simple(reduction.reduce_features(features, lengths))
    theirs = lego(reduction(head(features).softmax(-1), lengths))
    for row, length in enumerate(lengths):
        torch.testing.assert_close(ours[row, :length], theirs[row, :length], **EXACT)
    with pytest.raises(ValueError, match=r"head has shape \(3, 6\), the projector's is \(20, 6\)"):
        simple.init_from_head(torch.zeros(3, 6), torch.zeros(3))


def test_stacked_head_reads_the_mean():
    head = torch.nn.Linear(NUM_UNITS, NUM_UNITS).double()
    one, three = (build("simple_linear", FeatureSteps, k=k, temperature=1.0) for k in (1, 3))
    for projector in (one, three):
        projector.init_from_head(head.weight, head.bias)
    steps = make_steps(FeatureSteps, lengths=(6,))
    means = FeatureSteps(steps.values.unflatten(1, (2, 3)).mean(2), torch.tensor([2]))
    torch.testing.assert_close(three(steps), one(means), **EXACT)


def test_q_former_hears_the_order_of_units():
    """Posteriors do not know their place; without positions both sentences were one bag."""
    projector = build("q-former")
    steps = make_steps(PosteriorSteps, lengths=(4,))
    turned = replace(steps, unit_ids=steps.unit_ids.flip(1), probs=steps.probs.flip(1))
    # Fresh weights are small; rounding alone moves the last of 16 digits.
    assert (projector(steps) - projector(turned)).abs().max() > 1e-9


@pytest.mark.parametrize(
    ("name", "kind", "options", "match"),
    [
        ("lego", FeatureSteps, {}, "Lego takes PosteriorSteps, not FeatureSteps"),
        ("simple_linear", PosteriorSteps, {}, "takes FeatureSteps, not PosteriorSteps"),
        ("linear", PosteriorSteps, {"k": 0}, "0 steps cannot be stacked"),
        ("linear", PosteriorSteps, {"kk": 1}, "kk"),
        ("cross-attention", PosteriorSteps, {"heads": 3}, r"width \(8\) must be divisible by"),
        ("lego", PosteriorSteps, {"temperature": 0.0}, "lego-top1"),
    ],
)
def test_what_does_not_fit_is_named(name, kind, options, match):
    with pytest.raises(ValueError, match=match):
        build(name, kind, **options)


@pytest.mark.parametrize("name", ["linear", "lego", "cross-attention", "q-former"])
def test_other_vocabulary_is_named(name):
    with pytest.raises(ValueError, match="21.*20"):
        build(name)(make_steps(PosteriorSteps, num_units=21))


def test_lego_follows_a_table_that_changes():
    """The sum of a fixed table's rows is kept between calls."""
    projector = build("lego", train_table=False)
    steps = make_steps(PosteriorSteps)
    first = projector(steps)
    torch.testing.assert_close(projector(steps), first, **EXACT)
    projector.table.mul_(2.0)
    torch.testing.assert_close(projector(steps), 2.0 * first, **EXACT)
    projector.to(torch.float32)
    assert projector(steps).dtype == torch.float32
