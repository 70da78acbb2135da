"""ESPnet's optimizers, with learning rates by part of a model, and in one pass where torch can."""

import argparse
import logging
from typing import Any

import torch
from espnet2.utils.nested_dict_action import NestedDictAction
from torch import nn

from espnet_psslm.device import has_one_pass_updates
from espnet_psslm.tasks import schedulers  # noqa: F401  # all our tasks have our schedule

FUSED = ("adam", "adamw")
ONE_RATE = ("cosineannealingwarmuprestarts", "onecyclelr", "cycliclr")


def scale_learning_rates(
    optimizer: torch.optim.Optimizer, model: nn.Module, scales: dict[str, float]
) -> None:
    """Give parts of a model their own learning rate.

    Schedules that work from each group's own rate keep the ratio (``tristagelr``,
    ``warmupcosinelr``, ``warmuplr``, ``noamlr``); those of ``ONE_RATE`` set one rate for all.

    Args:
        optimizer: fresh; its parameters are sorted into groups here.
        model: where the names come from.
        scales: by the beginning of a parameter's name, a factor on ``lr``; the longest
            beginning that fits counts.

    Raises:
        ValueError: if a beginning fits no parameter that is trained.
    """
    scale_of, used = {}, set()
    for name, parameter in model.named_parameters():
        fits = [prefix for prefix in scales if name.startswith(prefix)]
        if fits and parameter.requires_grad:
            used.add(longest := max(fits, key=len))
            scale_of[parameter] = float(scales[longest])
    if unused := scales.keys() - used:
        raise ValueError(
            f"lr_scale names {sorted(unused)}, but no trained parameter begins so; trained are "
            + ", ".join(name for name, p in model.named_parameters() if p.requires_grad)
        )
    groups = []
    for group in optimizer.param_groups:
        by_scale: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_scale.setdefault(scale_of.get(parameter, 1.0), []).append(parameter)
        groups += [
            group | {"params": parameters, "lr": group["lr"] * scale}
            for scale, parameters in by_scale.items()
        ]
    optimizer.param_groups[:] = groups
    for group in groups:
        trained = sum(parameter.requires_grad for parameter in group["params"])
        logging.info("%d trained tensors learn at %g", trained, group["lr"])


def _flat(scales: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Names with dots; the command line splits ``a.b=0.1`` into ``{"a": {"b": 0.1}}``."""
    flat: dict[str, float] = {}
    for name, value in scales.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = float(value)
    return flat


def as_numbers(conf: dict[str, Any]) -> dict[str, Any]:
    """Numbers in place of strings: YAML 1.1 takes ``1e-3`` for a word; a number has a point."""
    numbers = {}
    for name, value in conf.items():
        try:
            numbers[name] = float(value) if isinstance(value, str) else value
        except ValueError:
            numbers[name] = value
    return numbers


def fused_options(args: argparse.Namespace, model: nn.Module) -> dict[str, Any]:
    """``optim_conf``, with ``fused`` where torch updates such weights in one pass.

    The same update: torch's default makes several tensors as large as each weight on the way, which
    for the first layer behind a CTC vocabulary costs as much as the layer. ``fused`` or ``foreach``
    in ``optim_conf`` count.
    """
    conf = dict(args.optim_conf)
    if args.optim in FUSED and has_one_pass_updates(model.parameters()) and not conf.keys() & {
        "fused", "foreach", "capturable", "differentiable",
    }:  # fmt: skip
        conf["fused"] = True
    return conf


class GroupedOptimizers:
    """Mixin of an ESPnet task: ``--lr_scale`` gives parts of the model their own rate."""

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the option to those of the task."""
        super().add_task_arguments(parser)
        parser.add_argument_group("Learning rates").add_argument(
            "--lr_scale",
            action=NestedDictAction,
            default={},
            help="Factors on the learning rate by beginning of the parameters' names, "
            "e.g. projector.input.weight=0.1",
        )

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: nn.Module
    ) -> list[torch.optim.Optimizer]:
        """ESPnet's optimizers, their parameters grouped by learning rate.

        Raises:
            ValueError: if a name fits no trained parameter, or the schedule undoes the groups.
        """
        # The schedule is built from the same arguments, afterwards.
        args.optim_conf = as_numbers(args.optim_conf)
        args.scheduler_conf = as_numbers(args.scheduler_conf)
        fused = argparse.Namespace(**vars(args) | {"optim_conf": fused_options(args, model)})
        optimizers = super().build_optimizers(fused, model)
        if scales := _flat(args.lr_scale):
            if args.scheduler in ONE_RATE:
                raise ValueError(
                    f"scheduler: {args.scheduler} sets one rate for all parts, against lr_scale; "
                    "set scheduler: warmupcosinelr or tristagelr"
                )
            for optimizer in optimizers:
                scale_learning_rates(optimizer, model, scales)
        return optimizers
