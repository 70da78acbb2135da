"""JSON and JSON Lines: one way to read them, one to write them."""

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from espnet_psslm.atomic import atomic_file, atomic_text
from espnet_psslm.common.errors import in_words, reading
from espnet_psslm.common.lines import read_lines


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Args:
        path: file.

    Returns:
        Its content.

    Raises:
        OSError: if it cannot be read.
        ValueError: naming the file, if it is no JSON.
    """
    with reading(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON for people to read, whole or not at all.

    Args:
        path: file, its folder is made.
        content: plain types.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_text(target, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


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
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = parse_object(line, hint=hint)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        yield number, row


def parse_object(text: str | bytes, *, hint: str = "") -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        text: as :func:`parse_json` takes it.
        hint: what it should be, for the message.

    Raises:
        ValueError: if it is none.
    """
    end = f"; {hint}" if hint else ""
    try:
        row = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{in_words(error)}{end}") from error
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__}, no object{end}")
    return row


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


def json_line(row: Mapping[str, Any]) -> str:
    """Write an object as a line; characters are not escaped."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON Lines in UTF-8.

    Args:
        path: file to write, whole or not at all.
        rows: the objects.
    """
    with atomic_file(path) as stream:
        for row in rows:
            stream.write(json_line(row).encode("utf-8"))
