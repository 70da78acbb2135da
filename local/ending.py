"""A command that is told to end, by TERM, INT or HUP, ends all that it has started.

run.py, slurm.py and stage_log.py use it. Signals that are ignored, as nohup ignores HUP, stay so.
Standard library only.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE_S = 2.0  # from TERM to KILL; psslm.sh kills what is left after 4 s
PROC = Path("/proc")


def end_all_when_told() -> list[int]:
    """From now on the signals end all descendants of this process, but not this process.

    Returns:
        The numbers of the signals that have come; empty as long as the work may go on.
    """
    told: list[int] = []

    def end(number: int, _frame: object) -> None:
        told.append(number)
        if len(told) == 1:
            end_descendants()

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    return told


def end_descendants() -> None:
    """Tell all descendants of this process to end, and kill those that do not."""
    begun, told = time.monotonic(), set[int]()
    while True:
        parents = running()
        # What lost its parent since it was told belongs to init now.
        alive = descendants(os.getpid(), parents) | (told & parents.keys())
        is_late = time.monotonic() - begun > GRACE_S
        for pid in alive if is_late else alive - told:
            _send(pid, signal.SIGKILL if is_late else signal.SIGTERM)
        if is_late or not alive:
            return
        told |= alive
        time.sleep(0.05)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended by itself


def descendants(pid: int, parents: dict[int, int]) -> set[int]:
    """Children of a process, their children, and so on.

    Args:
        pid: the process.
        parents: of every process.
    """
    found = {pid}
    while new := {child for child, parent in parents.items() if parent in found} - found:
        found |= new
    return found - {pid}


def running() -> dict[int, int]:
    """Parent of every process that has not ended."""
    if not PROC.is_dir():  # macOS
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
        )
        rows = [line.split() for line in listed.stdout.splitlines()]
        return {int(pid): int(parent) for pid, parent, state in rows if state[0] != "Z"}
    parents = {}
    for path in PROC.glob("[0-9]*/stat"):
        try:
            # The name before the bracket may hold anything.
            state, parent = path.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if state != "Z":
            parents[int(path.parent.name)] = int(parent)
    return parents
