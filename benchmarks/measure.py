"""How the rows are timed: in turn, in one process; medians, quartiles, peak memory."""

import gc
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from espnet_psslm.device import is_host

Call = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """What the rows are told."""

    device: torch.device
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
        ways: what is timed, ``ours`` and one other.
        target: how many times faster than the other; None: no target at this size.
        items: how many of ``unit`` are processed, for items per second.
        check: raises AssertionError unless all ways give the same.
        probes: what peak memory is measured on, where a whole way would take too long.
        limits: more that has to hold, by its name.
    """

    row: str
    size: str
    ways: Mapping[str, Call]
    target: float | None
    items: int
    unit: str
    check: Call
    probes: Mapping[str, Call] | None = None
    limits: Mapping[str, Callable[[Measured], bool]] = field(default_factory=dict)

    @property
    def against(self) -> str:
        """Name of the other way."""
        return next(name for name in self.ways if name != "ours")


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
