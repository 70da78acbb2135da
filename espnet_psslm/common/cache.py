"""The folder for what is made once and used often: converted weights, unpacked models."""

import os
import stat
import tempfile
from pathlib import Path

VARIABLE = "ESPNET_PSSLM_CACHE"


def cache_folder() -> Path:
    """Find our cache folder, and make it where it is missing.

    It is ``$ESPNET_PSSLM_CACHE``; else ``espnet_psslm`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``.
    A user without a home (a container may have an id that no account has) gets a folder of his own
    among the temporary files.

    Raises:
        ValueError: if it cannot be made, or belongs to somebody else.
    """
    if given := os.environ.get(VARIABLE):
        return _made(Path(given))
    if base := os.environ.get("XDG_CACHE_HOME"):
        return _made(Path(base) / "espnet_psslm")
    home = os.path.expanduser("~")
    # "~" where there is neither HOME nor an account; containers then set HOME to "/".
    if home not in ("~", "/"):
        return _made(Path(home) / ".cache" / "espnet_psslm")
    folder = _made(Path(tempfile.gettempdir()) / f"espnet_psslm-{os.getuid()}")
    found = folder.lstat()
    # Anybody may make a folder of this name there, or a link.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ValueError(f"cache folder {folder}: belongs to somebody else; set ${VARIABLE}")
    return folder


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cache folder {folder}: cannot be made ({error.strerror}); set ${VARIABLE} to a "
            "folder that you may write to"
        ) from error
    return folder
