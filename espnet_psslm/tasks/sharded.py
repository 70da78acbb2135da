"""Training in which each of several devices holds a part of the weights: FSDP2 (``use_fsdp2``).

ESPnet's trainer runs the epochs, keeps the best checkpoints and resumes. Where it would wrap the
model in DDP the model is sharded instead, and before it saves, all processes bring the trained
weights together: a checkpoint is the one that a single device would have written, and any number of
processes resumes from it. Sharded layers gather their weights when they are called, so that all
processes must call them equally often.
"""

import functools
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from espnet2.train.abs_espnet_model import AbsESPnetModel
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import SubReporter
from espnet2.train.trainer import Trainer
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from espnet_psslm.common.replaced import replaced
from espnet_psslm.device import HOST, is_host
from espnet_psslm.llm.prefix_cache import PrefixCache


class ShardedTrainer(Trainer):
    """ESPnet's trainer for models of which no process holds all weights."""

    before_saving: Callable[[int], None]  # of the epoch; every process calls it

    @classmethod
    def run_wrapped(cls, wrap: Callable[[nn.Module], nn.Module], **options: Any) -> None:
        """:meth:`Trainer.run`, with ``wrap`` in place of ``DistributedDataParallel``."""

        def start(model: nn.Module, **_for_ddp: object) -> nn.Module:
            for module in model.modules():
                if isinstance(module, PrefixCache):
                    module.read_all = True
            return wrap(model)

        with replaced(nn.parallel, "DistributedDataParallel", start):
            super().run(**options)

    @classmethod
    def validate_one_epoch(cls, *, model: nn.Module, reporter: SubReporter, **options: Any) -> None:
        """See :meth:`Trainer.validate_one_epoch`; a checkpoint is written behind it."""
        super().validate_one_epoch(model=model, reporter=reporter, **options)
        cls.before_saving(reporter.get_epoch())


class FSDP2Trainer(ShardedTrainer):
    """Weights, gradients and optimizer states are sharded over all devices."""

    @classmethod
    def run(
        cls,
        *,
        model: AbsESPnetModel,
        optimizers: Sequence[torch.optim.Optimizer],
        distributed_option: DistributedOption,
        **options: Any,
    ) -> None:
        if not distributed_option.distributed:
            logging.warning("use_fsdp2 with one process: nothing is sharded")
        cls.before_saving = Together(model, optimizers).gather

        def wrap(model: nn.Module) -> nn.Module:
            shard(model, optimizers)
            return model

        clip = functools.partial(_clip, nn.utils.clip_grad_norm_)
        with replaced(nn.utils, "clip_grad_norm_", clip):
            cls.run_wrapped(
                wrap,
                model=model,
                optimizers=optimizers,
                distributed_option=distributed_option,
                **options,
            )


def _clip(plain: Callable[..., Tensor], *args: Any, **options: Any) -> Tensor:
    """``clip_grad_norm_`` that gives the norm as a plain number, which ESPnet reports."""
    norm = plain(*args, **options)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def shard(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Shard a model over all processes, and what its optimizers hold with it.

    The layers that its Hugging Face parts name as units are gathered one by one, all else together.
    An acoustic model beside a bridge stays whole: it hears only the batches that have audio.

    Args:
        model: on its device, the same in all processes.
        optimizers: of its parameters; they may have been resumed.
    """
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    names = {parameter: name for name, parameter in model.named_parameters()}
    acoustic = getattr(model, "acoustic", None)
    whole = set() if acoustic is None else set(acoustic.modules())
    kinds = {
        kind
        for module in model.modules()
        for kind in getattr(module, "_no_split_modules", None) or ()
    }
    layers = [m for m in model.modules() if type(m).__name__ in kinds and m not in whole]
    ignored = {parameter for module in whole for parameter in module.parameters()}
    parts = [fully_shard(part, mesh=mesh, ignored_params=ignored) for part in (*layers, model)]
    if is_host(device):
        for part in parts:
            part.set_force_sum_reduction_for_comms(True)  # its backend (gloo) takes no means
    sharded = dict(model.named_parameters())
    for optimizer in optimizers:
        _follow(optimizer, {old: sharded[name] for old, name in names.items()})
    logging.info("%d layers and the rest of the model sharded over %s", len(layers), mesh)


def _follow(optimizer: torch.optim.Optimizer, sharded: dict[nn.Parameter, nn.Parameter]) -> None:
    """Let an optimizer update sharded parameters in place of those that it was made for."""
    state: dict[nn.Parameter, dict[str, Any]] = defaultdict(dict)
    for group in optimizer.param_groups:
        for old in group["params"]:
            new = sharded[old]
            for name, value in optimizer.state.get(old, {}).items():
                if isinstance(value, Tensor) and value.shape == old.shape:
                    value = distribute_tensor(value, new.device_mesh, new.placements)
                state[new][name] = value
        group["params"] = [sharded[old] for old in group["params"]]
    optimizer.state = state


class Together:
    """Puts whole weights in place of shards in what the first process saves.

    Args:
        model: of the training.
        optimizers: likewise.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.model = model
        self.optimizers = optimizers
        self.weights: dict[str, Tensor] = {}
        self.states: dict[torch.optim.Optimizer, dict[int, dict[str, Any]]] = {}
        # A method takes no attributes, and torch marks such a hook with one.
        model.register_state_dict_post_hook(functools.partial(self._replace_weights))
        for optimizer in optimizers:
            optimizer.register_state_dict_post_hook(self._replace_states)

    def gather(self, epoch: int) -> None:
        """Bring everything to the first process; all call it, at the end of an epoch."""
        self.weights, self.states = {}, {}
        weights = {n: v for n, v in self.model.state_dict().items() if isinstance(v, DTensor)}
        self.weights = {name: _whole(value) for name, value in weights.items()}
        for optimizer in self.optimizers:
            self.states[optimizer] = {
                index: {name: _whole(value) for name, value in state.items()}
                for index, state in optimizer.state_dict()["state"].items()
            }

    def _replace_weights(
        self, module: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: dict
    ) -> None:
        for name, value in self.weights.items():
            if prefix + name in state:
                state[prefix + name] = value

    def _replace_states(
        self, optimizer: torch.optim.Optimizer, state: dict[str, Any]
    ) -> dict[str, Any]:
        return state | {"state": self.states.get(optimizer, state["state"])}


def _whole(value: Any) -> Any:
    """A sharded tensor in full, on the host of the first process; anything else as it is."""
    if not isinstance(value, DTensor):
        return value
    whole = value.full_tensor()
    return whole.to(HOST) if torch.distributed.get_rank() == 0 else whole.new_empty(0)
