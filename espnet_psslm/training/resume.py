"""Complete an epoch that was stopped while it was saved.

ESPnet's trainer writes ``checkpoint.pth``, from which a training goes on, then ``{N}epoch.pth``,
``latest.pth``, the links to the best epochs, and removes the epochs that are not among the best. A
training that is stopped between the first and the second never writes the second, and fails when it
averages the best epochs at its end, however often it is resumed.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from espnet2.train.reporter import Reporter

from espnet_psslm.atomic import atomic_file, atomic_link
from espnet_psslm.common.tensors import load_tensors

Criterion = Sequence[str]  # phase, value, "min" or "max"


def complete_epoch(folder: Path, *, criteria: Sequence[Criterion], keep: int) -> None:
    """Do what is missing of what stands behind ``checkpoint.pth``.

    Args:
        folder: of the training; without ``checkpoint.pth`` nothing is done.
        criteria: ``best_model_criterion``.
        keep: the largest of ``keep_nbest_models``.
    """
    checkpoint = folder / "checkpoint.pth"
    if not checkpoint.is_file():
        return
    # Mapped, not read: the states of the optimizers may be large, and are not needed.
    state = load_tensors(checkpoint, option="--resume", mmap=True)
    if not isinstance(state, dict) or not {"reporter", "model"} <= state.keys():
        raise ValueError(
            f"--resume {checkpoint}: is no checkpoint of a training; remove it, or train into "
            "another --output_dir"
        )
    reporter = Reporter()
    reporter.load_state_dict(state["reporter"])
    epoch = reporter.get_epoch()
    known = [criterion for criterion in criteria if reporter.has(*criterion[:2])]
    links = {"latest.pth": epoch}
    links |= {f"{phase}.{key}.best.pth": reporter.get_best_epoch(phase, key, mode)
              for phase, key, mode in known}  # fmt: skip
    wanted = {name: f"{number}epoch.pth" for name, number in links.items()}
    path = folder / f"{epoch}epoch.pth"
    if path.is_file() and all(_target(folder / name) == to for name, to in wanted.items()):
        return
    logging.warning("%s: epoch %d was stopped while it was saved; completed", folder, epoch)
    if not path.is_file():
        with atomic_file(path) as stream:
            torch.save(state["model"], stream)
    for name, target in wanted.items():
        if (folder / target).is_file():
            atomic_link(folder / name, target)
    best = {number for criterion in known for number in reporter.sort_epochs(*criterion)[:keep]}
    for number in range(1, epoch):
        if number not in best:
            (folder / f"{number}epoch.pth").unlink(missing_ok=True)


def _target(link: Path) -> str | None:
    return os.readlink(link) if link.is_symlink() else None
