"""Files of tensors: read without running what is in them, and looked at before they are used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from zipfile import is_zipfile

import torch
from torch import Tensor

from espnet_psslm.common.archive import what_it_is
from espnet_psslm.common.files import check_file
from espnet_psslm.device import HOST


def load_tensors(
    path: str | Path, map_location: Any = HOST, *, option: str = "checkpoint", mmap: bool = False
) -> Any:
    """Read what ``torch.save`` wrote: tensors and plain types, nothing else.

    Args:
        path: the file.
        map_location: of ``torch.load``.
        option: that named the file, for the message.
        mmap: map the file, and read of it what is used.

    Raises:
        ValueError: if it is something else. No variable and no answer at the terminal makes us run
            code in a file, and no message says how that is done.
    """
    check_file(path, option=option, fix="a training makes it")
    mmap = mmap and is_zipfile(path)  # torch's files of old are none
    try:
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except Exception as error:  # an unpickler that is given arbitrary bytes raises anything
        _refuse(path, error, option)


def load_state(
    path: str | Path, map_location: Any = HOST, *, option: str = "checkpoint"
) -> dict[str, Tensor]:
    """Read weights: tensors by name.

    Args:
        path: the file.
        map_location: of ``torch.load``.
        option: that named the file, for the message.

    Raises:
        ValueError: if it is something else, or there are none.
    """
    state = load_tensors(path, map_location, option=option)
    wanted = "it must be the weights alone, e.g. valid.loss.ave.pth of a training"
    if not isinstance(state, dict):
        raise ValueError(f"{option} {path}: holds a {type(state).__name__}; {wanted}")
    if not state:
        raise ValueError(f"{option} {path}: holds no weights; {wanted}")
    for name, value in state.items():
        if not isinstance(name, str) or not torch.is_tensor(value):
            raise ValueError(
                f"{option} {path}: holds {name!r}, a {type(value).__name__} and no tensor; {wanted}"
            )
    return state


def _refuse(path: str | Path, error: Exception, option: str) -> NoReturn:
    if isinstance(error, OSError) and error.filename is not None:
        raise error  # it cannot be read; else torch has met an end too early
    if (stray := what_it_is(path)) is not None:
        reason = stray
    elif isinstance(error, RuntimeError | OSError):  # of the reader of the archive around tensors
        reason = f"broken ({(str(error).strip() or 'no reason given').splitlines()[0]})"
    else:
        reason = (
            "no file of tensors alone, and code in it is never run: save its state dict again with "
            "torch.save"
        )
    raise ValueError(f"{option} {path}: is {reason}") from error


def check_finite(state: Mapping[str, Any], path: str | Path, *, option: str) -> None:
    """Refuse weights that are NaN or infinite: every answer would be nonsense.

    Args:
        state: tensors by name.
        path: where they came from.
        option: that named it.

    Raises:
        ValueError: naming the file and the first such tensor.
    """
    tensors = {name: value for name, value in state.items() if torch.is_tensor(value)}
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise ValueError(
            f"{option} {path}: {len(bad)} of {len(tensors)} weights are NaN or infinite, first "
            f"{bad[0]}: its training diverged; take an earlier checkpoint, or train again with a "
            "lower learning rate"
        )
