"""How a task trains on several devices: DDP, FSDP2 or DeepSpeed, by configuration."""

import argparse
import os
from contextlib import ExitStack
from pathlib import Path

from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.tasks.abs_task import IteratorOptions
from espnet2.train.distributed_utils import get_rank
from espnet2.train.trainer import Trainer
from espnet2.utils.types import str2bool

from espnet_psslm.atomic import remove_strays
from espnet_psslm.checkpoint import atomic_saves, safe_loads
from espnet_psslm.common.lock import folder_lock
from espnet_psslm.common.replaced import replaced
from espnet_psslm.tasks.zero_states import STATES, saved_epoch
from espnet_psslm.training.divergence import watched
from espnet_psslm.training.resume import complete_epoch
from espnet_psslm.training.saving import atomic_outputs


class SeveralDevices:
    """Mixin of an ESPnet task: ``--use_fsdp2``, and ``--use_deepspeed`` for every model."""

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the option to those of the task."""
        super().add_task_arguments(parser)
        parser.add_argument_group("Several devices").add_argument(
            "--use_fsdp2",
            type=str2bool,
            default=False,
            help="Shard weights, gradients and optimizer states over all devices (FSDP2), in place "
            "of a copy on each (DDP)",
        )

    @classmethod
    def plain_trainer(cls, args: argparse.Namespace) -> type[Trainer]:
        """The trainer of one device, and of DDP."""
        return Trainer

    @classmethod
    def build_sequence_iter_factory(
        cls, args: argparse.Namespace, iter_options: IteratorOptions, mode: str
    ) -> AbsIterFactory:
        """ESPnet's batches, of which each process takes a part.

        Raises:
            ValueError: if a batch has fewer samples than there are processes.
        """
        try:
            return super().build_sequence_iter_factory(args, iter_options, mode)
        except RuntimeError as error:
            if "world_size" not in str(error):
                raise
            raise ValueError(
                f"{mode} data: {error}: set a larger batch_size or batch_bins, give it more "
                "samples, or use fewer processes"
            ) from error

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """ESPnet's, with the trainer that the configuration asks for.

        Raises:
            ValueError: if options contradict each other, or a training cannot be resumed by them.
        """
        cls.trainer = cls.plain_trainer(args)
        _check_options(args, plain=cls.trainer is Trainer)
        _check_data(args)
        by_deepspeed = args.use_deepspeed and args.distributed
        with ExitStack() as stack:
            if _is_first(args):
                stack.enter_context(folder_lock(args.output_dir))
            stack.enter_context(atomic_saves())
            stack.enter_context(atomic_outputs())
            stack.enter_context(safe_loads())
            if args.resume and not by_deepspeed and Path(args.output_dir, STATES).is_dir():
                saved_epoch(Path(args.output_dir), num_processes=0)
            if _is_first(args):
                _tidy(args)
            if args.use_fsdp2:
                from espnet_psslm.tasks.sharded import FSDP2Trainer

                cls.trainer = watched(FSDP2Trainer)
            elif by_deepspeed:
                if args.ngpu == 0 and args.local_rank is None:
                    args.local_rank = 0  # ESPnet would tell DeepSpeed "None"
                stack.enter_context(_our_deepspeed_trainer())
            else:
                cls.trainer = watched(cls.trainer)
            super().main_worker(args)


def _tidy(args: argparse.Namespace) -> None:
    """Mend what a training left that was killed at a bad moment."""
    folder = Path(args.output_dir)
    remove_strays(folder)
    if args.resume:
        keep = args.keep_nbest_models
        complete_epoch(
            folder,
            criteria=args.best_model_criterion,
            keep=keep if isinstance(keep, int) else max(keep, default=1),
        )


def _is_first(args: argparse.Namespace) -> bool:
    """Whether this process writes what a training leaves."""
    return not args.distributed or get_rank(args.dist_rank, args.dist_launcher) == 0


def _our_deepspeed_trainer() -> object:
    """ESPnet imports its DeepSpeed trainer where it needs it; it finds ours."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # ESPnet reads it
    import espnet2.train.deepspeed_trainer as espnets

    from espnet_psslm.tasks.zero import ZeROTrainer

    return replaced(espnets, "DeepSpeedTrainer", watched(ZeROTrainer))


def _check_data(args: argparse.Namespace) -> None:
    for name in ("train", "valid"):
        option = f"{name}_data_path_and_name_and_type"
        if not getattr(args, option) and not args.dry_run:
            raise ValueError(f"--{option} is not set; it names a file, a name and a type")


def _check_options(args: argparse.Namespace, *, plain: bool) -> None:
    ways = [name for name in ("use_fsdp2", "use_deepspeed", "sharded_ddp") if getattr(args, name)]
    if len(ways) > 1:
        raise ValueError(f"{' and '.join(ways)}: set one of them")
    if not ways:
        return
    if not plain:
        raise ValueError(
            f"{ways[0]} with encoder_conf: unfreeze, which changes what is trained meanwhile; "
            "train on with another freeze and --init_param, or by DDP (unused_parameters: true)"
        )
    if getattr(args, "tuning", None) == "prefix":
        raise ValueError(
            f"{ways[0]} with tuning: prefix, where each process trains the prompts of its batch; "
            "train by DDP (unused_parameters: true)"
        )
