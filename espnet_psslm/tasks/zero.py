"""DeepSpeed ZeRO (``use_deepspeed``), with the losses, checkpoints and options of ESPnet's trainer.

ESPnet's own DeepSpeed trainer takes a model's mean over a batch for a sum, writes no
``EPOCHepoch.pth``, and knows CUDA only. Here optimizer, schedule, clipping and accumulation are
those of the configuration, and the JSON of ``deepspeed_config`` says how weights and states are
divided. The optimizer's states stay as DeepSpeed divides them, in ``zero/EPOCH``: only as many
processes resume from them. ``checkpoint.pth``, written behind them, names the epoch to go on from.
"""

import argparse
import dataclasses
import functools
import logging
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from espnet2.schedulers.abs_scheduler import AbsEpochStepScheduler, AbsValEpochStepScheduler
from espnet2.torch_utils.device_funcs import to_device
from espnet2.torch_utils.recursive_op import recursive_average
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import SubReporter
from espnet2.train.trainer import TrainerOptions
from espnet2.utils.build_dataclass import build_dataclass
from torch import Tensor, nn

from espnet_psslm.common.json_files import read_json
from espnet_psslm.device import HOST, training_device
from espnet_psslm.tasks.sharded import ShardedTrainer
from espnet_psslm.tasks.zero_states import STATES, saved_epoch

OURS = {  # what the JSON must leave to the configuration
    "optimizer": "optim",
    "scheduler": "scheduler",
    "gradient_clipping": "grad_clip",
    "gradient_accumulation_steps": "accum_grad",
    "train_batch_size": "batch_size or batch_bins",
    "bf16": "llm_conf: {dtype: bfloat16}, or torch_autocast in the JSON",
    "fp16": "llm_conf: {dtype: float16}, or torch_autocast in the JSON",
}


@dataclasses.dataclass
class ZeROOptions(TrainerOptions):
    """ESPnet's, and the JSON."""

    deepspeed_config: str | None


def read_deepspeed_config(path: str | None, *, options: TrainerOptions) -> dict[str, Any]:
    """DeepSpeed's configuration, with what ESPnet's says.

    Raises:
        ValueError: if there is none, or it sets what belongs into ESPnet's.
    """
    if path is None or not Path(path).is_file():
        raise ValueError(
            f"use_deepspeed with deepspeed_config: {path}; name a JSON file, such as "
            "conf/systems/deepspeed_zero2.json"
        )
    config = read_json(path)
    if twice := [f"{key} (set {OURS[key]})" for key in OURS if key in config]:
        raise ValueError(
            f"{path}: take out {', '.join(twice)}: one configuration is to hold for every way of "
            "training"
        )
    return config | {
        "train_micro_batch_size_per_gpu": 1,  # which DeepSpeed asks for; ESPnet makes the batches
        "gradient_accumulation_steps": options.accum_grad,
        "gradient_clipping": options.grad_clip,
        "zero_allow_untested_optimizer": True,
    }


class ZeROTrainer(ShardedTrainer):
    """Optimizer states, gradients (ZeRO-2) and weights (ZeRO-3) are divided by DeepSpeed."""

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> ZeROOptions:
        return build_dataclass(ZeROOptions, args)

    @classmethod
    def run(
        cls,
        *,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        schedulers: Sequence[Any],
        trainer_options: ZeROOptions,
        distributed_option: DistributedOption,
        **options: Any,
    ) -> None:
        import deepspeed

        config = read_deepspeed_config(trainer_options.deepspeed_config, options=trainer_options)
        stage = config.get("zero_optimization", {}).get("stage", 0)
        _check(model, schedulers, stage)
        folder = Path(trainer_options.output_dir)

        def wrap(model: nn.Module) -> nn.Module:
            engine, *_ = deepspeed.initialize(
                model=model,
                optimizer=optimizers[0],
                lr_scheduler=schedulers[0],
                config=config,
                dist_init_required=False,
            )
            saved = Saved(engine, folder)
            cls.before_saving = saved.save
            if trainer_options.resume:
                saved.load()
            return engine

        cls.run_wrapped(
            wrap,
            model=model,
            optimizers=[],  # DeepSpeed's now, with their schedules
            schedulers=[],
            trainer_options=trainer_options,
            distributed_option=distributed_option,
            **options,
        )

    @classmethod
    def train_one_epoch(
        cls,
        *,
        model: nn.Module,
        iterator: Iterable[tuple[list[str], dict[str, Any]]],
        reporter: SubReporter,
        options: ZeROOptions,
        **_others: Any,
    ) -> bool:
        """See :meth:`Trainer.train_one_epoch`; says whether every batch was invalid."""
        model.train()
        device = training_device(options.ngpu)
        ended = torch.zeros((), device=device)
        log_interval = options.log_interval or 100
        all_invalid, start = True, time.perf_counter()
        for count, (keys, batch) in enumerate(reporter.measure_iter_time(iterator, "iter_time"), 1):
            torch.distributed.all_reduce(ended)
            if ended > 0:
                break
            batch = to_device(batch | {"utt_id": keys}, device)
            with reporter.measure_time("forward_time"):
                loss, stats, weight = _weighted(*model(**batch))
            reporter.register(stats, weight)
            if not torch.isfinite(stats["loss"]).all():  # the mean of all processes: all leave it
                logging.warning("The loss is %s. Skipping updating the model.", stats["loss"])
                model.zero_grad()
            else:
                all_invalid = False
                with reporter.measure_time("backward_time"):
                    model.backward(loss)
                with reporter.measure_time("optim_step_time"):
                    model.step()
                norm = model.get_global_grad_norm()
                rates = {f"optim0_lr{i}": rate for i, rate in enumerate(model.get_lr())}
                if norm is not None:
                    rates["grad_norm"] = float(norm)
                reporter.register(rates | {"train_time": time.perf_counter() - start})
            start = time.perf_counter()
            reporter.next()
            if count % log_interval == 0:
                logging.info(reporter.log_message(-log_interval))
        else:
            torch.distributed.all_reduce(ended.fill_(1))
        return all_invalid


def _weighted(
    loss: Tensor, stats: dict[str, Tensor | None], weight: Tensor
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """A loss of which the mean over processes is the mean over all samples (or tokens)."""
    loss = (loss * weight.to(loss.dtype)).sum()
    stats, weight = recursive_average(
        {name: value for name, value in stats.items() if value is not None}, weight, True
    )
    return loss * torch.distributed.get_world_size() / weight, stats, weight


def _check(model: nn.Module, schedulers: Sequence[Any], stage: int) -> None:
    by_epoch = (AbsEpochStepScheduler, AbsValEpochStepScheduler)
    if other := [s for s in schedulers if isinstance(s, by_epoch)]:
        raise ValueError(
            f"scheduler {type(other[0]).__name__} steps once an epoch; DeepSpeed takes one that "
            "steps once a batch: set scheduler: warmupcosinelr"
        )
    if stage == 3 and getattr(model, "acoustic", None) is not None:
        raise ValueError(
            "ZeRO-3 gathers weights in all processes at once, and a batch without audio does not "
            "ask for the acoustic model's: dump the Steps (stage 8) and set source: no_audio, or "
            "use ZeRO-2 or use_fsdp2"
        )


class Saved:
    """What a checkpoint needs of all processes.

    Args:
        engine: DeepSpeed's.
        folder: of the training.
    """

    def __init__(self, engine: nn.Module, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.weights: dict[str, Tensor] = {}
        # A method takes no attributes, and torch marks such a hook with one.
        hook = functools.partial(self._replace_weights)
        engine.module.register_state_dict_post_hook(hook)

    def load(self) -> None:
        """Go on where ``checkpoint.pth`` ends, if there is one.

        Raises:
            ValueError: if the states are missing, or are those of more or fewer processes.
        """
        epoch = saved_epoch(self.folder, num_processes=torch.distributed.get_world_size())
        if epoch is None:
            return
        path, _ = self.engine.load_checkpoint(str(self.folder / STATES), tag=epoch)
        if path is None:
            raise ValueError(
                f"{self.folder / STATES / epoch} lacks the optimizer's states of epoch {epoch}: "
                "was the training begun without DeepSpeed? Start anew with --init_param "
                f"{self.folder}/{epoch}epoch.pth in another output_dir"
            )

    def save(self, epoch: int) -> None:
        """Write the divided states and gather the trained weights; all processes call it."""
        from deepspeed.runtime.zero import GatheredParameters

        states, self.weights = self.folder / STATES, {}
        if torch.distributed.get_rank() == 0 and states.is_dir():
            for old in states.iterdir():
                # checkpoint.pth still names the last one; DeepSpeed puts scripts beside them.
                if old.is_dir() and old.name != str(epoch - 1):
                    shutil.rmtree(old)
        torch.distributed.barrier()
        self.engine.save_checkpoint(
            str(states), tag=str(epoch), save_latest=False, exclude_frozen_parameters=True
        )
        module = self.engine.module
        with GatheredParameters([p for p in module.parameters() if p.requires_grad]):
            weights = module.state_dict()
            if torch.distributed.get_rank() == 0:
                self.weights = {n: value.to(HOST, copy=True) for n, value in weights.items()}

    def _replace_weights(
        self, module: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: dict
    ) -> None:
        for name, value in self.weights.items():
            state[prefix + name] = value
