"""Learning rates by part of a model, and updates in one pass."""

import pytest
import torch
from torch import nn

from espnet_psslm.tasks.optimizers import scale_learning_rates


def build():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    model[2].requires_grad_(False)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.5)


def rates(model, optimizer):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: g["lr"] for g in optimizer.param_groups for p in g["params"]}


def test_longest_beginning_counts_and_all_parameters_stay():
    model, optimizer = build()
    scale_learning_rates(optimizer, model, {"0.": 0.1, "0.bias": 2.0})
    expected = {name: 1e-2 for name, _ in model.named_parameters()}
    expected |= {"0.weight": 1e-3, "0.bias": 2e-2}
    assert rates(model, optimizer) == pytest.approx(expected)
    assert all(group["weight_decay"] == 0.5 for group in optimizer.param_groups)


def test_schedules_keep_the_ratio():
    model, optimizer = build()
    scale_learning_rates(optimizer, model, {"1.": 0.5})
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (1 + step))
    optimizer.step()
    schedule.step()
    got = rates(model, optimizer)
    assert got["0.weight"] == pytest.approx(5e-3)
    assert got["1.weight"] == pytest.approx(2.5e-3)


def test_a_step_moves_each_part_by_its_rate():
    model, _ = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scale_learning_rates(optimizer, model, {"0.": 0.25})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = {name: (before[name] - p).mean().item() for name, p in model.named_parameters()}
    assert moved["0.weight"] == pytest.approx(0.25)
    assert moved["1.weight"] == pytest.approx(1.0)


def test_command_line_and_yaml_name_the_same_part():
    from espnet_psslm.tasks.psslm import PSSLMTask

    parser = PSSLMTask.get_parser()
    model = nn.ModuleDict({"projector": nn.ModuleDict({"input": nn.Linear(2, 2)})})
    yaml = {"projector.input.weight": 0.5}
    rate = {}
    for name, options in {"yaml": [], "both": ["--lr_scale", "projector.input.weight=0.1"]}.items():
        parser.set_defaults(lr_scale=yaml, optim="sgd", optim_conf={"lr": 1.0})
        args = parser.parse_args(options)
        (optimizer,) = PSSLMTask.build_optimizers(args, model)
        rate[name] = rates(model, optimizer)
    assert rate["yaml"] == {"projector.input.weight": 0.5, "projector.input.bias": 1.0}
    assert rate["both"] == {"projector.input.weight": 0.1, "projector.input.bias": 1.0}


def test_rates_may_be_written_without_a_point():
    """``--optim_conf lr=1e-3``, as the heads of settings have it; YAML reads a string."""
    from espnet_psslm.tasks.psslm import PSSLMTask

    options = ["--optim", "adamw", "--optim_conf", "lr=1e-3", "--optim_conf", "betas=[0.9,0.98]"]
    options += ["--scheduler", "reducelronplateau"]
    options += ["--scheduler_conf", "mode=max", "--scheduler_conf", "min_lr=1e-5"]
    args = PSSLMTask.get_parser().parse_args(options)
    (optimizer,) = PSSLMTask.build_optimizers(args, nn.Linear(2, 2))
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-3, (0.9, 0.98))
    assert args.scheduler_conf == {"mode": "max", "min_lr": 1e-5}


@pytest.mark.parametrize("name", ["3.", "2.weight"])  # unknown; frozen
def test_a_name_that_scales_nothing_is_an_error(name):
    model, optimizer = build()
    with pytest.raises(ValueError, match=r"lr_scale names .* but no trained parameter"):
        scale_learning_rates(optimizer, model, {name: 0.1})


def adam(*options):
    from espnet_psslm.tasks.psslm import PSSLMTask

    args = PSSLMTask.get_parser().parse_args(
        [*("--optim", "adamw", "--optim_conf", "lr=0.1"), *options]
    )
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    (optimizer,) = PSSLMTask.build_optimizers(args, model)
    for step in range(3):
        optimizer.zero_grad()
        model(torch.full((1, 3), 1.0 + step)).square().sum().backward()
        optimizer.step()
    return optimizer.param_groups[0]["fused"], model.weight


def test_adam_is_fused_unless_told_otherwise_and_updates_alike():
    (first, ours), (second, theirs) = adam(), adam("--optim_conf", "fused=false")
    assert (first, second) == (True, False)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert adam("--optim_conf", "foreach=true")[0] is None
