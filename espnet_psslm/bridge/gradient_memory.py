"""Memory for the gradient of a large table, used again in the next step.

A gradient is thrown away after each update. On a CPU the system then takes back what is larger than
some 32 MB, and gives new pages in the next step, one fault each: for 25,055 units of width 2048
(205 MB) that takes six times as long as writing the values. An accelerator's allocator keeps its
memory by itself.
"""

import weakref

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from espnet_psslm.device import is_host

_kept: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # table -> its _Memory


class _Memory:
    """Room for one gradient, lent to one tensor at a time."""

    def __init__(self, table: Tensor) -> None:
        # Whole numbers of the same size: numpy has no bfloat16.
        self.room = np.empty(tuple(table.shape), dtype=f"i{table.element_size()}")
        self.lent: weakref.ref[np.ndarray] | None = None

    def fits(self, table: Tensor) -> bool:
        """Whether it was made for a table of this shape."""
        return self.room.shape == table.shape and self.room.itemsize == table.element_size()

    def lend(self) -> Tensor | None:
        """All of it; None as long as any tensor still uses it."""
        if self.lent is not None and self.lent() is not None:
            return None
        array = self.room.view()  # torch holds it for as long as a tensor, or a view of it, exists
        self.lent = weakref.ref(array)
        return torch.from_numpy(array)


def gradient_like(table: Tensor) -> Tensor:
    """An uninitialised tensor for the gradient of ``table``.

    Args:
        table: any shape, the same object in every step.

    Returns:
        Like ``table``; on a CPU in the memory of the last one, unless that is still in use.
    """
    if not is_host(table.device):
        return torch.empty_like(table)
    memory = _kept.get(table)
    if memory is None or not memory.fits(table):
        memory = _kept[table] = _Memory(table)
    room = memory.lend()
    return torch.empty_like(table) if room is None else room.view(table.dtype)
