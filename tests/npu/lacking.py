"""CTC loss and STFT where the NPU has neither; prints JSON. Run by test_npu_commands.py.

With ``SIMULATED_NPU_LACKS`` set, torch's own operators are to fail, and ours to give the CPU's
values and gradients.
"""

import json
import sys

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_psslm.acoustic.gathered_ctc import PlacedCTCLoss, gathered_ctc_loss
from espnet_psslm.acoustic.log_mel import LogMel
from tests.npu.proof import refused

LENGTHS, TARGETS, TARGET_LENGTHS = [20, 13], [[3, 4, 4], [5, 1, 1]], [3, 1]


def ctc_arguments(device: str) -> tuple[Tensor, ...]:
    """Logits (B, T, V) that ask for a gradient, lengths, targets and their lengths."""
    logits = torch.randn(2, 20, 7, generator=torch.Generator().manual_seed(0)).to(device)
    rest = (torch.tensor(values).to(device) for values in (LENGTHS, TARGETS, TARGET_LENGTHS))
    return logits.requires_grad_(), *rest


def ours(device: str) -> dict[str, Tensor]:
    """What our layers make on a device."""
    found = {}
    for name in ("placed", "gathered"):
        logits, *rest = ctc_arguments(device)
        if name == "gathered":
            losses = gathered_ctc_loss(logits, *rest, blank_id=0)
        else:
            lengths, targets, target_lengths = rest
            log_probs = logits.log_softmax(-1).transpose(0, 1)
            loss = PlacedCTCLoss(reduction="none", zero_infinity=True)
            losses = loss(log_probs, targets, lengths, target_lengths)
        losses.sum().backward()
        found |= {name: losses.detach(), f"{name}, gradient": logits.grad}
    speech = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)).to(device)
    features, _ = LogMel().to(device)(speech, torch.tensor([8000, 5000]).to(device))
    return found | {"features": features}


def main() -> None:
    """Print everything."""
    torch.set_num_threads(1)
    logits, lengths, targets, target_lengths = ctc_arguments("npu")
    log_probs = logits.log_softmax(-1).transpose(0, 1)
    signal = torch.ones(400, device="npu")
    window = torch.ones(400, device="npu")
    found = {
        "refused": [
            refused(lambda: F.ctc_loss(log_probs, targets, lengths, target_lengths)),
            refused(lambda: torch.stft(signal, 400, window=window, center=False,
                                       return_complex=True)),
            refused(lambda: signal.double() + 1),
        ],
        "difference": {
            name: (value.cpu() - expected).abs().max().item()
            for (name, value), expected in zip(
                ours("npu").items(), ours("cpu").values(), strict=True
            )
        },
    }  # fmt: skip
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    import torch_npu  # noqa: F401  (before any tensor is on the device)

    main()
