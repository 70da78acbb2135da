"""Keep the seconds and the peak memory of the stages of a recipe.

    stage_log.py run --log exp/peak_rss_mb.json --stage stage6_train_ctc -- command ...
    stage_log.py note --log exp/seconds.json --stage stage6_train_ctc --since 1790000000.5

``run`` runs the command and keeps the largest resident memory (MB) of any one of its processes;
several commands of one stage: the largest. TERM, INT and HUP end the command with all that it has
started; its memory is kept then, too. ``--more "a 'b c'"``: further words of the command, as a
shell splits them. ``note`` keeps, and prints, the seconds of a stage since it began. Standard
library only.
"""

import argparse
import fcntl
import json
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ending import end_all_when_told


def update(path: Path, stage: str, value: float, *, keep_larger: bool) -> None:
    """Write one value, keeping those of the other stages.

    Args:
        path: JSON file, stage -> value; its folder is made.
        stage: name.
        value: seconds or MB.
        keep_larger: keep what is there if it is larger.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        values = read(path)
        if keep_larger:
            value = max(value, values.get(stage, value))
        values[stage] = value
        unfinished = path.with_name(f".{path.name}.tmp")
        unfinished.write_text(json.dumps(values, indent=2), encoding="utf-8")
        unfinished.replace(path)


def read(path: Path) -> dict[str, float]:
    """What is there; nothing, where there is nothing, or half a file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        print(f"stage_log.py: {path} is broken; begun anew", file=sys.stderr)
        return {}
    return values if isinstance(values, dict) else {}


def run(command: Sequence[str]) -> tuple[int, float]:
    """Run a command.

    Args:
        command: program and arguments.

    Returns:
        Exit status, of what a signal has ended minus its number; and the peak resident memory in MB
        of its largest process.
    """
    told = end_all_when_told()
    code = subprocess.run(command, check=False).returncode
    # macOS counts bytes, Linux kilobytes.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    if told:
        code = -told[0]
    return code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit


def main(cmd: Sequence[str] | None = None) -> None:
    """Run or note."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("run", "note"))
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--stage", required=True)
    parser.add_argument("--since", type=float, help="seconds since 1970")
    parser.add_argument("--more", action="append", default=[])
    words = list(sys.argv[1:] if cmd is None else cmd)
    # All after the first -- belongs to the command, options too.
    cut = words.index("--") if "--" in words else len(words)
    args, command = parser.parse_args(words[:cut]), words[cut + 1 :]
    note = args.action == "note"
    for text in args.more:
        try:
            command += shlex.split(text)
        except ValueError:
            sys.exit(f"stage_log.py: a quote is not closed in: {text}")
    code, value = (0, time.time() - args.since) if note else run(command)
    try:
        update(args.log, args.stage, round(value, 1), keep_larger=not note)
    except OSError as error:
        print(f"stage_log.py: error: {args.log}: {error.strerror}", file=sys.stderr)
        code = code or 1
    if note:
        print(f"{value:.0f}")
    # A child that a signal killed has a negative status; shells say 128 + signal.
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
