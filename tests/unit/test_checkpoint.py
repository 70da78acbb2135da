"""Checkpoints without frozen weights; loading that never drops a weight in silence."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from espnet_psslm.checkpoint import check_on_load, drop_frozen_from_state_dict


class Part(nn.Module):
    """A frozen layer with statistics, and a trained one."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.trained = nn.Linear(2, 3)
        self.register_buffer("scratch", torch.zeros(1), persistent=False)
        self.fixed.requires_grad_(False)
        drop_frozen_from_state_dict(self)


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = Part()
        self.head = nn.Linear(3, 4)


TRAINED = ["part.trained.weight", "part.trained.bias", "head.weight", "head.bias"]


def test_frozen_weights_and_statistics_are_left_out() -> None:
    assert list(Whole().state_dict()) == TRAINED


@pytest.mark.parametrize("strict", [True, False])
def test_load_restores_trained_and_keeps_frozen(tmp_path: Path, strict: bool) -> None:
    source, target = Whole(), Whole()
    torch.save(source.state_dict(), tmp_path / "model.pth")
    frozen = target.part.fixed[0].weight.clone()
    target.load_state_dict(torch.load(tmp_path / "model.pth"), strict=strict)
    assert torch.equal(target.head.weight, source.head.weight)
    assert torch.equal(target.part.trained.weight, source.part.trained.weight)
    assert torch.equal(target.part.fixed[0].weight, frozen)


def test_frozen_weights_in_a_file_are_used() -> None:
    source, target = Whole(), Whole()
    full = {**source.state_dict(), **dict(source.named_parameters())}
    target.load_state_dict(full)
    assert torch.equal(target.part.fixed[0].weight, source.part.fixed[0].weight)


def test_frozen_later_is_still_saved() -> None:
    """Weights that no other source can restore stay in checkpoints."""
    model = Whole()
    model.requires_grad_(False)
    assert list(model.state_dict()) == TRAINED


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("loaded", [Whole, Part])
def test_differences_raise_with_names(loaded: type[nn.Module], strict: bool) -> None:
    model = loaded()
    prefix = "part." if loaded is Whole else ""
    good = model.state_dict()
    cases = {
        "1 unexpected \\(surplus\\)": {**good, f"{prefix}surplus": torch.zeros(1)},
        "1 missing \\(trained.bias\\)": {
            name: value for name, value in good.items() if name != f"{prefix}trained.bias"
        },
        r"trained.weight \(5, 2\) in the file, \(3, 2\) in the model": {
            **good,
            f"{prefix}trained.weight": torch.zeros(5, 2),
        },
        # Checked as well where the file holds frozen weights.
        r"fixed.0.bias \(7,\) in the file": {**good, f"{prefix}fixed.0.bias": torch.zeros(7)},
    }
    for reason, state in cases.items():
        with pytest.raises(ValueError, match=reason):
            model.load_state_dict(state, strict=strict)


def test_check_on_the_whole_model() -> None:
    model = Whole()
    check_on_load(model)
    state = model.state_dict()
    model.load_state_dict(state)
    with pytest.raises(ValueError, match=r"Whole: weights 1 of other shape \(head.weight \(9, 3\)"):
        model.load_state_dict({**state, "head.weight": torch.zeros(9, 3)}, strict=False)
    with pytest.raises(ValueError, match="2 unexpected"):
        unknown = {"x": torch.zeros(1), "part.y": torch.zeros(1)}
        model.load_state_dict({**state, **unknown}, strict=False)


def test_average_and_copy() -> None:
    """ESPnet averages checkpoints key by key; a copied module keeps its hooks."""
    first, second = Whole().state_dict(), Whole().state_dict()
    mean = {name: (first[name] + second[name]) / 2 for name in first}
    model = copy.deepcopy(Whole())
    model.load_state_dict(mean, strict=True)
    assert torch.equal(model.head.bias, mean["head.bias"])
    assert list(model.state_dict()) == TRAINED


def test_tied_weights() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    model.requires_grad_(False)
    drop_frozen_from_state_dict(model)
    assert not model.state_dict()
    model.load_state_dict({})
