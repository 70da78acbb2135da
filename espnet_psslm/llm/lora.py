"""Low-rank adaptation of the language model (LoRA, arXiv 2106.09685) through peft.

    W x  becomes  W x + (alpha / r) B A x,   A (r, in) random, B (out, r) zero at the start

Adapters are float32 whatever the language model's dtype, and the only weights of it that
checkpoints hold (beside the embeddings, if these are trained). What was trained in text-only
training without LoRA is the start of training with it: ``--init_param`` takes the projector alone.
"""

import functools
import logging
from collections.abc import Sequence

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer, cast_adapter_dtype
from torch import Tensor, nn

from espnet_psslm.llm.frozen import Held

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "gate_proj", "down_proj")


class LoRA(Held):
    """A frozen language model with trained low-rank adapters.

    Args:
        module: Hugging Face causal language model, changed in place.
        r: rank.
        alpha: strength; the update is scaled by alpha / r.
        dropout: on the adapters' input, in training.
        target_modules: endings of the names of linear layers that get adapters.
        train_embeddings: train the input embeddings too, in float32. Where the output layer is
            tied to them, it is trained with them.

    Raises:
        ValueError: if the model has none of ``target_modules``.
    """

    trained = True

    def __init__(
        self,
        module: nn.Module,
        *,
        r: int = 64,
        alpha: float = 16,
        dropout: float = 0.05,
        target_modules: Sequence[str] = PROJECTIONS,
        train_embeddings: bool = False,
    ) -> None:
        super().__init__(module.requires_grad_(False))
        config = LoraConfig(
            r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(target_modules)
        )
        try:
            inject_adapter_in_model(config, module)
        except ValueError as error:
            raise ValueError(
                f"tuning_conf.target_modules {list(target_modules)}: {str(error).splitlines()[0]}"
            ) from error
        self.adapted = [part for part in module.modules() if isinstance(part, BaseTunerLayer)]
        cast_adapter_dtype(module, "default")
        if train_embeddings:
            _train_embeddings(module, self.dtype)
        self.merged = False
        self.train(self.training)
        count = sum(p.numel() for p in module.parameters() if p.requires_grad)
        logging.info("LoRA on %d layers, %d trained weights", len(self.adapted), count)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in: that of the weights below the adapters."""
        return self.adapted[0].get_base_layer().weight.dtype

    @property
    def version(self) -> int:
        """Sum of PyTorch's own counts of changes in place: optimizers and loading raise them."""
        changes = sum(p._version for p in self.module.parameters() if p.requires_grad)
        return 2 * changes + self.merged

    def train(self, mode: bool = True) -> "LoRA":
        """Only the adapters' dropout follows; the language model stays in eval mode."""
        self.training = mode
        for part in self.adapted:
            part.lora_dropout.train(mode)
        return self

    def merge(self) -> None:
        """Add the adapters to the weights: decoding costs what the language model alone costs.

        In bfloat16 the sum is rounded; unmerged decoding is exact.
        """
        if not self.merged:
            for part in self.adapted:
                part.merge()
        self.merged = True

    def unmerge(self) -> None:
        """Take them out again, before training goes on."""
        if self.merged:
            for part in self.adapted:
                part.unmerge()
        self.merged = False


def _train_embeddings(module: nn.Module, dtype: torch.dtype) -> None:
    """Train the embeddings in single precision at least, and cast at the border.

    Updates are smaller than what bfloat16 resolves.
    """
    embedding, head = module.get_input_embeddings(), module.get_output_embeddings()
    tied = head.weight is embedding.weight
    exact = embedding.weight.data.float() if dtype.itemsize < 4 else embedding.weight.data
    embedding.weight = nn.Parameter(exact)
    embedding.register_forward_hook(functools.partial(_cast_output, dtype=dtype))
    if tied:
        head.weight = embedding.weight
        head.register_forward_pre_hook(functools.partial(_cast_input, dtype=exact.dtype))


def _cast_output(_: nn.Module, __: tuple, output: Tensor, *, dtype: torch.dtype) -> Tensor:
    return output.to(dtype)


def _cast_input(
    _: nn.Module, inputs: tuple[Tensor, ...], *, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    return inputs[0].to(dtype), *inputs[1:]
