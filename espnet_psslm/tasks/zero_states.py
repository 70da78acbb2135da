"""Optimizer states that DeepSpeed divided among processes, beside ``checkpoint.pth``."""

from pathlib import Path

from espnet_psslm.common.tensors import load_tensors

STATES = "zero"  # folder of the divided optimizer states, one folder an epoch


def saved_epoch(folder: Path, *, num_processes: int) -> str | None:
    """The epoch that a training goes on from, whose states these processes must have divided.

    Args:
        folder: of the training.
        num_processes: that resume with DeepSpeed; 0 where it is not used.

    Returns:
        The name of its folder of states; None if the training is to begin.

    Raises:
        ValueError: if another number of processes divided the states.
    """
    checkpoint = folder / "checkpoint.pth"
    if not checkpoint.is_file():
        return None
    state = load_tensors(checkpoint)
    epoch = str(state["reporter"]["epoch"])
    states = folder / STATES / epoch
    parts = len(list(states.glob("*_optim_states.pt")))
    if parts not in (0, num_processes):
        these = (
            f"{num_processes} processes" if num_processes else "one process, or without DeepSpeed"
        )
        raise ValueError(
            f"{states}: {parts} processes with DeepSpeed hold a part each of the optimizer's "
            f"states, which cannot be resumed in {these}: start {parts} with --use_deepspeed true, "
            f"or anew with --init_param {folder}/{epoch}epoch.pth in another output_dir"
        )
    return epoch
