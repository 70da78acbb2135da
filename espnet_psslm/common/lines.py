"""Lines of text files, as JSON Lines and Kaldi's tables mean them.

A line feed ends a line and nothing else does: Unicode's own separators (U+2028, U+2029, U+0085)
come in texts, where ``str.splitlines`` would cut.
"""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from espnet_psslm.common.errors import in_words
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


def read_objects(path: str | Path, *, hint: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Read JSON Lines; empty lines are passed over.

    Args:
        path: the file.
        hint: what a line should be, for the message.

    Yields:
        Number, counted from 1, and object of each line.

    Raises:
        ValueError: naming file and line, where it is no JSON object.
    """
    end = f"; {hint}" if hint else ""
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {in_words(error)}{end}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number}: a {type(row).__name__}, no object{end}")
        yield number, row


def parse_json(text: str | bytes) -> Any:
    """Parse JSON that came from somewhere.

    Args:
        text: one value; bytes in UTF-8.

    Raises:
        ValueError: if it is no JSON, nested too deeply, or holds half a character, which JSON can
            write and no text file can hold.
    """
    if isinstance(text, bytes):  # json itself would guess at the encoding
        text = text.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(in_words(error)) from error
    if "\\ud" in text or "\\uD" in text:  # else no string in it has such
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def split_lines(text: str) -> list[str]:
    """Cut a text behind each line feed; joined, the lines are the text."""
    lines = text.split("\n")
    ended = [f"{line}\n" for line in lines[:-1]]
    return [*ended, lines[-1]] if lines[-1] else ended
