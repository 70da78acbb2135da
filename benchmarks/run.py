"""Time the package against the plain way of doing the same.

Usage::

    python benchmarks/run.py [--quick] [--device cpu|cuda|npu] [--row NAME ...] [--json FILE] \\
        [--markdown FILE] [--recipe DIR] [--seconds S]

Each row has a file of its own here, which says what is compared. Both ways of a row run in turn in
one process, after a check that they give the same. Printed is a table: medians and quartiles of
seconds, their ratio, peak memory. ``decode``, ``dumped_epoch`` and ``text_stream`` need a finished
recipe.

``--markdown FILE`` writes what is printed. Both files are written anew after each size of a row: a
run that is stopped leaves what it timed.

``--json FILE`` writes a list of objects, one per size of a row: ``row``, ``size``, ``ours_s`` and
``baseline_s`` (medians), ``ratio``, ``target`` (null: none at this size), ``met`` (the target and
all further limits of the row), ``peak_mb_ours`` and ``peak_mb_baseline``.
"""

import argparse
import importlib
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    import torch

    from benchmarks.measure import Case, Measured, Setting

ROWS = (
    "encoder_ctc",
    "ctc_step",
    "text_step",
    "lora_step",
    "decode",
    "dumped_epoch",
    "text_stream",
)
NEED_RECIPE = ("decode", "dumped_epoch", "text_stream")
SECONDS = 20.0  # of rounds per case; --quick: fewer
QUICK_SECONDS = 4.0
COLUMNS = (
    "row", "size", "ours s", "baseline s", "ratio", "target", "met",
    "per second", "peak MB", "baseline MB",
)  # fmt: skip


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    from espnet_psslm.bin.command import DEVICE_HELP

    parser = argparse.ArgumentParser(
        description="Time the package against the plain way of doing the same.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument(
        "--row",
        action="append",
        choices=ROWS,
        help="this row only; may be given several times, and is run in that order",
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="of rounds per size, at least three rounds"
    )
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument(
        "--recipe",
        type=Path,
        default=ROOT / "egs2/mini/psslm1",
        help=f"folder of a finished recipe, for {', '.join(NEED_RECIPE)}",
    )
    return parser


def choose_rows(args: argparse.Namespace) -> list[str]:
    """The rows to run: those asked for, else all that this checkout allows.

    Raises:
        ValueError: if a row was asked for that needs a finished recipe, and there is none.
    """
    finished = (args.recipe / "exp/psslm_text/valid.acc.ave.pth").is_file()
    rows = list(dict.fromkeys(args.row or ROWS))
    if finished:
        return rows
    lacking = [row for row in rows if row in NEED_RECIPE]
    if args.row is not None and lacking:
        raise ValueError(
            f"--row {lacking[0]} needs a finished recipe, and {args.recipe}/exp holds none: run "
            "egs2/mini/psslm1/run.sh first, or give --recipe"
        )
    for row in lacking:
        logging.warning("%s is left out: no finished recipe in %s", row, args.recipe)
    return [row for row in rows if row not in lacking]


def run_case(case: "Case", setting: "Setting", *, seconds: float = SECONDS) -> "Measured":
    """Check a case, then time it for so many seconds, fewer where the setting is quick."""
    from benchmarks.measure import Measured, peak_mb, take_turns

    device = setting.device
    logging.info("%s: %s", case.row, case.size)
    case.check()
    if setting.quick:
        seconds = min(seconds, QUICK_SECONDS)
    most = 9 if setting.quick else 41
    times = take_turns(case.ways, device, seconds=seconds, least=3, most=most)
    probes = case.probes or case.ways
    return Measured(times, {name: peak_mb(probes[name], device) for name in case.ways})


def to_entry(case: "Case", measured: "Measured") -> dict[str, Any]:
    """One object of the JSON list."""
    median = {name: times[1] for name, times in measured.times.items()}
    ours, baseline = median["ours"], median[case.against]
    return {
        "row": case.row,
        "size": case.size,
        "ours_s": ours,
        "baseline_s": baseline,
        "ratio": baseline / ours,
        "target": case.target,
        "met": not missed(case, measured) if case.target or case.limits else None,
        "peak_mb_ours": measured.peaks["ours"],
        "peak_mb_baseline": measured.peaks[case.against],
    }


def missed(case: "Case", measured: "Measured") -> list[str]:
    """What of the target and the limits of a case does not hold."""
    ratio = measured.times[case.against][1] / measured.times["ours"][1]
    failed = [name for name, holds in case.limits.items() if not holds(measured)]
    if case.target is not None and ratio < case.target:
        failed.insert(0, f"{case.target:.3g} x {case.against}")
    return failed


def to_columns(case: "Case", measured: "Measured", entry: dict[str, Any]) -> list[str]:
    """One line of the table."""

    def spread(name: str) -> str:
        low, middle, high = measured.times[name]
        return f"{middle:.4g} [{low:.4g}, {high:.4g}]"

    failed = missed(case, measured)
    return [
        case.row,
        case.size,
        spread("ours"),
        f"{case.against} {spread(case.against)}",
        f"{entry['ratio']:.2f}",
        "-" if case.target is None else f"{case.target:.3g}",
        "missed: " + ", ".join(failed) if failed else "yes",
        f"{case.items / entry['ours_s']:.4g} {case.unit}",
        f"{entry['peak_mb_ours']:.1f}",
        f"{entry['peak_mb_baseline']:.1f}",
    ]


def table(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def describe(device: "torch.device") -> str:
    """Where and with what the numbers were made."""
    import torch

    from espnet_psslm.device import is_host

    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=7"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    name = platform.processor() or platform.machine()
    kind = device.type
    if not is_host(device):
        name = getattr(torch, kind).get_device_name(device)
    return (
        f"Commit {commit or 'unknown'}, torch {torch.__version__}, {kind} ({name}), "
        f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f} at the end."
    )


def run(
    rows: Sequence[str], setting: "Setting", *, seconds: float
) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Time some rows, each of their cases for so many seconds.

    Yields:
        Of each case a line of the table, and an object of the JSON list.
    """
    for row in rows:
        for case in importlib.import_module(f"benchmarks.{row}").cases(setting):
            measured = run_case(case, setting, seconds=seconds)
            entry = to_entry(case, measured)
            yield to_columns(case, measured, entry), entry


def main(cmd: Sequence[str] | None = None) -> None:
    """Time rows."""
    from espnet_psslm.bin.command import command

    with command(get_parser(), cmd) as args:
        rows = choose_rows(args)
        from benchmarks.measure import Setting
        from espnet_psslm.device import resolve_device

        device = resolve_device(args.device)
        setting = Setting(device, quick=args.quick, recipe=args.recipe.resolve())
        lines, entries, report = [], [], ""
        for line, entry in run(rows, setting, seconds=args.seconds):
            lines.append(line)
            entries.append(entry)
            report = describe(device) + "\n\n" + table(lines)
            if args.json:
                args.json.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
            if args.markdown:
                args.markdown.write_text(report + "\n", encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
