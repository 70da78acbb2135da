"""Files that are there whole or not at all, whatever happens while they are written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


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
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(unfinished, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too
    finally:
        os.close(folder)
