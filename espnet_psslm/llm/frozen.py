"""Hold a pretrained module that is not trained: eval mode, own dtype, no gradient of its own."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """Keeps a module as it was loaded, whatever the trainer does to the model around it.

    ESPnet's trainer casts the whole model to ``train_dtype`` and puts it in training mode. A
    frozen language model must keep its bfloat16 weights and its eval mode; only a move to
    another device reaches it.

    Args:
        module: set to ``requires_grad=False`` and eval mode here.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in eval mode."""
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        device = fn(torch.empty(0, device=next(self.module.parameters()).device)).device
        return super()._apply(lambda tensor: tensor.to(device), recurse)
