"""File names made of ids: of utterances, of rows, of what a user's file is called.

An id comes with the data. It may hold slashes, climb out of a folder, begin with a dash or be
longer than a file system takes. A file that is named after it lies in the folder that it was meant
for.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from espnet_psslm.atomic import atomic_text

FILE_NAMES = "file_names.txt"
MAX_BYTES = (
    150  # of an id that is taken as it is: file systems take 255, with what is put around it
)
MARK = "~"  # stands in every name that is not the id itself, and in no other
NUM_READABLE = 40  # characters of the id that begin such a name
_UNSAFE = re.compile(rf"[/\\|{MARK}]")  # "|" at the end of a path would be a command in a wav.scp


def file_name(key: str) -> str:
    """The name, without suffix, of a file that belongs to an id.

    Nearly all ids are their own file names. Any other is its readable part and a digest of the
    whole; the mark between them keeps the two kinds apart, so that no two ids share a file.

    Args:
        key: the id.

    Returns:
        One component of a path, at most 200 bytes long.
    """
    if (
        key.isprintable()
        and key.strip() == key
        and key[:1] not in ("", ".", "-")
        and not _UNSAFE.search(key)
        and len(key.encode()) <= MAX_BYTES
    ):
        return key
    readable = re.sub(r"[^\w.-]", "_", key).lstrip("._-")[:NUM_READABLE]
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable or 'id'}{MARK}{digest[:32]}"


def write_file_names(folder: str | Path, keys: Iterable[str]) -> None:
    """Write ``file_names.txt``: whose files the names are that are no ids.

    Args:
        folder: where the files lie; without such names it gets no table.
        keys: all ids.
    """
    names = {key: file_name(key) for key in keys}
    lines = [f"{name}\t{key}\n" for key, name in names.items() if name != key]
    path = Path(folder) / FILE_NAMES
    if lines:
        # An id may hold half of a character, which UTF-8 cannot write.
        text = "".join(lines).encode("utf-8", errors="backslashreplace").decode()
        atomic_text(path, text)
    else:
        path.unlink(missing_ok=True)  # of an earlier run with other ids
