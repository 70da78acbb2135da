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
UNFINISHED = re.compile(r"\..+\.(\d+)\.tmp")  # name of an unfinished file; the process it was of


@contextmanager
def atomic_file(path: str | Path) -> Iterator[IO[bytes]]:
    """Write a file beside its place, then move it there.

    The bytes are on disk before the name is: after a crash or a full disk, the name means the old
    file or the new one. If the body raises, nothing is left and the old file stays.

    Args:
        path: where the file is to be; a symbolic link is followed.

    Yields:
        A binary stream.
    """
    target = Path(os.path.realpath(path))
    # One name per process: two that write the same file must not share half of it each.
    unfinished = unfinished_name(target)
    try:
        with open(unfinished, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, target)
    except OSError as error:
        if error.filename is None and error.errno in NO_ROOM:
            error.filename = str(target)  # which the system does not say of a write
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too
    finally:
        os.close(folder)


def atomic_text(path: str | Path, text: str) -> None:
    """Write a text file, in UTF-8, whole or not at all."""
    with atomic_file(path) as stream:
        stream.write(text.encode("utf-8"))


def unfinished_name(path: Path) -> Path:
    """Where this process writes what is to be ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def remove_strays(folder: str | Path) -> None:
    """Remove what processes left unfinished that have been killed since.

    Args:
        folder: looked at alone, without what lies below; need not exist. This process must not be
            writing there.
    """
    for path in Path(folder).glob(".*.tmp"):
        found = UNFINISHED.fullmatch(path.name)
        if found is None or (int(found[1]) != os.getpid() and is_alive(int(found[1]))):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
