"""Commands that are killed at a moment of their run, and what they leave.

A command runs in a process that is forked from one that has imported everything: it takes as long
as its work.
"""

import json
import os
import select
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_psslm.common.lock import NAME as LOCK
from tests.warm_python import own_locks

Main = Callable[[Sequence[str]], object]
TIMES = {
    *("wall_s", "search_s", "align_s", "load_s", "seconds", "rtf", "peak_rss_mb", "timestamp"),
    "environment",  # with the date
}
UNLIKE = {"README.md", "results/RESULTS.md"}  # members of a pack with seconds in their text
LIMIT_S = 120  # of a run, which takes seconds


class Command:
    """A command's ``main`` with its command line.

    Args:
        main: is called in the child.
        words: of the command line.
        log: what the runs say.
    """

    def __init__(self, main: Main, words: Sequence[str], log: Path) -> None:
        self.main = main
        self.words = words
        self.log = log

    def run(self) -> float:
        """Run it to its end, which must be a good one; seconds."""
        begun = time.monotonic()
        code = self._wait(self._start(), LIMIT_S, signal.SIGKILL)
        assert code == 0, f"ended with {code}:\n{self.log.read_text()[-3000:]}"
        return time.monotonic() - begun

    def kill(self, after_s: float, number: signal.Signals) -> bool:
        """Run it for so long; whether the signal ended it, and not its work."""
        code = self._wait(self._start(), after_s, number)
        assert code in (0, -number), f"ended with {code}:\n{self.log.read_text()[-3000:]}"
        return code == -number

    def _start(self) -> int:
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            with open(self.log, "w") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # in place of pytest's
            torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
            own_locks()
            self.main(self.words)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _wait(self, child: int, seconds: float, number: signal.Signals) -> int:
        """Exit status, or the signal's number below 0; the signal comes when time is up."""
        descriptor = os.pidfd_open(child)
        try:
            if not select.select([descriptor], [], [], seconds)[0]:
                os.kill(child, number)
        finally:
            os.close(descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left_in(folder: Path, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Everything that lies in a folder, hidden or not; see :func:`content`.

    Args:
        folder: is called FOLDER in what files hold.
        without: names of files and folders that are left out, beside locks.
    """
    left_out = {LOCK, *without}
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*"))]
    return {
        str(path): content(folder / path, folder)
        for path in paths
        if left_out.isdisjoint(path.parts)
    }


def content(path: Path, folder: Path) -> Any:
    """What a file holds, but for seconds, memory and its own folder's name."""
    if path.is_symlink():
        return os.readlink(path)
    if path.is_dir():
        return None
    if path.suffix == ".pth":
        return plain(torch.load(path, weights_only=True))
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    else:
        members = {path.name: path.read_bytes()}
    return {
        name: of_bytes(Path(name), data.replace(str(folder).encode(), b"FOLDER"))
        for name, data in members.items()
        if name not in UNLIKE
    }


def of_bytes(name: Path, data: bytes) -> Any:
    if name.name == "meta.yaml":
        return plain(yaml.safe_load(data))
    return plain(json.loads(data)) if name.suffix == ".json" else data


def plain(value: Any) -> Any:
    """Values that compare, bit by bit, without those that a run does not repeat."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.numpy().tobytes()
    if isinstance(value, dict):
        return {
            name: plain(item)
            for name, item in value.items()
            if name not in TIMES and not str(name).endswith("time")
        }
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.hex() if isinstance(value, float) else value  # so NaN is NaN
