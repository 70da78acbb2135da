"""What a process with the simulated NPU sees; prints it as JSON. Run by test_simulated_npu.py."""

import json
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from espnet_psslm.acoustic.log_mel import LogMel
from espnet_psslm.bridge.phone_sync import MergeThenDrop
from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.device import native_bfloat16, prepare_training, resolve_device
from espnet_psslm.llm.frozen_head import frozen_head_loss
from tests.helpers import build_lm


def refused(call: Callable[[], object]) -> str:
    """The error's first line, or nothing."""
    try:
        call()
    except (RuntimeError, TypeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return ""


def redirection() -> dict[str, object]:
    """Before and after ``prepare_training``."""
    before = refused(lambda: torch.zeros(1).to("cuda"))
    prepare_training()
    prepare_training()
    torch.distributed.init_process_group(
        "nccl", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    with torch.autocast("cuda", dtype=torch.bfloat16):
        product = nn.Linear(2, 2).cuda()(torch.ones(1, 2, device="cuda:0"))
    with torch.device("meta"):
        built = nn.Linear(2, 2).weight.device
    return {
        "meta": str(built),
        "auto": str(resolve_device()),
        "native_bfloat16": native_bfloat16(resolve_device()),
        "before": before,
        "after": [
            str(tensor.device)
            for tensor in (
                torch.zeros(1).to("cuda"),
                torch.zeros(1).cuda(),
                torch.zeros(1, device=f"cuda:{torch.cuda.current_device()}"),
                nn.Linear(2, 2).to(device="cuda").weight,
                product,
            )
        ],
        "autocast": str(product.dtype),
        "backend": torch.distributed.get_backend(),
    }


def speech_to_loss(device: str) -> dict[str, Tensor]:
    """From samples to gradients through the parts whose kernels are ours, all on one device."""
    torch.manual_seed(0)
    log_mel, front, head = LogMel(), nn.Conv1d(80, 80, 3, padding=1), nn.Linear(80, 30)
    projector, lm = LinearSiLU(30, 32, hidden=16), build_lm(50)
    for part in (log_mel, front, head, projector, lm):
        part.to(device)
    speech, lengths = torch.randn(2, 8000).to(device), torch.tensor([8000, 5000]).to(device)
    features, lengths = log_mel(speech, lengths)
    logits = 4 * head(front(features.transpose(1, 2)).transpose(1, 2))
    ctc = nn.functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        torch.tensor([[3, 4, 4], [5, 1, 1]]).to(device),
        lengths,
        torch.tensor([3, 1]).to(device),
    )
    steps = MergeThenDrop(blank_id=0, max_units=4).from_logits(logits.detach(), lengths)
    embeddings = projector(steps)
    hidden = lm.model(inputs_embeds=embeddings, attention_mask=steps.mask.long())[0][steps.mask]
    loss, accuracy = frozen_head_loss(lm, hidden, torch.arange(len(hidden)).to(device) % 50)
    (loss + ctc).backward()
    adam = torch.optim.AdamW(projector.parameters(), lr=0.1)
    gradients = {f"grad {n}": p.grad.clone() for n, p in projector.named_parameters()}
    adam.step()
    found = {"features": features, "ctc": ctc, "loss": loss, "accuracy": accuracy}
    found |= {
        "front": front.weight.grad,
        "head": head.weight.grad,
        "unit_ids": steps.unit_ids,
        "probs": steps.probs,
    }
    return found | gradients | dict(projector.named_parameters())


def differences() -> dict[str, object]:
    """The same computation on CPU and NPU."""
    ours, theirs = speech_to_loss("npu"), speech_to_loss("cpu")
    return {
        "elsewhere": [name for name, value in ours.items() if value.device.type != "npu"],
        "difference": {
            name: (value.cpu() - theirs[name]).abs().max().item() for name, value in ours.items()
        },
    }


def main() -> None:
    """Print everything."""
    torch.set_num_threads(1)
    one, other = torch.ones(3, device="npu"), torch.ones(3)
    found = {
        "mixed": refused(lambda: one + other),
        "mixed_write": refused(lambda: one.add_(other)),
        "numpy": refused(one.numpy),
        "single_number": (one + torch.tensor(1.0)).tolist(),
        "cpu_index": one[torch.tensor([0, 1])].tolist(),
        **differences(),
        **redirection(),
        "num_calls": torch.ops.simulated_npu.num_calls(),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    import torch_npu  # noqa: F401  (before any tensor is on the device)

    main()
