"""Warm-up and cosine, for each group's own learning rate."""

import math

import torch
from espnet2.schedulers.abs_scheduler import AbsBatchStepScheduler
from espnet2.tasks.abs_task import scheduler_classes
from torch.optim.lr_scheduler import LRScheduler


class WarmupCosineLR(LRScheduler, AbsBatchStepScheduler):
    """ESPnet scheduler ``warmupcosinelr``: linearly up, then half a cosine down; then it stays.

    ESPnet's own cosine (``cosineannealingwarmuprestarts``) sets one rate for all groups, which
    ``--lr_scale`` would mean nothing to.

    Args:
        optimizer: its groups' present rates are the highest ones.
        max_steps: updates until the lowest rate.
        warmup_steps: updates until the highest rate.
        final_lr_scale: lowest rate as a share of the highest.
        last_epoch: torch's; -1 for a new schedule.

    Raises:
        ValueError: if the warm-up is as long as the whole.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        max_steps: int,
        warmup_steps: int = 0,
        final_lr_scale: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= warmup_steps < max_steps:
            raise ValueError(
                f"scheduler_conf: warmup_steps {warmup_steps} must be less than max_steps "
                f"{max_steps}, and not negative"
            )
        self.max_steps = max_steps
        self.warmup_steps = warmup_steps
        self.final_lr_scale = final_lr_scale
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The groups' rates after ``last_epoch`` updates."""
        return [rate * self._scale(self.last_epoch) for rate in self.base_lrs]

    def _scale(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        done = min((step - self.warmup_steps) / (self.max_steps - self.warmup_steps), 1.0)
        return self.final_lr_scale + (1 - self.final_lr_scale) * (1 + math.cos(math.pi * done)) / 2


# Here, and not in the registry, which imports ESPnet's ASR task: that takes seconds.
scheduler_classes["warmupcosinelr"] = WarmupCosineLR
