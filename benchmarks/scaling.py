"""What training costs on 8, 64 and 512 devices, from step times and bandwidths.

Usage::

    python benchmarks/scaling.py [--rates benchmarks/scaling.yaml] [--devices 8 64 512] \\
        [--set jobs.text.step_s=0.14] [--set machine.link_bytes_s=1e10]

A step of all devices takes as long as the slowest of four: the slowest device's computation with
the part of the reduction that is not hidden behind it, the storage, the readers. Device times are
drawn, log-normal; the rest is arithmetic:

    step = max(max_d c_d + max(0, r - overlap c), N b bytes / storage, b reader_s / readers)
    r = 2 (N - 1) / N gradient / link + 2 ceil(log2 N) latency          (ring; the slowest link)

Host memory is counted for one copy of the manifest per training process, which is what ESPnet's
data set holds; data workers add to that. Prints the tables of docs/scaling.md.

Legend: N devices, b items per device and step, c seconds of a device, r seconds of a reduction.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

SOURCES = ("measured", "computed", "assumed")
NUM_DRAWN = 400  # steps
GB = 1e9
COLUMNS = (
    "devices", "wall h", "device-hours", "efficiency", "bound by", "updates", "readers per device",
    "storage GB/s", "manifest GB per node", "start-up min",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """One job on N devices."""

    devices: int
    step_s: float
    updates: int
    efficiency: float  # of N times the speed of one device that never waits
    bound_by: str
    readers: float  # processes per device that just suffice
    storage_bytes_s: float
    memory_bytes: float  # of manifests, per node
    startup_s: float

    @property
    def wall_h(self) -> float:
        """Hours from the first step to the last."""
        return self.updates * self.step_s / 3600


def number(value: Any, name: str) -> tuple[float, str]:
    """A number and where it is from.

    Raises:
        ValueError: if it is not ``[number, "measured ..."]``, or with another such word.
    """
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], str):
        if value[1].startswith(SOURCES) and isinstance(value[0], int | float):
            return float(value[0]), value[1]
    raise ValueError(f"{name}: {value!r}; needed is [number, source], the source one of {SOURCES}")


def values(group: Mapping[str, Any], name: str) -> dict[str, float]:
    """The numbers of a group, without their sources."""
    return {key: number(value, f"{name}.{key}")[0] for key, value in group.items() if key != "item"}


def reduction_s(gradient_bytes: float, machine: Mapping[str, float], devices: int) -> float:
    """Seconds of one ring reduction of all gradients."""
    if devices == 1 or not gradient_bytes:
        return 0.0
    inside = devices <= machine["devices_per_node"]
    link = machine["node_link_bytes_s" if inside else "link_bytes_s"]
    hops = 2 * math.ceil(math.log2(devices))
    moved = 2 * (devices - 1) / devices * gradient_bytes
    return moved / link + hops * machine["latency_s"]


def simulate(
    job: Mapping[str, float],
    machine: Mapping[str, float],
    *,
    items: float,
    rows: float,
    devices: int,
    seed: int = 0,
) -> Outcome:
    """One job on N devices.

    Args:
        job: numbers of the job.
        machine: numbers of the machine.
        items: in all epochs.
        rows: of the manifest.
        devices: N.
        seed: of the devices' times.
    """
    batch = job["batch"]
    compute = job.get("step_s") or batch * job["flops_per_item"] / machine["flops_s"]
    noise = np.random.default_rng(seed).standard_normal((NUM_DRAWN, devices)) * machine["jitter"]
    slowest = compute * float(np.exp(noise - machine["jitter"] ** 2 / 2).max(1).mean())
    waiting = reduction_s(job["gradient_bytes"], machine, devices) - machine["overlap"] * compute
    traffic = job["read_bytes_per_item"] + job["written_bytes_per_item"]
    most_readers = machine["cores_per_node"] / machine["devices_per_node"]
    bounds = {
        "devices": slowest,
        "reduction": slowest + waiting if waiting > 0 else 0.0,
        "storage": devices * batch * traffic / machine["storage_bytes_s"],
        "readers": batch * job["reader_s_per_item"] / most_readers,
    }
    bound_by = max(bounds, key=lambda name: bounds[name])
    step = bounds[bound_by]
    processes = min(devices, machine["devices_per_node"])
    memory = processes * rows * job["memory_bytes_per_row"]
    return Outcome(
        devices=devices,
        step_s=step,
        updates=math.ceil(items / (batch * devices)),
        efficiency=compute / step,
        bound_by="host memory" if memory > machine["memory_bytes_per_node"] else bound_by,
        readers=batch * job["reader_s_per_item"] / step,
        storage_bytes_s=devices * batch * traffic / step,
        memory_bytes=memory,
        startup_s=rows * job["parse_s_per_row"],
    )


def disk_bytes(job: Mapping[str, float], items: float) -> dict[str, float]:
    """What lies on disk for one epoch: audio, manifest, and what is written."""
    return {
        "read": items * job["read_bytes_per_item"],
        "manifest": items * job["rows_per_item"] * job["manifest_bytes_per_row"],
        "written": items * job["written_bytes_per_item"],
    }


def to_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def to_columns(outcome: Outcome) -> list[str]:
    """One line of a table."""
    return [
        f"{outcome.devices}", f"{outcome.wall_h:.3g}",
        f"{outcome.wall_h * outcome.devices:.4g}", f"{100 * outcome.efficiency:.0f} %",
        outcome.bound_by, f"{outcome.updates:,}", f"{outcome.readers:.2g}",
        f"{outcome.storage_bytes_s / GB:.2g}", f"{outcome.memory_bytes / GB:,.4g}",
        f"{outcome.startup_s / 60:.3g}",
    ]  # fmt: skip


def report(rates: Mapping[str, Any], devices: Sequence[int]) -> str:
    """All tables of a file of rates."""
    machine = values(rates["machine"], "machine")
    parts = []
    for work in rates["work"]:
        job = values(rates["jobs"][work["job"]], f"jobs.{work['job']}")
        rows = work["items"] * job["rows_per_item"]
        found = [
            simulate(job, machine, items=work["items"] * work["epochs"], rows=rows, devices=count)
            for count in devices
        ]
        disk = disk_bytes(job, work["items"])
        kept = ", ".join(f"{name} {size / GB:,.4g} GB" for name, size in disk.items() if size)
        table = to_table(COLUMNS, [to_columns(outcome) for outcome in found])
        parts.append(f"{work['title']}, epochs: {work['epochs']}. On disk: {kept}.\n\n{table}")
    return "\n\n".join(parts)


def change(rates: dict[str, Any], setting: str) -> None:
    """Apply ``group.name=value`` of the command line.

    Raises:
        ValueError: if there is no such group, or the value is no number.
    """
    name, _, value = setting.partition("=")
    *groups, last = name.split(".")
    place = rates
    for group in groups:
        if group not in place:
            raise ValueError(f"--set {setting}: no '{group}' in {list(place)}")
        place = place[group]
    try:
        place[last] = [float(value), "measured: by the caller"]
    except ValueError:
        raise ValueError(f"--set {setting}: '{value}' is no number") from None


def main(cmd: Sequence[str] | None = None) -> None:
    """Print the tables."""
    from espnet_psslm.bin.command import command

    parser = argparse.ArgumentParser(
        description="What training costs on many devices.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default = ROOT / "benchmarks/scaling.yaml"
    parser.add_argument("--rates", type=Path, default=default, help="numbers and their sources")
    parser.add_argument("--devices", type=int, nargs="+", default=[8, 64, 512], help="N")
    parser.add_argument(
        "--set", action="append", default=[], help="a number, e.g. jobs.text.batch=64"
    )
    with command(parser, cmd) as args:
        rates = yaml.safe_load(args.rates.read_text(encoding="utf-8"))
        for setting in args.set:
            change(rates, setting)
        print(report(rates, args.devices))


if __name__ == "__main__":
    main()
