import pytest
import torch

from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.bridge.steps import PosteriorSteps

NUM_UNITS, WIDTH = 20, 6


def one_hot_steps():
    ids = torch.arange(NUM_UNITS)[None, :, None]
    return PosteriorSteps(ids, torch.ones(ids.shape), torch.tensor([NUM_UNITS]), NUM_UNITS)


def projector_from(embeddings, hidden):
    torch.manual_seed(0)
    projector = LinearSiLU(NUM_UNITS, WIDTH, hidden=hidden).double()
    projector.init_from_embeddings(embeddings)
    return projector


@pytest.fixture
def embeddings():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(NUM_UNITS, WIDTH, generator=generator, dtype=torch.float64) + 3.0


@pytest.mark.parametrize("hidden", [2 * WIDTH, 2 * WIDTH + 5])
def test_one_hot_steps_become_their_embeddings(embeddings, hidden):
    out = projector_from(embeddings, hidden)(one_hot_steps())
    torch.testing.assert_close(out[0], embeddings)


def test_between_one_hot_steps_it_is_linear(embeddings):
    projector = projector_from(embeddings, 2 * WIDTH)
    # LayerNorm scales a flatter row by another factor; the direction is the mixture's.
    probs = torch.tensor([[[0.7, 0.3]]])
    steps = PosteriorSteps(torch.tensor([[[4, 9]]]), probs, torch.tensor([1]), NUM_UNITS)
    mean = embeddings.mean(0)
    got = projector(steps)[0, 0] - mean
    expected = 0.7 * (embeddings[4] - mean) + 0.3 * (embeddings[9] - mean)
    cosine = torch.nn.functional.cosine_similarity(got, expected, dim=0)
    assert cosine.item() == pytest.approx(1.0, abs=1e-6)


def test_few_units_below_a_wide_language_model():
    """There are as many directions as units, fewer than half of the hidden units can carry."""
    torch.manual_seed(0)
    table = torch.randn(NUM_UNITS, 30, dtype=torch.float64) + 3.0
    projector = LinearSiLU(NUM_UNITS, 30, hidden=50).double()
    projector.init_from_embeddings(table)
    torch.testing.assert_close(projector(one_hot_steps())[0], table)


def test_narrow_layer_keeps_the_leading_directions(embeddings):
    low_rank = embeddings[:, :2] @ torch.eye(2, WIDTH, dtype=torch.float64) + 1.0
    out = projector_from(low_rank, hidden=4)(one_hot_steps())
    torch.testing.assert_close(out[0], low_rank)


def test_spare_hidden_units_can_learn(embeddings):
    projector = projector_from(embeddings, 2 * WIDTH + 5)
    projector(one_hot_steps()).square().sum().backward()
    assert projector.output.weight.grad[:, 2 * WIDTH :].abs().min() > 0


def test_other_vocabulary_is_named():
    with pytest.raises(ValueError, match="steps over 20 units .* built for 21"):
        LinearSiLU(21, WIDTH, hidden=8)(one_hot_steps())
