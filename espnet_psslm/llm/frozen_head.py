"""Cross-entropy behind a frozen output layer, without ever holding all logits.

The gradient of the hidden states is ready as soon as a row's logits are: both are made some rows
at a time. With 50,000 to 260,000 tokens of vocabulary the full matrix, its softmax and their
gradients are what fills the memory and much of the time.

``torch.nn.functional.linear_cross_entropy`` (torch 2.14) gives the loss only: the share of right
predictions would cost the product a second time, capped logits it does not know.

Legend: N targets, H width, V vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from espnet_psslm.device import is_host

# At once: every block reads the whole layer anew, and few rows make a slow matrix product (16 rows
# of 49,152 logits half the rate of 128).
LOGITS = 2**23
LOGITS_ACCELERATOR = 2**26  # not yet timed


class _FrozenHeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        cap: float | None,
    ) -> tuple[Tensor, Tensor]:
        total = torch.promote_types(hidden.dtype, torch.float32)
        loss = torch.zeros((), dtype=total, device=hidden.device)
        correct = torch.zeros((), dtype=total, device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        block = max(1, (LOGITS if is_host(hidden.device) else LOGITS_ACCELERATOR) // len(weight))
        for start in range(0, len(targets), block):
            rows = slice(start, start + block)
            target = targets[rows, None]
            logits = nn.functional.linear(hidden[rows], weight, bias).to(total)
            if cap is not None:
                logits = logits.div_(cap).tanh_().mul_(cap)
            correct += (logits.argmax(1, keepdim=True) == target).sum()
            log_sum = logits.logsumexp(1, keepdim=True)
            loss += (log_sum - logits.gather(1, target)).sum()
            if gradient is None:
                continue
            slope = None if cap is None else 1.0 - (logits / cap).square_()
            error = logits.sub_(log_sum).exp_()  # softmax - one-hot, the gradient of the logits
            error.scatter_add_(1, target, error.new_full(target.shape, -1.0))
            if slope is not None:
                error.mul_(slope)
            gradient[rows] = error.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        ctx.count = len(targets)
        accuracy = correct / len(targets)
        ctx.mark_non_differentiable(accuracy)
        return loss / len(targets), accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, loss: Tensor, _: Tensor) -> tuple:
        (gradient,) = ctx.saved_tensors
        return gradient * (loss / ctx.count).to(gradient.dtype), None, None, None, None


def output_loss(lm: nn.Module, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """``frozen_head_loss``, or the ordinary one where the output layer is trained."""
    if not any(parameter.requires_grad for parameter in lm.get_output_embeddings().parameters()):
        return frozen_head_loss(lm, hidden, targets)
    logits = lm.get_output_embeddings()(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if (cap := _logit_cap(lm)) is not None:
        logits = (logits / cap).tanh() * cap
    accuracy = (logits.argmax(1) == targets).to(logits.dtype).mean()
    return nn.functional.cross_entropy(logits, targets), accuracy


def frozen_head_loss(lm: nn.Module, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and share of right predictions.

    Args:
        lm: Hugging Face causal language model with a frozen output layer.
        hidden: (N, H), states that predict the targets.
        targets: (N,).

    Returns:
        Two scalars; only the first has a gradient, and only towards ``hidden``.
    """
    head = lm.get_output_embeddings()
    return _FrozenHeadLoss.apply(hidden, head.weight, head.bias, targets, _logit_cap(lm))


def _logit_cap(lm: nn.Module) -> float | None:
    """Gemma 2's cap on logits.

    Raises:
        ValueError: if the model does to its logits what no loss here does.
    """
    config = lm.config.get_text_config()
    for name in ("logits_scaling", "logit_scale"):  # Granite, Cohere
        if getattr(config, name, None) not in (None, 1.0):
            raise ValueError(
                f"the language model scales its logits ({name}: {getattr(config, name)}), which "
                "training does not do: use another llm_conf.name"
            )
    return getattr(config, "final_logit_softcapping", None)
