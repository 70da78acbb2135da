"""The one place that names device kinds: cpu, cuda (NVIDIA GPU) and npu (Ascend)."""

import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Iterable

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HOST = torch.device("cpu")  # where files are read to and numpy works
# What a kind of device has no kernel for, or a wrong one: done on the host.
LACKING = {"npu": frozenset({"ctc_loss", "stft"})}
ONE_PASS_UPDATES = ("cpu", "cuda")  # kinds on which torch has fused optimizers


def resolve_device(name: str = "auto") -> torch.device:
    """Turn a ``--device`` option into a device that exists.

    Args:
        name: ``auto`` (NPU, else GPU, else CPU), ``cpu``, ``cuda[:n]`` or ``npu[:n]``.

    Raises:
        ValueError: if the kind is unknown, or not available on this machine.
    """
    if name == "auto":
        name = "npu" if _npu_available() else "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|(cuda|npu)(:\d+)?", name):
        raise ValueError(f"--device '{name}' is unknown; use auto, cpu, cuda[:n] or npu[:n]")
    kind = name.partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: no NVIDIA GPU is visible to torch; use --device cpu")
    if kind == "npu" and not _npu_available():
        raise ValueError(
            f"--device {name}: no Ascend NPU is visible; install the extra 'npu' (torch_npu) "
            "and CANN, or use --device cpu"
        )
    return torch.device(name)


def prepare_training() -> None:
    """Let ESPnet's trainer, which knows "cuda" only, train on an Ascend NPU where there is one.

    To be called before anything imports ``espnet2.train.trainer``, which looks for devices while
    it is imported. Elsewhere it does nothing.
    """
    if "torch_npu.contrib.transfer_to_npu" in sys.modules or not _npu_available():
        return
    if "espnet2.train.trainer" in sys.modules:
        logging.warning(
            "espnet2.train.trainer was imported before espnet_psslm: on the NPU, use_amp computes "
            "in float16, not in bfloat16; import espnet_psslm.tasks first"
        )
    importlib.import_module("torch_npu.contrib.transfer_to_npu")


def training_device(num_devices: int) -> torch.device:
    """Where ESPnet trains with ``--ngpu``."""
    return resolve_device("auto") if num_devices > 0 else HOST


def is_host(device: torch.device) -> bool:
    """Whether a device is the CPU: numpy can see its memory, and blocks should fit its cache."""
    return device.type == HOST.type


def place_for(operation: str, device: torch.device) -> torch.device:
    """Where to do an operation on tensors of a device: there, or on the host if it cannot.

    Args:
        operation: ``ctc_loss`` or ``stft``.
        device: of the tensors.
    """
    return HOST if operation in LACKING.get(device.type, ()) else device


def has_one_pass_updates(tensors: Iterable[Tensor]) -> bool:
    """Whether torch updates such weights with a fused optimizer."""
    return {tensor.device.type for tensor in tensors} <= set(ONE_PASS_UPDATES)


def _npu_available() -> bool:
    if importlib.util.find_spec("torch_npu") is None:
        return False
    import torch_npu  # noqa: F401  (adds torch.npu)

    return torch.npu.is_available()


def resolve_dtype(name: str, device: torch.device | str = "cpu") -> torch.dtype:
    """Turn a ``dtype`` option into a dtype that is fast on the device.

    Args:
        name: ``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 where the device
            multiplies it natively, else float32.
        device: where the model will run.

    Raises:
        ValueError: if the name is unknown.
    """
    if name != "auto":
        if name not in DTYPES:
            raise ValueError(f"dtype '{name}' is unknown; use auto or one of {sorted(DTYPES)}")
        return DTYPES[name]
    native = native_bfloat16(torch.device(device))
    logging.info("dtype auto: bfloat16 is %snative on %s", "" if native else "not ", device)
    return torch.bfloat16 if native else torch.float32


def native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "npu":
        return True
    return torch.cpu._is_avx512_bf16_supported()
