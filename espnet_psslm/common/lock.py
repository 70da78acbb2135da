"""One run at a time in a folder.

    with folder_lock("exp/ctc"):
        train()

The lock is the kernel's (``flock``) on a hidden file in the folder, which names who holds it. It
ends with its process however that ends, so nothing stale is ever left: a file without such a lock
says nothing, whatever stands in it. Standard library only.
"""

import errno
import fcntl
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

NAME = ".psslm.lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what some network file systems say

_held: set[int] = set()  # descriptors of this process's locks


@contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Keep a folder for this process; another one that wants it is refused.

    Args:
        folder: is made where it is missing.

    Raises:
        ValueError: naming the process that is at work there.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open(Path(folder) / NAME, "a+", encoding="utf-8") as file:
        lock_file(file, folder, pid=os.getpid(), command=" ".join(sys.argv))
        _held.add(file.fileno())
        try:
            yield
        finally:
            _held.discard(file.fileno())


def lock_file(file: IO[str], folder: str | Path, *, pid: int, command: str) -> None:
    """Lock an open file, for as long as any process has it open, and write who has it.

    Args:
        file: opened for reading and writing.
        folder: what it stands for.
        pid: of the process that holds it.
        command: of that process.

    Raises:
        ValueError: if another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _holder(file)
        if (holder.get("pid"), holder.get("host")) == (pid, socket.gethostname()):
            return  # two names of one folder, or one part of a program inside another
        raise ValueError(f"{folder}: {_describe(holder)}") from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logging.warning("%s: no locks here (%s): take care that one run works there", folder, error)
    file.seek(0)
    file.truncate()
    json.dump({"pid": pid, "host": socket.gethostname(), "command": command}, file)
    file.flush()


def _holder(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        holder = json.load(file)
    except ValueError:  # it is just writing that
        return {}
    return holder if isinstance(holder, dict) else {}


def _describe(holder: dict[str, Any]) -> str:
    if not {"pid", "host", "command"} <= holder.keys():
        return "another process is at work there; wait until it has ended, or end it"
    pid, host, command = holder["pid"], holder["host"], holder["command"]
    who = f"process {pid} on {host} ({command}) is at work there"
    if host == socket.gethostname() and not is_alive(pid):
        who = f"what process {pid} ({command}) has started is still at work there"
    return f"{who}; wait until it has ended, end it, or use another folder"


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _let_go() -> None:
    """Let a forked worker, which may outlive its parent, hold none of its parent's locks."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in _held:
        os.dup2(nothing, descriptor)
    os.close(nothing)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
