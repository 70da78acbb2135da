"""Files that are to be read, looked at before: a pipe that nobody writes to would be waited for."""

import stat
from pathlib import Path


def check_file(path: str | Path, *, option: str = "", fix: str) -> None:
    """Refuse what is no file that can be read as often as needed.

    Args:
        path: the file.
        option: that named it, for the message.
        fix: what to do where there is none.

    Raises:
        ValueError: if it is missing, a folder, a pipe or a device.
    """
    name = f"{option} {path}" if option else str(path)
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # a name may be too long, or hold what no name can
        raise ValueError(f"{name} does not exist; {fix}") from None
    if stat.S_ISDIR(mode):
        raise ValueError(f"{name} is a folder, no file; {fix}")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{name} is a pipe or a device; write what comes from it to a file first")
