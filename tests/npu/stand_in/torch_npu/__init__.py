"""Stand-in for Ascend's torch_npu: the device ``npu`` of simulated_npu.cpp, and ``torch.npu``.

``SIMULATED_NPU_LIBRARY`` names the built extension. At the end of the process the number of calls
that the device answered goes to the file ``SIMULATED_NPU_CALLS``, where that is set.
"""

import atexit
import os
from pathlib import Path

import torch

torch.ops.load_library(os.environ["SIMULATED_NPU_LIBRARY"])
torch.utils.rename_privateuse1_backend("npu")

from torch_npu import npu  # noqa: E402  (its functions make tensors on the device)

torch._register_device_module("npu", npu)
torch.backends.cudnn.version = lambda: None  # as in torch's CPU build, which goes with torch_npu
torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)


def _hccl(store: object, rank: int, size: int, timeout: object) -> object:
    return torch.distributed.ProcessGroupGloo(store, rank, size, timeout=timeout)


# Collectives of the name: of one process, which has nothing to send.
torch.distributed.Backend.register_backend("hccl", _hccl, devices=["npu"])
torch.distributed.is_hccl_available = lambda: True


def npu_fusion_attention(*_: object, **__: object) -> None:
    """Which transformers imports wherever there is an NPU, and calls for flash attention alone."""
    raise NotImplementedError("the simulated NPU has no fused attention")


npu_fusion_attention_v3 = npu_rms_norm = npu_swiglu = npu_fusion_attention


def _note_calls(path: str) -> None:
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{torch.ops.simulated_npu.num_calls()}\n")


if path := os.environ.get("SIMULATED_NPU_CALLS"):
    atexit.register(_note_calls, path)
