"""Hold a pretrained module whatever the trainer does to the model around it.

ESPnet's trainer casts the whole model to ``train_dtype`` and puts it in training mode. A frozen
language model must keep its bfloat16 weights and its eval mode; only a move to another device
reaches it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Held(nn.Module):
    """Keeps dtypes and eval mode of a module.

    ``trained`` says whether any of its weights are.

    Args:
        module: put into eval mode here.
    """

    trained: bool

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.eval()

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return next(self.module.parameters()).dtype

    @property
    def version(self) -> int:
        """Another number whenever trained weights have changed."""
        return 0

    def train(self, mode: bool = True) -> "Held":
        """Stay in eval mode."""
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Held":
        device = fn(torch.empty(0, device=next(self.module.parameters()).device)).device
        return super()._apply(lambda tensor: tensor.to(device), recurse)


class Frozen(Held):
    """A module that is not trained at all.

    Args:
        module: set to ``requires_grad=False`` and eval mode here.
    """

    trained = False

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module.requires_grad_(False))
