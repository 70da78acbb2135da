"""A training that diverges ends with an error.

ESPnet's trainer leaves out every update whose gradient is NaN, warns, and in the end averages and
links checkpoints that look as good as any. Here the first epoch in which nothing can be learned or
judged any more raises, before anything of it is saved: what is there is of the epochs before.
"""

from typing import Any

import numpy as np
from espnet2.train.reporter import SubReporter, aggregate
from espnet2.train.trainer import Trainer, TrainerOptions

REMEDY = (
    "lower the learning rate (optim_conf: lr), warm up longer, or look for broken samples; "
    "{folder}/checkpoint.pth, if there, is of an epoch before"
)


def watched(trainer: type[Trainer]) -> type[Trainer]:
    """The same trainer, which notices that a training diverges."""
    return type(f"Watched{trainer.__name__}", (_Watched, trainer), {})


class _Watched:
    """Mixin of a trainer."""

    @classmethod
    def train_one_epoch(
        cls, *, reporter: SubReporter, options: TrainerOptions, **rest: Any
    ) -> bool:
        if super().train_one_epoch(reporter=reporter, options=options, **rest):
            raise ValueError(_no_update(reporter, options))
        return False

    @classmethod
    def validate_one_epoch(
        cls, *, reporter: SubReporter, options: TrainerOptions, **rest: Any
    ) -> None:
        super().validate_one_epoch(reporter=reporter, options=options, **rest)
        if reporter.stats.get("loss") and not np.isfinite(_loss(reporter)):
            raise ValueError(
                f"epoch {reporter.get_epoch()}: every loss on the validation set is NaN or "
                f"infinite, the training diverged: {REMEDY.format(folder=options.output_dir)}"
            )


def _no_update(reporter: SubReporter, options: TrainerOptions) -> str:
    epoch = f"epoch {reporter.get_epoch()}: the weights were never updated"
    if not reporter.stats.get("loss"):
        return f"{epoch}: there was no batch; give more training data"
    if reporter.count < options.accum_grad:
        return (
            f"{epoch}: accum_grad {options.accum_grad} is more than the {reporter.count} batches "
            "of an epoch; lower it"
        )
    what = "gradient" if np.isfinite(_loss(reporter)) else "loss"
    return (
        f"{epoch}: every {what} is NaN or infinite, the training diverged: "
        f"{REMEDY.format(folder=options.output_dir)}"
    )


def _loss(reporter: SubReporter) -> float:
    """Mean of the losses that are finite; NaN where none is."""
    return float(aggregate(reporter.stats["loss"]))
