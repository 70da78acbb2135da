"""Files that are there whole or not at all, whatever happens while they are written."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from espnet_psslm.common.lock import is_alive

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
UNFINISHED = re.compile(r"\.(.+)\.(\d+)\.tmp")  # of which file, by which process


@contextmanager
def atomic_file(path: str | Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Write a file beside its place, then move it there.

    The bytes are on disk before the name is: after a crash or a full disk, the name means the old
    file or the new one. If the body raises, nothing is left and the old file stays.

    Args:
        path: where the file is to be; a symbolic link is followed.
        durable: wait for the disk; without it a crash of the machine, and nothing else, may leave
            an empty file.

    Yields:
        A binary stream.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe, a terminal
        with open(path, "wb") as stream:
            yield stream
        return
    target = Path(os.path.realpath(path))
    # One name per process: two that write the same file must not share half of it each.
    unfinished = unfinished_name(target)
    if durable:  # of the others there are many in a folder
        remove_strays(target.parent, of=target.name)
    try:
        with naming(target):
            with open(unfinished, "wb") as stream:
                yield stream
            if durable:
                move_file(unfinished, target)
            else:
                os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def move_file(unfinished: Path, target: Path) -> None:
    """Name a finished file, which lies on the same disk: its bytes are there before its name is."""
    with open(unfinished, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(unfinished, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too
    finally:
        os.close(folder)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Within it, a disk that is full says which file it has no room for."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in NO_ROOM:
            error.filename = str(path)
        raise


def atomic_text(path: str | Path, text: str) -> None:
    """Write a text file, in UTF-8, whole or not at all."""
    with atomic_file(path) as stream:
        stream.write(text.encode("utf-8"))


def atomic_link(path: Path, target: str | Path) -> None:
    """Make a symbolic link, in place of what is there."""
    unfinished = unfinished_name(path)
    unfinished.unlink(missing_ok=True)
    unfinished.symlink_to(target)
    unfinished.replace(path)


def unfinished_name(path: Path) -> Path:
    """Where this process writes what is to be ``path``."""
    name = path.name.encode()[:200].decode(errors="ignore")  # a name has 255 bytes at most
    return path.with_name(f".{name}.{os.getpid()}.tmp")


def remove_strays(folder: str | Path, *, of: str = "") -> None:
    """Remove what processes of this machine left unfinished that have been killed since.

    Args:
        folder: looked at alone, without what lies below; need not exist.
        of: name of a file, if that alone is meant.
    """
    for path in Path(folder).glob(".*.tmp"):
        found = UNFINISHED.fullmatch(path.name)
        if found is None or (of and found[1] != of) or is_alive(int(found[2])):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
