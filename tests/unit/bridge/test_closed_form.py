"""Closed-form LayerNorm + Linear against the dense layers, values and gradients."""

import pytest
import torch
from torch import nn

from espnet_psslm.bridge.closed_form import NormLinear
from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.bridge.steps import PosteriorSteps, collate_steps


def random_steps(num_units, num_listed, seed=0, lengths=(5, 0, 3), dtype=torch.float64):
    """Random sparse rows in a padded batch."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for length in lengths:
        order = torch.rand(length, num_units, generator=generator).argsort(1)[:, :num_listed]
        share = torch.rand(length, num_listed + 1, generator=generator, dtype=torch.float64) + 0.01
        probs = share / share.sum(1, keepdim=True)
        if num_listed == num_units:
            probs = share[:, 1:] / share[:, 1:].sum(1, keepdim=True)
        else:
            probs = probs[:, 1:]
        rows.append((order, probs))
    ids, probs, counts = collate_steps(rows, num_units=num_units)
    if dtype == torch.float64:  # collate_steps stores float32; refill the rows exactly
        probs = probs.double()
        probs[~(torch.arange(ids.shape[1]) < counts[:, None])] = 1 / num_units
        for row, (_, exact) in enumerate(rows):
            probs[row, : len(exact)] = exact
    return PosteriorSteps(ids, probs, counts, num_units)


def perturbed(layer, seed=1):
    """Give gain and shift values that a trained layer could have."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in (layer.gain, layer.shift):
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator).to(parameter)
    return layer


@pytest.mark.parametrize(("num_units", "num_listed"), [(50, 1), (50, 16), (50, 50), (300, 3)])
def test_values_and_gradients_equal_dense(num_units, num_listed):
    torch.manual_seed(0)
    closed = perturbed(NormLinear(num_units, 8).double())
    norm, linear = nn.LayerNorm(num_units).double(), nn.Linear(num_units, 8).double()
    norm.weight.data.copy_(closed.gain)
    norm.bias.data.copy_(closed.shift)
    linear.weight.data.copy_(closed.weight.T)
    linear.bias.data.copy_(closed.bias)
    steps = random_steps(num_units, num_listed)
    # For K < V a listed probability also moves the rest: differentiate both forms through it.
    ours = steps.probs.clone().requires_grad_()
    theirs = steps.probs.clone().requires_grad_()
    sparse = PosteriorSteps(steps.unit_ids, ours, steps.lengths, num_units)
    dense = PosteriorSteps(steps.unit_ids, theirs, steps.lengths, num_units).dense()

    out, expected = closed(sparse), linear(norm(dense))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(closed.dense_forward(dense), expected, rtol=0, atol=1e-11)
    weight = torch.randn(out.shape, dtype=out.dtype) * steps.mask[..., None]
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    if num_listed == num_units:
        # Rows sum to 1, which the closed form uses: only moves that keep the sum are comparable.
        for grad in (ours.grad, theirs.grad):
            grad -= grad.mean(2, keepdim=True)
    for got, want in [
        (ours.grad, theirs.grad),
        (closed.gain.grad, norm.weight.grad),
        (closed.shift.grad, norm.bias.grad),
        (closed.weight.grad, linear.weight.grad.T),
        (closed.bias.grad, linear.bias.grad),
    ]:
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


def test_gradcheck():
    layer = perturbed(NormLinear(12, 3).double())
    steps = random_steps(12, 4)

    def run(probs, *parameters):
        for name, value in zip(("gain", "shift", "weight", "bias"), parameters, strict=True):
            layer.__dict__[name] = value  # looked up before the registered parameter
        try:
            return layer(PosteriorSteps(steps.unit_ids, probs, steps.lengths, 12))
        finally:
            for name in ("gain", "shift", "weight", "bias"):
                del layer.__dict__[name]

    inputs = [steps.probs, layer.gain, layer.shift, layer.weight, layer.bias]
    assert torch.autograd.gradcheck(run, [t.detach().clone().requires_grad_() for t in inputs])


def test_padding_rows_give_finite_gradients_at_small_vocabulary():
    layer = NormLinear(50, 8)
    steps = random_steps(50, 16, lengths=(4, 0), dtype=torch.float32)
    (layer(steps) * steps.mask[..., None]).sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
    assert layer.weight.grad.abs().sum() > 0


def test_batch_equals_single():
    layer = NormLinear(60, 8).double()
    steps = random_steps(60, 5)
    whole = layer(steps)
    for row in range(3):
        alone = layer(steps.select(torch.tensor([row])))
        torch.testing.assert_close(whole[row], alone[0], rtol=0, atol=1e-13)


def test_wrong_width_names_both():
    with pytest.raises(ValueError, match="60 units .* built for 50"):
        NormLinear(50, 8)(random_steps(60, 5))


@pytest.mark.parametrize("hidden", [16, 40])
def test_unit_text_init_is_exact_where_the_hidden_layer_is_wide_enough(hidden):
    torch.manual_seed(0)
    projector = LinearSiLU(30, 8, hidden=hidden).double()
    embeddings = torch.randn(30, 8, dtype=torch.float64)
    projector.init_from_embeddings(embeddings)
    ids = torch.arange(30)[None, :, None]
    steps = PosteriorSteps(ids, torch.ones(1, 30, 1).double(), torch.tensor([30]), 30)
    torch.testing.assert_close(projector(steps)[0], embeddings, rtol=0, atol=1e-12)


def test_unit_text_init_keeps_the_leading_directions_of_wider_embeddings():
    torch.manual_seed(0)
    embeddings = torch.randn(30, 3, dtype=torch.float64) @ torch.randn(3, 8, dtype=torch.float64)
    projector = LinearSiLU(30, 8, hidden=6).double()
    projector.init_from_embeddings(embeddings)
    ids = torch.arange(30)[None, :, None]
    steps = PosteriorSteps(ids, torch.ones(1, 30, 1).double(), torch.tensor([30]), 30)
    torch.testing.assert_close(projector(steps)[0], embeddings, rtol=0, atol=1e-12)
