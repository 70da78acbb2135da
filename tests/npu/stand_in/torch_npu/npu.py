"""``torch.npu``: one device that computes at once and gives memory back at once."""

import torch

__all__ = [
    "current_device", "device", "device_count", "empty_cache", "get_amp_supported_dtype",
    "get_device_name", "get_rng_state", "is_available", "is_bf16_supported",
    "is_current_stream_capturing", "is_initialized", "manual_seed", "manual_seed_all",
    "max_memory_allocated", "max_memory_reserved", "memory_allocated", "set_device",
    "set_rng_state", "synchronize",
]  # fmt: skip


class device:  # noqa: N801  (torch.cuda's name)
    """Context in which a device is current; there is but one."""

    def __init__(self, index: int | str | torch.device) -> None:
        set_device(index)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def set_device(index: int | str | torch.device) -> None:
    """Choose the one device."""
    number = index if isinstance(index, int) else torch.device(index).index or 0
    if number not in (0, -1):
        raise RuntimeError(f"the simulated NPU has one device, not number {number}")


def is_available() -> bool:
    return True


def is_initialized() -> bool:
    return True


def is_current_stream_capturing() -> bool:
    """No graphs are recorded; Adam of torch 2.11 asks."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    return True


def device_count() -> int:
    return 1


def current_device() -> int:
    return 0


def get_device_name(index: object = None) -> str:
    return "simulated NPU"


def get_amp_supported_dtype() -> list[torch.dtype]:
    return [torch.bfloat16, torch.float16]


def empty_cache() -> None:
    pass


def synchronize(index: object = None) -> None:
    pass


def memory_allocated(index: object = None) -> int:
    return 0


max_memory_allocated = max_memory_reserved = memory_allocated


def _is_in_bad_fork() -> bool:
    return False


def manual_seed(seed: int) -> None:
    """Random numbers are the CPU's, which torch seeds itself."""


manual_seed_all = manual_seed


def get_rng_state(index: object = None) -> torch.Tensor:
    return torch.get_rng_state()


def set_rng_state(state: torch.Tensor, index: object = None) -> None:
    torch.set_rng_state(state)
