"""A gradient's memory is used again, and never while anything still sees it."""

import copy
import gc

import pytest
import torch

from espnet_psslm.bridge.closed_form import NormLinear
from espnet_psslm.bridge.gradient_memory import gradient_like
from espnet_psslm.bridge.sparse_linear import StepsLinear
from tests.unit.bridge.test_closed_form import random_steps


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_next_gradient_lies_where_the_last_one_lay(dtype):
    table = torch.zeros(5, 3, dtype=dtype)
    first = gradient_like(table)
    assert (first.shape, first.dtype) == (table.shape, table.dtype)
    place = first.data_ptr()
    del first
    assert gradient_like(table).data_ptr() == place


def test_memory_in_use_is_left_alone():
    table = torch.zeros(5, 3)
    view = gradient_like(table).fill_(1.0)[2:, 1]
    other = gradient_like(table).fill_(2.0)
    assert view.tolist() == [1.0] * 3 and other.tolist() == [[2.0] * 3] * 5


def test_tables_have_memory_of_their_own():
    one, two = torch.zeros(4), torch.zeros(4)
    first = gradient_like(one).fill_(1.0)
    assert gradient_like(two).data_ptr() != first.data_ptr()
    place = first.data_ptr()
    del first, two
    gc.collect()
    assert gradient_like(one).data_ptr() == place


def test_a_table_of_another_size_gets_another_size():
    table = torch.zeros(4)
    gradient_like(table)
    table.data = torch.zeros(9, dtype=torch.float64)
    assert gradient_like(table).shape == (9,) and gradient_like(table).dtype == torch.float64


def make(kind):
    torch.manual_seed(0)
    return (NormLinear(30, 8) if kind == "norm" else StepsLinear(30, 8, stack=2)).double()


@pytest.mark.parametrize("kind", ["norm", "stacked"])
def test_training_steps_share_memory_and_have_their_own_gradients(kind):
    layer, places = make(kind), set()
    for seed in range(3):
        steps = random_steps(30, 4, seed=seed)
        layer.zero_grad()
        layer(steps).square().sum().backward()
        places.add(layer.weight.grad.data_ptr())
        fresh = copy.deepcopy(layer)
        fresh.zero_grad()
        fresh(steps).square().sum().backward()
        assert torch.equal(layer.weight.grad, fresh.weight.grad)
    assert len(places) == 1


@pytest.mark.parametrize("kind", ["norm", "stacked"])
def test_accumulated_gradients_are_sums(kind):
    layer, steps = make(kind), [random_steps(30, 4, seed=seed) for seed in range(2)]
    singles = []
    for one in steps:
        layer.zero_grad()
        layer(one).square().sum().backward()
        singles.append(layer.weight.grad.clone())
    layer.zero_grad()
    for one in steps:
        layer(one).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, sum(singles), rtol=0.0, atol=1e-12)
