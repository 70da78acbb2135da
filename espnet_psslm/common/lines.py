"""Lines of text files, as JSON Lines and Kaldi's tables mean them.

A line feed ends a line and nothing else does: Unicode's own separators (U+2028, U+2029, U+0085)
come in texts, where ``str.splitlines`` would cut.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path

from espnet_psslm.common.files import check_file


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Read a text file line by line.

    A byte order mark is no part of the first line, a carriage return none of a line's end.

    Args:
        path: the file, in UTF-8.

    Yields:
        Number, counted from 1, and text of each line.

    Raises:
        ValueError: naming file, line and byte, where it is no UTF-8.
    """
    check_file(path, fix="see the option or the stage that names it")
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                yield number, line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}:{number}: not UTF-8 (byte {line[error.start]:#04x} at {error.start}); "
                    "save the file as UTF-8"
                ) from error


def split_lines(text: str) -> list[str]:
    """Cut a text behind each line feed; joined, the lines are the text."""
    lines = text.split("\n")
    ended = [f"{line}\n" for line in lines[:-1]]
    return [*ended, lines[-1]] if lines[-1] else ended
