"""What importing Ascend's module of this name does, as its documentation lists it.

``torch.cuda.*`` becomes ``torch.npu.*``; device arguments that name cuda name npu in the functions
below, and where autocast and generators are made; ``nccl`` becomes ``hccl`` in
``init_process_group``; ``torch.jit.script`` does nothing. As there, ``torch.device("cuda")`` is
left alone, and what a module learnt from ``torch.cuda`` before this import stays as it was.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.utils._device

import torch_npu

FUNCTIONS = (
    "arange", "empty", "empty_like", "empty_strided", "eye", "full", "full_like",
    "get_device_module", "hamming_window", "hann_window", "linspace", "load", "logspace", "normal",
    "ones", "ones_like", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like",
    "randperm", "scalar_tensor", "set_default_device", "tensor", "tril_indices", "triu_indices",
    "zeros", "zeros_like",
)  # fmt: skip
TENSOR = (
    "new_empty", "new_empty_strided", "new_full", "new_ones", "new_tensor", "new_zeros",
    "pin_memory", "to",
)  # fmt: skip
MODULE = ("to", "to_empty")
KEYWORDS = ("device", "device_type", "map_location", "device_id")


def _renamed(value: Any) -> Any:
    """The device, or the devices of a dictionary, with npu for cuda."""
    if isinstance(value, str):
        return value.replace("cuda", "npu")
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("npu", value.index)
    if isinstance(value, dict):
        return {_renamed(key): _renamed(other) for key, other in value.items()}
    return value


class _Generator(torch.Generator):
    def __new__(cls, device: Any = "cpu") -> "_Generator":
        return super().__new__(cls, _renamed(device))


def _with_npu(function: Callable) -> Callable:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for name in KEYWORDS:
            if name in kwargs:
                kwargs[name] = _renamed(kwargs[name])
        return function(*map(_renamed, args), **kwargs)

    return call


def _with_hccl(function: Callable) -> Callable:
    @functools.wraps(function)
    def call(backend: str | None = None, *args: Any, **kwargs: Any) -> Any:
        return function(backend and backend.replace("nccl", "hccl"), *args, **kwargs)

    return call


def _transfer() -> None:
    # torch notes once which functions a ``with torch.device("meta")`` reaches. As the true module
    # does, let it note its own: else from_pretrained builds real weights, and draws for them.
    torch.utils._device._device_constructors()
    for name in torch_npu.npu.__all__:
        setattr(torch.cuda, name, getattr(torch_npu.npu, name))
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    for owner, names in ((torch, FUNCTIONS), (torch.Tensor, TENSOR), (torch.nn.Module, MODULE)):
        for name in names:
            setattr(owner, name, _with_npu(getattr(owner, name)))
    torch.Generator = _Generator
    torch.autocast.__init__ = _with_npu(torch.autocast.__init__)
    torch.Tensor.cuda, torch.Tensor.is_cuda = torch.Tensor.npu, torch.Tensor.is_npu
    torch.nn.Module.cuda = torch.nn.Module.npu
    torch.distributed.init_process_group = _with_hccl(torch.distributed.init_process_group)
    torch.distributed.is_nccl_available = torch.distributed.is_hccl_available
    torch.nn.parallel.DistributedDataParallel.__init__ = _with_npu(
        torch.nn.parallel.DistributedDataParallel.__init__
    )
    torch.jit.script = lambda obj, *_, **__: obj


_transfer()
