"""How the rows are timed: in turn, in one process; medians, quartiles, peak memory, bounds."""

import functools
import gc
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from espnet_psslm.device import is_host, native_bfloat16

Call = Callable[[], object]


@dataclass(frozen=True)
class Machine:
    """What the device can do at best, measured: the bounds are made of these numbers."""

    device: torch.device
    copy_bytes_s: float  # bytes per second, those read and those written added
    flops_s: Mapping[torch.dtype, float]  # operations per second of matrix products

    def seconds(
        self, *, moved: float = 0.0, flops: float = 0.0, dtype: torch.dtype = torch.float32
    ) -> float:
        """Least time for so many bytes moved, then so many operations."""
        return moved / self.copy_bytes_s + flops / self.flops_s[dtype]


@dataclass(frozen=True)
class Setting:
    """What the rows are told."""

    machine: Machine
    quick: bool = False  # the smallest sizes only
    recipe: Path | None = None  # folder of a finished recipe, for the rows that need one


@dataclass(frozen=True)
class Measured:
    """Seconds of each way: lower quartile, median, upper quartile; and peaks in MB."""

    times: Mapping[str, tuple[float, float, float]]
    peaks: Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """One size of one row.

    Args:
        row: its name.
        size: in words.
        ways: what is timed, ``ours`` and its baselines ``published`` and ``plain``; where these
            do not differ, the one that stands for both. A third may be there to compare with.
        against: the way that ``target`` speaks of.
        target: how many times faster than ``against``; None: no target at this size.
        bound_s: least seconds for ours on this machine.
        items: how many of ``unit`` are processed, for items per second.
        check: raises AssertionError unless all ways give the same.
        probes: what peak memory is measured on, where a whole way would take too long.
        limits: more that has to hold, by its name.
    """

    row: str
    size: str
    ways: Mapping[str, Call]
    against: str
    target: float | None
    bound_s: float
    items: int
    unit: str
    check: Call
    probes: Mapping[str, Call] | None = None
    limits: Mapping[str, Callable[[Measured], bool]] = field(default_factory=dict)


def synchronise(device: torch.device) -> None:
    """Wait for an accelerator."""
    if not is_host(device):
        getattr(torch, device.type).synchronize(device)


def clock(call: Call, device: torch.device) -> float:
    """Seconds of one call."""
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start


def take_turns(
    ways: Mapping[Hashable, Call], device: torch.device, *, seconds: float, least: int, most: int
) -> dict[Hashable, tuple[float, float, float]]:
    """Time several calls in turn, so that what disturbs the machine disturbs all.

    Args:
        ways: calls by name; called once before the clock runs.
        device: to wait for.
        seconds: after which no further round begins.
        least: rounds at least.
        most: rounds at most.

    Returns:
        Lower quartile, median and upper quartile of each.
    """
    for call in ways.values():
        call()
    gc.collect()
    order = list(ways)
    times: dict[Hashable, list[float]] = {name: [] for name in order}
    start = time.perf_counter()
    for round_ in range(most):
        if round_ >= least and time.perf_counter() - start > seconds:
            break
        for name in order:
            times[name].append(clock(ways[name], device))
        order.append(order.pop(0))  # none always comes first
    return {name: quartiles(values) for name, values in times.items()}


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def peak_mb(call: Call, device: torch.device) -> float:
    """Most memory in tensors during a call, beyond what there was before, in MB (10^6 bytes)."""
    gc.collect()
    if is_host(device):
        return _peak_bytes_cpu(call) / 1e6
    accelerator = getattr(torch, device.type)
    before = accelerator.memory_allocated(device)
    accelerator.reset_peak_memory_stats(device)
    clock(call, device)
    return (accelerator.max_memory_allocated(device) - before) / 1e6


def _peak_bytes_cpu(call: Call) -> int:
    """The allocator's own account, which the profiler keeps: pages of a process say less."""
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        call()
    events = [e for e in profile.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


class _Tables(TorchDispatchMode):
    """Counts the rows of the tallest new tensor of a given width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.rows = 0

    def __torch_dispatch__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        out = func(*args, **(kwargs or {}))
        old = {x.untyped_storage().data_ptr() for x in given}
        for made in tree_leaves(out):
            if not isinstance(made, Tensor) or not made.dim() or made.shape[-1] != self.width:
                continue
            if made.untyped_storage().data_ptr() not in old:
                self.rows = max(self.rows, made.numel() // max(1, self.width))
        return out


def tallest(call: Call, width: int) -> int:
    """Rows of the tallest tensor (..., width) that an operator makes during a call."""
    with _Tables(width) as seen:
        call()
    return seen.rows


def measure_machine(device: torch.device, *, quick: bool = False) -> Machine:
    """Measure copy bandwidth and rates of matrix products; of bfloat16 where it is native."""
    small = is_host(device)
    source = torch.ones((1 << 25) if small else (1 << 28), device=device)  # no cache holds it
    target = torch.empty_like(source)
    side = (1 << 11) if small else (1 << 13)
    ways: dict[str | torch.dtype, Call] = {"copy": lambda: target.copy_(source)}
    for dtype in (torch.float32, torch.bfloat16)[: 1 + native_bfloat16(device)]:
        left, right = torch.ones(2, side, side, device=device, dtype=dtype)
        out = torch.empty_like(left)
        ways[dtype] = functools.partial(torch.mm, left, right, out=out)
    rounds = 3 if quick else 9
    times = take_turns(ways, device, seconds=20.0, least=rounds, most=rounds)
    # The fastest quartile: a bound is what the machine can do, not what it did on average.
    copy_s = times.pop("copy")[0]
    rates = {dtype: 2 * side**3 / seconds[0] for dtype, seconds in times.items()}
    return Machine(device, copy_bytes_s=2 * source.nbytes / copy_s, flops_s=rates)
